//! Programs under `ashmem run` that race, lie, exhaust and are killed: the device goes on, and gives nothing away.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod run;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use run::{ASHMEM, Place, Running, compile, outcome, skipped, until};
use rustix::process::{Signal, kill_process};

fn program() -> Option<PathBuf> {
    compile(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/hostile.c"))
}

/// The C program does this, and afterwards the server is the one that it was, and nothing is left.
fn does(arguments: &[&str]) {
    let Some(program) = program() else { return };
    let place = Place::new();
    let mut first = Running::start(place.program("sh").args(["-c", "echo ready; exec sleep 100"]), None);
    first.until_said("ready");
    let server = place.server().unwrap();
    let before = place.files();
    outcome(place.program(&program).args(arguments)).success();
    assert_eq!(place.server(), Some(server), "the server has ended");
    assert!(first.lives());
    until(|| place.files() <= before, || format!("{} files are left", place.files()));
}

#[test]
fn paths_that_change() {
    does(&["paths"]);
}

#[test]
fn arguments_that_change() {
    does(&["arguments"]);
}

#[test]
fn nobody_new_may_write() {
    does(&["masked"]);
}

#[test]
fn private_mappings_while_the_server_tidies_up() {
    does(&["privately"]);
}

#[test]
fn bad_pointers() {
    does(&["pointers"]);
}

#[test]
fn no_descriptors_left() {
    does(&["exhaustion"]);
}

#[test]
fn thousands_of_areas() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < 5000) {
        skipped("fewer than 5,000 descriptors are allowed");
        return;
    }
    does(&["many", "2000"]);
}

#[test]
fn ways_around_the_descriptor() {
    does(&["around"]);
}

#[test]
fn areas_on_their_way_keep_their_pins() {
    does(&["onway"]);
}

#[test]
fn many_ranges() {
    does(&["ranges", "20000"]);
}

#[test]
fn the_server_takes_nothing_from_who_had_it_started() {
    let place = Place::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = r#"exec 3>"$1" && ulimit -S -f 8 && shift && exec "$@""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(file.path());
    let run = place.program("true");
    shell.arg(run.get_program()).args(run.get_args());
    outcome(&mut shell).success();
    let server = place.server().unwrap().as_raw_nonzero();
    let descriptors = std::fs::read_dir(format!("/proc/{server}/fd")).unwrap().flatten();
    let has_file =
        |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).is_ok_and(|link| link == file.path());
    assert!(!descriptors.into_iter().any(has_file), "it holds a file of the program's");
    let limits = std::fs::read_to_string(format!("/proc/{server}/limits")).unwrap();
    let size = limits.lines().find(|line| line.starts_with("Max file size")).unwrap();
    let [soft, hard] = [3, 4].map(|place| size.split_whitespace().nth(place));
    assert_eq!(soft, hard, "{size}");
    // What a client could have the kernel send it: of a lease that is broken (29), of limits (24, 25).
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    for signal in [24, 25, 29] {
        assert!(ignored & (1 << (signal - 1)) != 0, "signal {signal}");
    }
}

#[test]
fn filters_of_its_own() {
    does(&["filters"]);
}

#[test]
fn garbage() {
    for seed in ["1", "2"] {
        does(&["fuzz", seed, "4000"]);
    }
}

#[test]
fn a_killed_server_hangs_nobody() {
    let Some(program) = program() else { return };
    for round in 0..4 {
        let place = Place::new();
        let mut all: Vec<Running> =
            (0..3).map(|_| Running::start(place.program(&program).arg("works"), None)).collect();
        for running in &mut all {
            running.until_said("ready");
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        kill_process(place.server().unwrap(), Signal::KILL).unwrap();
        for running in all {
            let ended = running.end();
            assert!(ended.status.success(), "{}{}", ended.out, ended.err);
            assert_eq!(ended.out.matches("ENOSYS").count(), 3, "{}{}", ended.out, ended.err);
        }
        // Whoever comes next has a server of its own again.
        outcome(place.program(&program).arg("pointers")).success();
    }
}

#[test]
fn a_killed_private_server_hangs_nobody() {
    let Some(program) = program() else { return };
    let mut command = Command::new(ASHMEM);
    let mut running =
        Running::start(command.args(["run", "--private", "--"]).arg(&program).arg("works"), None);
    running.until_said("ready");
    running.kill(Signal::KILL);
    until(|| running.said().matches("ENOSYS").count() == 3, || running.said());
    drop(running);
}

#[test]
fn killed_programs_leave_nothing() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let mut first = Running::start(place.program("sh").args(["-c", "echo ready; exec sleep 100"]), None);
    first.until_said("ready");
    let server = place.server().unwrap();
    for round in 0..60 {
        let running = Running::start(place.program(&program).arg("works"), None);
        std::thread::sleep(Duration::from_micros(round * 700));
        running.kill(Signal::KILL);
        running.end();
    }
    assert_eq!(place.server(), Some(server));
    until(|| place.files() == 0, || format!("{} files are left", place.files()));
    outcome(place.program(&program).arg("pointers")).success();
}
