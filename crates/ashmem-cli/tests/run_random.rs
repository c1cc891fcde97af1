//! Random programs, run by `ashmem run`, say what the model of the driver says.
//!
//! `ASHMEM_TEST_SEEDS` names more programs than usual: how many of each kind.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../ashmem-device/tests/replay/compare.rs"]
mod compare;
#[path = "../../ashmem-device/tests/replay/kernel.rs"]
mod kernel;
#[path = "../../ashmem-device/tests/replay/language.rs"]
mod language;
#[path = "../../ashmem-device/tests/replay/mapping.rs"]
mod mapping;
#[path = "../../ashmem-device/tests/replay/memory.rs"]
mod memory;
#[path = "../../ashmem-device/tests/replay/operations.rs"]
mod operations;
#[path = "../../ashmem-device/tests/replay/reading.rs"]
mod reading;
mod run;

use std::process::Command;

use ashmem_device::model::Flavour;
use compare::{Count, replay};
use run::{ASHMEM, interpreter, is_root, outcome, skipped};

const SEEDS: &str = "ASHMEM_TEST_SEEDS";

/// Those below were recorded.
const FIRST: u64 = 1000;

fn programs(kind: &str, operations: usize, usual: u64) {
    if !is_root() || ashmem::page_size() != 4096 {
        skipped("the programs purge, which needs root, and have pages of 4,096 bytes");
        return;
    }
    let Some(interpreter) = interpreter() else { return };
    let seeds = std::env::var(SEEDS).map_or(usual, |text| text.parse().expect("a number of programs"));
    let mut count = Count::default();
    let mut failed = Vec::new();
    for seed in FIRST..FIRST + seeds {
        let mut generate = Command::new(&interpreter);
        generate.args([kind, &seed.to_string(), &operations.to_string()]);
        let program = outcome(&mut generate).success();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, &program).unwrap();
        let mut command = Command::new(ASHMEM);
        command.args(["run", "--private", "--"]).arg(&interpreter).arg("run").arg(file.path());
        let trace = outcome(&mut command).success();
        let differences = replay(&program, &trace, Flavour::Mainline, &mut count);
        // One leads to others.
        failed.extend(differences.first().map(|line| format!("{kind} {seed} {operations}: {line}")));
    }
    println!("{} of {} operations compared", count.compared, count.operations);
    assert!(
        failed.is_empty(),
        "{} of {seeds} differ (ours | the model's):\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn random_programs() {
    programs("gen", 400, 30);
}

#[test]
fn programs_of_many_pins() {
    programs("genpin", 900, 8);
}
