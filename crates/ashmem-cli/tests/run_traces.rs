//! Programs that were recorded on a real driver, run by `ashmem run`: every line comes out the same, but for those that are listed.
//!
//! Lines that begin with `#~` depend on the machine and do not count.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod run;

use std::path::Path;
use std::process::Command;

use run::{ASHMEM, Place, interpreter, is_root, outcome, skipped, traces};

/// Lines that come out otherwise, and why that is so.
struct Difference {
    program: &'static str,
    /// The operations' numbers, and what we answer.
    lines: &'static [(usize, &'static str)],
    #[allow(dead_code, reason = "for people")]
    reason: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        program: "scn_09_mmap_len_off",
        lines: &[(29, "-1 EOVERFLOW")],
        reason: "the kernel refuses an offset beyond what files can have, before anybody is asked",
    },
    Difference {
        program: "scn_34_map_files",
        lines: &[
            (7, "0 type=chr perm=666 nlink=1 uid=0 gid=0 major=10 size=0 blksize=4096 blocks=0"),
            (8, "0 \"/dev/ashmem\""),
            (11, "-1 EPERM"),
            (12, "8197"),
            (13, "0 \"backing\" wrote=8"),
            (14, "0"),
            (15, "-1 EINVAL"),
            (17, "9223372036854775807"),
            (18, "-1 EINVAL"),
            (19, "[0-2:00]"),
            (22, "[00*16]"),
            (23, "-1 EINVAL"),
            (25, "[0-2:00]"),
            (26, "16 [00*16]"),
            (27, "16 [00*16]"),
            (28, "8197"),
            (33, "-1 EINVAL"),
            (35, "8197"),
        ],
        reason: "behind a mapping there is the very file that the client has, not one of its own; it is sealed",
    },
    Difference {
        program: "scn_35_remap_file_pages",
        lines: &[(7, "[0-1:41 2-3:42]"), (10, "[0-1:41 2-3:42]")],
        reason: "a refused remap_file_pages does not destroy the mapping",
    },
];

/// What wants root: others leave a program there.
const ROOT: &[&str] = &["purge", "shrink", "openmap", "0x770a"];

/// A trace without what does not count.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("#~")).collect()
}

fn needs_root(line: &str) -> bool {
    let bare = line.get(5..).unwrap_or_default();
    // p2 is the process that has given its user up.
    bare.starts_with("p2:") || bare.split(' ').any(|word| ROOT.contains(&word))
}

/// How many lines were compared, and what differs.
fn compare(name: &str, expected: &str, got: &str) -> (usize, Vec<String>) {
    let mut allowed: Vec<(usize, &str)> = DIFFERENCES
        .iter()
        .filter(|difference| difference.program == name)
        .flat_map(|difference| difference.lines.iter().copied())
        .collect();
    let (expected, got) = (lines(expected), lines(got));
    let mut differences = Vec::new();
    if expected.len() != got.len() {
        differences.push(format!("{name}: {} lines, not {}", got.len(), expected.len()));
    }
    let mut compared = 0;
    for (expected, got) in expected.into_iter().zip(got) {
        if !is_root() && needs_root(expected) {
            skipped(&format!("{name} from {expected:?} on: needs root"));
            return (compared, differences);
        }
        compared += 1;
        let number = expected.get(..4).and_then(|number| number.parse().ok()).unwrap_or(0);
        let found = allowed.iter().position(|(line, _)| *line == number);
        let ours = found.map(|index| allowed.remove(index).1);
        let fits = match (ours, got.split_once("  => ")) {
            (Some(ours), Some((_, answer))) => answer == ours && expected != got,
            _ => expected == got,
        };
        if !fits {
            let note = ours.map_or(String::new(), |ours| format!(" | listed as {ours}"));
            differences.push(format!("{name}: {expected} | {got}{note}"));
        }
    }
    differences.extend(allowed.iter().map(|(line, _)| format!("{name}: there is no line {line}")));
    (compared, differences)
}

/// Why a program says nothing here.
fn does_not_apply(name: &str, expected: &str) -> Option<&'static str> {
    let overcommit = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if ashmem::page_size() != 4096 {
        Some("the traces are of pages of 4,096 bytes")
    } else if expected.contains("ENOMEM") && overcommit.trim() != "0" {
        Some("vm.overcommit_memory is not 0")
    } else if name.starts_with("scn_24") && !cfg!(target_arch = "x86_64") {
        Some("32-bit system calls are those of x86")
    } else {
        None
    }
}

fn replay(prefix: &str, options: &[&str], suffix: &str) {
    let Some(interpreter) = interpreter() else { return };
    let (mut programs, mut total, mut failed) = (0, 0, Vec::new());
    let mut names: Vec<_> =
        std::fs::read_dir(traces().join("prog")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let trace = traces().join(format!("trace_{name}{suffix}.txt"));
        if !name.starts_with(prefix) || !trace.exists() {
            continue;
        }
        let expected = std::fs::read_to_string(trace).unwrap();
        if let Some(reason) = does_not_apply(name, &expected) {
            skipped(&format!("{name}: {reason}"));
            continue;
        }
        let got = record(&interpreter, options, &path);
        let (compared, differences) = compare(name, &expected, &got);
        programs += 1;
        total += compared;
        failed.extend(differences);
    }
    println!("{programs} programs, {total} lines");
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}

/// What a program says with a device of its own, for purges count over all areas of one: a server's without options.
fn record(interpreter: &Path, options: &[&str], program: &Path) -> String {
    let place = Place::new();
    let mut command = place.run();
    if !options.is_empty() {
        command = Command::new(ASHMEM);
        command.arg("run").args(options).arg("--");
    }
    outcome(command.arg(interpreter).arg("run").arg(program)).success()
}

#[test]
fn scenarios() {
    replay("scn_", &[], "");
}

#[test]
fn random_programs() {
    replay("rnd_", &[], "");
}

#[test]
fn random_programs_with_a_device_of_their_own() {
    replay("rnd_", &["--private"], "");
}

#[test]
fn programs_of_many_pins() {
    replay("pin_", &[], "");
}

#[test]
fn an_android_kernel() {
    replay("scn_32", &["--android"], ".android");
}

#[test]
fn every_listed_program_exists() {
    for difference in DIFFERENCES {
        assert!(traces().join(format!("prog/{}.txt", difference.program)).exists(), "{}", difference.program);
    }
}
