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
use run::{Place, interpreter, is_root, outcome, skipped};

const SEEDS: &str = "ASHMEM_TEST_SEEDS";

/// Those below were recorded.
const FIRST: u64 = 1000;

/// Where a program's first difference is, and why it is there.
const KNOWN: &[(&str, &str)] = &[(
    "gen 1001 400: 0247 p3: lseek f1 16294 data  => 16294 |",
    "without WRITE an area's pages are overwritten when they are purged; there is no hole",
)];

fn programs(kind: &str, operations: usize, usual: u64) {
    if !is_root() || ashmem::page_size() != 4096 {
        skipped("the programs purge, which needs root, and have pages of 4,096 bytes");
        return;
    }
    let Some(interpreter) = interpreter() else { return };
    let seeds = std::env::var(SEEDS).map_or(usual, |text| text.parse().expect("a number of programs"));
    let mut count = Count::default();
    let (mut failed, mut seen) = (Vec::new(), Vec::new());
    for seed in FIRST..FIRST + seeds {
        let mut generate = Command::new(&interpreter);
        generate.args([kind, &seed.to_string(), &operations.to_string()]);
        let program = outcome(&mut generate).success();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, &program).unwrap();
        // Purges count over all areas of a device.
        let place = Place::new();
        let trace = outcome(place.program(&interpreter).arg("run").arg(file.path())).success();
        let differences = replay(&program, &trace, Flavour::Mainline, &mut count);
        // One leads to others.
        let first = differences.first().map(|line| format!("{kind} {seed} {operations}: {line}"));
        let known =
            KNOWN.iter().position(|(start, _)| first.as_ref().is_some_and(|line| line.starts_with(start)));
        match known {
            Some(index) => seen.push(index),
            None => failed.extend(first),
        }
    }
    for (index, (start, _)) in KNOWN.iter().enumerate() {
        if start.starts_with(&format!("{kind} ")) && !seen.contains(&index) {
            failed.push(format!("listed, but the same: {start}"));
        }
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
