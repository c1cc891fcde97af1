//! `ashmem bench pressure` as its users meet it. Where no memory cgroup can be made, that is what is tested.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Small, and quick.
const SMALL: [&str; 6] = ["bench", "pressure", "--limit", "96M", "--reclaimer", "embedded"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    command.args(SMALL).args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Why nothing can be measured here, if that is so.
fn skipped(output: &Output) -> Option<String> {
    let said = text(&output.stderr);
    (output.status.code() == Some(2) && said.contains("no memory cgroup can be made")).then_some(said)
}

/// What is left of a process of this program.
fn leftovers(process: u32) -> Vec<String> {
    let name = format!("ashmem-pressure-{process}-");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points =
        mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let mut found = Vec::new();
    for point in points.chain(["/dev/shm"]) {
        let mut places = vec![Path::new(point).to_owned()];
        while let Some(place) = places.pop() {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if entry.file_name().to_string_lossy().starts_with(&name) {
                    found.push(entry.path().display().to_string());
                }
                places.push(entry.path());
            }
        }
    }
    found
}

/// Children of a process.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_ascii_whitespace().map(|child| child.parse().unwrap()).collect()
}

#[test]
fn a_run_is_told_and_drawn_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (json, plot) = (directory.path().join("r.json"), directory.path().join("r.svg"));
    let paths = [json.to_str().unwrap(), plot.to_str().unwrap()];
    let child = command(&["--runs", "1", "--lenient", "--json", paths[0], "--plot", paths[1]])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    if let Some(reason) = skipped(&output) {
        println!("SKIPPED: {reason}");
        return;
    }
    let said = text(&output.stdout);
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let series = report["series"].as_array().unwrap();
    let kills = |series: &Value| {
        series["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["kills"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(kills(&series[0]).len(), 2, "one run, and one for the figure");
    // Whether the reclaimer came in time on a machine that runs other tests is not what is tested.
    let is_alive = kills(&series[0]) == [0, 0];
    assert_eq!((report["all_held"].as_bool(), output.status.success()), (Some(is_alive), is_alive), "{said}");
    assert_eq!(said.contains("All that counts held."), is_alive, "{said}");
    let plain = series.iter().find(|series| series["variant"] == "plain").unwrap();
    assert!(kills(plain).iter().all(|&kills| kills > 0), "{said}");
    let first = &series[0]["runs"][0];
    assert_eq!(first["wrong"], 0, "{said}");
    // 80 % and 60 % do not fit.
    let purged = first["order"]["purged"].as_u64().unwrap();
    assert!(!is_alive || purged >= (96 << 20) * 39 / 100, "{purged}");
    assert!(fs::read_to_string(plot).unwrap().ends_with("</svg>\n"));
    assert_eq!(leftovers(process), [""; 0]);
}

#[test]
fn what_is_measured_is_not_the_user_s_policy() {
    let config = tempfile::tempdir().unwrap();
    fs::create_dir(config.path().join("ashmem")).unwrap();
    fs::write(config.path().join("ashmem/driver.toml"), "nonsense = 1").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ashmem"))
        .args(["bench", "pressure", "--limit", "96M", "--runs", "1", "--reclaimer", "driver", "--lenient"])
        .env("XDG_CONFIG_HOME", config.path())
        .output()
        .unwrap();
    match skipped(&output) {
        Some(reason) => println!("SKIPPED: {reason}"),
        None => assert_eq!(text(&output.stderr), ""),
    }
}

#[test]
fn a_signal_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child =
            command(&["--runs", "1000"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let process = child.id();
        let members = wait_for_members(&mut child);
        if members.is_empty() {
            println!("SKIPPED: it has ended by itself");
            let _ = child.wait();
            continue;
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), "ashmem: interrupted\n"));
        assert_eq!(leftovers(process), [""; 0]);
        assert!(members.iter().all(|member| !Path::new("/proc").join(member.to_string()).exists()));
    }
}

#[test]
fn members_do_not_outlive_a_killed_parent() {
    let mut child = command(&["--runs", "1000"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let members = wait_for_members(&mut child);
    if members.is_empty() {
        println!("SKIPPED: it has ended by itself");
        let _ = child.wait();
        return;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    while members.iter().any(|&member| is_member(member)) {
        assert!(Instant::now() < give_up, "they are still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process does what one of ours does. Its parent may not have waited for it.
fn is_member(process: u32) -> bool {
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| text(&line).contains("bench-member"))
}

/// Processes in the cgroup; none when the command has ended.
fn wait_for_members(child: &mut Child) -> Vec<u32> {
    while child.try_wait().unwrap().is_none() {
        let members = children(child.id());
        if members.len() > 2 {
            return members;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Vec::new()
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, said) in [
        (&["--limit", "1M"][..], "ashmem: the limit is too small: the least is 64.0 MiB\n"),
        (&["--limit", "1000000G"], "that are available\n"),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ashmem"))
            .args(["bench", "pressure"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2));
        assert!(stderr.ends_with(said), "{stderr}");
    }
}
