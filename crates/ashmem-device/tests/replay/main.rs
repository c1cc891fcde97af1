//! Programs that were recorded on a real driver, performed on the model: every line that concerns the driver comes out
//! the same. Lines that only the VFS or the MMU answers are not compared; which those are is listed in `operations.rs`
//! and `mapping.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod compare;
mod kernel;
mod language;
mod mapping;
mod memory;
mod operations;
mod reading;

use std::path::{Path, PathBuf};

use ashmem_device::model::Flavour;
use compare::{Count, replay};

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_recorded_program_comes_out_the_same() {
    let mut count = Count::default();
    let mut programs = 0;
    let mut failed = Vec::new();
    let mut names: Vec<_> =
        std::fs::read_dir(traces().join("prog")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let program = read(&path);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for (suffix, flavour) in [("", Flavour::Mainline), (".android", Flavour::Android)] {
            let trace = traces().join(format!("trace_{name}{suffix}.txt"));
            if suffix.is_empty() || trace.exists() {
                programs += 1;
                let before = (count.operations, count.compared);
                let differences = replay(&program, &read(&trace), flavour, &mut count);
                failed.extend(differences.into_iter().map(|line| format!("{name}{suffix}: {line}")));
                let (operations, compared) = (count.operations - before.0, count.compared - before.1);
                assert!(compared * 100 > operations * 45, "{name}: {compared} of {operations} compared");
            }
        }
    }
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
    assert_eq!((programs, count.remarks), (62, 33));
    assert!(count.operations > 14_000, "{} operations", count.operations);
    let share = count.compared * 1000 / count.operations;
    assert!(share >= 990, "only {share} of 1000 lines compared");
}
