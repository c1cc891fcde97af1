//! The example `big_transfer` as its users meet it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/big_transfer");
    assert!(path.is_file(), "{} is missing: cargo build -p ashmem-examples --examples", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn figures(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn every_way_brings_what_was_sent_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let plot = directory.path().join("plot.svg");
    let output = program()
        .args(["--from", "1000", "--to", "256K", "--rounds", "2", "--json", "--plot"])
        .arg(&plot)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let figures = figures(&output);
    assert_eq!(figures.len(), 5 * 5, "five sizes in five ways");
    for figure in &figures {
        assert_eq!(figure["is_right"], true, "{figure}");
        assert!(figure["nanoseconds"].as_u64().unwrap() > 0, "{figure}");
        assert!(figure["reading_nanoseconds"].as_u64().unwrap() > 0, "{figure}");
        assert!(figure["refusal"].is_null(), "{figure}");
    }
    let svg = fs::read_to_string(plot).unwrap();
    assert_eq!(svg.matches("<circle").count(), figures.len());
    assert!(svg.contains(">shared memory</text>") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn a_parcel_has_an_end_that_shared_memory_has_not() {
    let output =
        program().args(["--from", "64M", "--to", "64M", "--rounds", "1", "--json"]).output().unwrap();
    let figures = figures(&output);
    let parcel = figures.iter().find(|figure| figure["way"] == "parcel").unwrap();
    assert!(parcel["nanoseconds"].is_null() && parcel["refusal"].is_string(), "{parcel}");
    for figure in figures.iter().filter(|figure| figure["way"] != "parcel") {
        assert!(figure["nanoseconds"].is_u64() && figure["is_right"] == true, "{figure}");
    }
}

#[test]
fn a_killed_receiver_ends_it_with_an_error() {
    let child = program()
        .args(["--from", "1M", "--to", "64M", "--rounds", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let receiver = loop {
        let line = fs::read_to_string(&children).unwrap();
        if let Some(receiver) = line.split_whitespace().next() {
            break receiver.parse().unwrap();
        }
        std::thread::yield_now();
    };
    kill_process(Pid::from_raw(receiver).unwrap(), Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.starts_with(b"big_transfer: "), "{output:?}");
}

#[test]
fn people_get_tables() {
    let output = program().args(["--from", "4K", "--to", "4K", "--rounds", "1"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("4 KiB").count(), 2, "{text}");
    assert!(
        text.contains("shared memory") && text.ends_with("Every payload arrived as it was sent.\n"),
        "{text}"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, said) in [
        (&["--from", "2M", "--to", "1M"][..], "larger"),
        (&["--from", "0"], "from 1 byte"),
        (&["--to", "17G"], "to 16G"),
        (&["--to", "many"], "--to"),
        (&["--from", "1", "--to", "1", "--plot", "/no/such/directory/x.svg"], "/no/such/directory/x.svg"),
    ] {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(said), "{arguments:?}");
    }
}
