//! `ashmem ls`, `metrics`, `doctor` and `top --json` where there is a driver daemon, and where there is none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ashmem_driver::Snapshot;
use ashmem_driver::snapshot::{Counters, Holder, Limit, Purge, Region};
use serde_json::Value;

use self::common::Daemon;

fn ashmem(driver: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    command.args(arguments).stdin(Stdio::null()).env("ASHMEM_DRIVER", driver);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn success(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    text(&output.stdout)
}

fn snapshot() -> Snapshot {
    let holder = Holder { process: 77, user: 5, command: "a\x1bb".to_owned() };
    let region = |inode, name: &str| Region {
        name: name.to_owned(),
        inode,
        size: 8192 * inode,
        resident: 4096 * inode,
        unpinned: 4096,
        purged: 4096,
        unpinned_for_seconds: Some(2.0),
        holders: vec![holder.clone()],
        ..Region::default()
    };
    let purge = |number| Purge { number, name: "one".to_owned(), freed: 10 * number, ..Purge::default() };
    Snapshot {
        process: 4242,
        version: "0.1.0".to_owned(),
        regions: vec![region(1, "one\x1b[31m"), region(2, "two")],
        purges: vec![purge(1), purge(2)],
        limits: vec![Limit { name: "system".to_owned(), limit: 1 << 30, ..Limit::default() }],
        counters: Counters { purges: 2, ..Counters::default() },
        ..Snapshot::default()
    }
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place { path: directory.path().join("driver"), _directory: directory }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(success(&command.output().unwrap())).unwrap()
}

#[test]
fn ls_asks_the_daemon() {
    let place = place();
    let daemon = Daemon::start(&place.path, snapshot());
    let list = json(&mut ashmem(&place.path, &["ls", "--json"]));
    assert_eq!(
        (&list["source"], &list["driver"], &list["processes"]),
        (&"driver".into(), &4242.into(), &1.into())
    );
    assert_eq!((&list["total"]["regions"], &list["total"]["size"]), (&2.into(), &(3 * 8192).into()));
    let first = &list["regions"][0];
    assert_eq!((&first["name"], &first["holders"][0]["process"]), (&"two".into(), &77.into()));
    assert!(first["holders"][0].get("descriptors").is_none(), "a daemon does not know them");

    let table = ashmem(&place.path, &["ls"]).output().unwrap();
    let table = success(&table);
    assert!(table.ends_with("Registered with the driver daemon (process 4242).\n"), "{table}");
    assert!(table.contains("77 a\u{fffd}b") && !table.contains('\x1b'), "{table}");

    // It does not know of these.
    for options in [&["--scan"][..], &["--all"], &["--process", "1"]] {
        let list = json(&mut ashmem(&place.path, &[&["ls", "--json"], options].concat()));
        assert_eq!((&list["source"], &list["driver"]), (&"proc".into(), &Value::Null), "{options:?}");
    }
    daemon.said.lock().unwrap().regions.clear();
    let empty = ashmem(&place.path, &["ls"]).output().unwrap();
    assert_eq!(success(&empty), "The driver daemon (process 4242) has no regions.\n");
    // A socket is left.
    drop(daemon);
    let list = json(&mut ashmem(&place.path, &["ls", "--json"]));
    assert_eq!(list["source"], "proc");
}

#[test]
fn a_daemon_that_makes_no_sense_is_mentioned() {
    let place = place();
    let _listener = std::os::unix::net::UnixListener::bind(&place.path).unwrap();
    let output = ashmem(&place.path, &["ls", "--json"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.starts_with("ashmem: connect to the driver daemon at "),
        "{said}"
    );
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["source"], "proc");
    let output = ashmem(&place.path, &["metrics"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{output:?}");
}

#[test]
fn metrics_are_the_daemon_s() {
    let place = place();
    let output = ashmem(&place.path, &["metrics"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    let said = text(&output.stderr);
    assert!(
        said.contains("there is no driver daemon at ") && said.contains("ashmem daemon starts one"),
        "{said}"
    );
    let output = ashmem(Path::new("off"), &["metrics"]).output().unwrap();
    assert!(text(&output.stderr).contains("ASHMEM_DRIVER"), "{output:?}");
    let _daemon = Daemon::start(&place.path, snapshot());
    let output = ashmem(&place.path, &["metrics"]).output().unwrap();
    assert_eq!(success(&output), "ashmem_purges_total 2\n");
}

#[test]
fn the_doctor_looks_for_the_daemon() {
    let place = place();
    let finding = |driver: &Path| {
        let report = json(&mut ashmem(driver, &["doctor", "--json"]));
        let all = report["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["feature"] == "driver daemon").unwrap()
    };
    assert_eq!(finding(Path::new("off"))["state"], "limited");
    let none = finding(&place.path);
    assert!(
        none["state"] == "missing" && none["advice"].as_str().unwrap().contains("ashmem daemon"),
        "{none}"
    );
    let _daemon = Daemon::start(&place.path, snapshot());
    let there = finding(&place.path);
    let meaning = there["meaning"].as_str().unwrap();
    assert_eq!(there["state"], "ok");
    assert!(meaning.starts_with("process 4242 at ") && meaning.ends_with("regions: 2"), "{meaning}");
}

#[test]
fn documents_of_top() {
    let place = place();
    let once = ["top", "--json", "--once"];
    let look = json(&mut ashmem(&place.path, &once));
    assert_eq!((&look["source"], &look["driver"]), (&"proc".into(), &Value::Null));
    assert!(look["limits"][0]["reserve"].as_u64().unwrap() > 0, "{look}");
    let daemon = Daemon::start(&place.path, snapshot());
    let look = json(&mut ashmem(&place.path, &once));
    assert_eq!((&look["source"], &look["driver"]["process"]), (&"driver".into(), &4242.into()));
    assert_eq!(
        (look["regions"].as_array().unwrap().len(), &look["limits"][0]["name"]),
        (2, &"system".into())
    );
    assert_eq!(look["purges"].as_array().unwrap().len(), 2);

    // One after the other, each purge once, from one daemon and the next.
    let mut top = ashmem(&place.path, &["top", "--json", "--interval", "0.1"]);
    let mut top = top.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut until = |is_it: &dyn Fn(&Value) -> bool| loop {
        let look: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if is_it(&look) {
            return look["purges"].as_array().unwrap().len();
        }
    };
    assert_eq!(until(&|look| look["driver"]["process"] == 4242), 2);
    assert_eq!(until(&|look| look["driver"]["process"] == 4242), 0);
    drop(daemon);
    until(&|look| look["source"] == "proc");
    let _daemon = Daemon::start(&place.path, Snapshot { process: 4343, ..snapshot() });
    until(&|look| look["driver"]["process"] == 4343);
    // Nobody reads any more.
    drop(lines);
    assert!(top.wait().unwrap().success());
}

#[test]
fn top_needs_a_terminal() {
    let output = ashmem(Path::new("off"), &["top"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    assert!(text(&output.stderr).contains("--json"), "{output:?}");
    for wrong in [&["--once"][..], &["--interval", "0"], &["--json", "--interval", "soon"]] {
        let output = ashmem(Path::new("off"), &[&["top"], wrong].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
