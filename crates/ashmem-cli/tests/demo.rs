//! `ashmem demo` as its users meet it: the built program, its output and its exit status.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PAGE: u64 = 4096;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    // No daemon that the user may have: its purges are not those of the demonstration.
    command.arg("demo").stdin(Stdio::null()).env("ASHMEM_DRIVER", "off");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What the program wrote when it gave its demonstration and everything held.
fn success(output: &Output) -> &str {
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{errors}");
    assert_eq!(errors, "");
    out
}

/// What the program complained about when it could not begin.
fn trouble(output: &Output) -> &str {
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}\n{errors}");
    assert_eq!(out, "");
    assert!(errors.starts_with("ashmem: ") && errors.lines().count() == 1, "{errors}");
    errors
}

/// A file whose bytes differ from page to page, and from those of other files.
fn make(directory: &Path, name: &str, size: usize) -> PathBuf {
    let path = directory.join(name);
    let bytes: Vec<u8> = (0..size).map(|n| (n / 7 + n / 4096 * 31 + size + 1) as u8).collect();
    fs::write(&path, bytes).unwrap();
    path
}

fn json(output: &Output) -> Value {
    serde_json::from_str(success(output)).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no size"))
}

fn regions(report: &Value) -> &[Value] {
    report["regions"].as_array().unwrap()
}

fn holds_throughout(report: &Value) {
    assert_eq!(report["all_held"], true);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "shared_memory_sums",
            "socket_sums",
            "budget_held",
            "oldest_went_first",
            "pins_told_the_truth",
            "rebuilt_from_files",
            "viewer_sums_after",
        ]
    );
    assert!(checks.iter().all(|check| check["held"] == true));
    for region in regions(report) {
        assert_eq!(region["sum_right"], true);
        assert_eq!(region["rebuilt"], region["purged"]);
        let (size, before) = (number(&region["size"]), number(&region["resident_before"]));
        assert_eq!(before, size.next_multiple_of(number(&report["page_size"])));
    }
}

/// The oldest went, until no more than the budget was left.
fn oldest_half_went(report: &Value) {
    let purged: Vec<_> = regions(report).iter().map(|region| region["purged"].as_bool().unwrap()).collect();
    assert!(purged.is_sorted_by_key(|purged| !purged), "{purged:?}");
    let reclaim = &report["reclaim"];
    let (before, after) = (number(&reclaim["resident_before"]), number(&reclaim["resident_after"]));
    assert!(after <= number(&reclaim["budget"]));
    assert_eq!(number(&reclaim["freed"]), before - after);
    assert_eq!(number(&reclaim["budget"]), before / 2);
}

#[test]
fn shows_its_own_executable_by_default() {
    let output = demo().output().unwrap();
    let out = success(&output);
    assert!(out.contains(env!("CARGO_BIN_EXE_ashmem")), "{out}");
    assert!(out.contains("8 regions"), "{out}");
    assert!(out.ends_with("All 7 checks held.\n"), "{out}");
    for line in out.lines().filter(|line| !line.contains(env!("CARGO_BIN_EXE_ashmem"))) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn files_of_all_sizes_are_reported_to_machines() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 4095, 4096, 4097, 65_536, 100_000, (4 << 20) + 1];
    let paths: Vec<_> =
        sizes.iter().map(|&size| make(directory.path(), &format!("{size} bytes"), size)).collect();
    let report = json(&demo().arg("--json").args(&paths).output().unwrap());
    holds_throughout(&report);
    oldest_half_went(&report);

    assert_eq!(report["skipped_files"].as_array().unwrap().len(), 1);
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), sizes.len() - 1);
    for (file, size) in files.iter().zip(&sizes[1..]) {
        assert_eq!(number(&file["size"]), *size as u64);
    }
    // Only the last is large enough to be split; its pieces follow each other.
    assert!(files[..files.len() - 1].iter().all(|file| file["regions"] == 1));
    let mut end = 0;
    for piece in regions(&report).iter().filter(|region| region["file"] == files.len() - 1) {
        assert_eq!(number(&piece["offset"]), end);
        end += number(&piece["size"]);
    }
    assert_eq!(end, (4 << 20) + 1);
}

#[test]
fn about_half_of_equal_files_goes() {
    let directory = tempfile::tempdir().unwrap();
    let size = 50 * PAGE as usize;
    let paths: Vec<_> = (0..10).map(|n| make(directory.path(), &n.to_string(), size)).collect();
    let report = json(&demo().arg("--json").args(&paths).output().unwrap());
    holds_throughout(&report);
    oldest_half_went(&report);
    // A system that is short of memory may take more than the budget does.
    let purged = number(&report["reclaim"]["regions_purged"]);
    assert!((5..=10).contains(&purged), "{purged}");
}

#[test]
fn the_sums_are_those_of_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("abc");
    fs::write(&path, "abc").unwrap();
    let report = json(&demo().arg("--json").arg(&path).output().unwrap());
    holds_throughout(&report);
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(regions(&report)[0]["sha256"], sum);
}

#[test]
fn many_files_need_many_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..100).map(|n| make(directory.path(), &n.to_string(), 100 + n)).collect();
    let report = json(&demo().arg("--json").args(&paths).output().unwrap());
    holds_throughout(&report);
    assert_eq!(regions(&report).len(), 100);
}

#[test]
fn a_file_called_like_a_terminal_command_is_shown_harmlessly() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "a\x1b[31m\nb", 10);
    let output = demo().arg(path).output().unwrap();
    assert!(!success(&output).contains('\x1b'));
}

#[test]
fn what_cannot_be_shared_is_said_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let full = make(directory.path(), "full", 10);
    let empty = make(directory.path(), "empty", 0);

    let missing = demo().arg(&full).arg(directory.path().join("missing")).output().unwrap();
    assert!(trouble(&missing).contains("missing: No such file or directory"));
    let not_a_file = demo().arg(&full).arg(directory.path()).output().unwrap();
    assert!(trouble(&not_a_file).contains("not a regular file"));
    let nothing = demo().arg(&empty).output().unwrap();
    assert!(trouble(&nothing).contains("every file is empty"));
    let huge = directory.path().join("huge");
    File::create(&huge).unwrap().set_len(1 << 42).unwrap();
    assert!(trouble(&demo().arg(&huge).output().unwrap()).contains("memory"));
    let usage = demo().arg("--no-such-option").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let output = demo().stdout(OwnedFd::from(writer)).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn the_viewer_is_for_the_owner_only() {
    let mut viewer = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    let output = viewer.arg("demo-viewer").stdin(Stdio::null()).output().unwrap();
    assert!(trouble(&output).contains("standard input"));
    let help = Command::new(env!("CARGO_BIN_EXE_ashmem")).arg("--help").output().unwrap();
    assert!(!success(&help).contains("viewer"));
}

#[test]
fn the_viewer_ends_with_its_owner() {
    let (owner, viewer) = UnixStream::pair().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_ashmem"))
        .arg("demo-viewer")
        .stdin(OwnedFd::from(viewer))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(owner);
    assert!(process.wait().unwrap().success());
    let mut errors = String::new();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

/// What `ashmem demo --cache` says before its time is over.
fn cache(arguments: &[&str]) -> String {
    let mut command = demo();
    let output = command.env("ASHMEM_DRIVER", "off").arg("--cache").args(arguments).output().unwrap();
    success(&output).to_owned()
}

#[test]
fn a_cache_to_look_at() {
    let said = cache(&["5000000", "--seconds", "2"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("5 tiles of 1.0 MiB, unpinned"), "{said}");
    assert!(
        lines[1].contains(" of 5.0 MiB in memory; used ") && lines[1].ends_with("by this process"),
        "{said}"
    );
    assert!(lines.last().unwrap().starts_with("rebuilt "), "{said}");
    assert!(!said.contains("WRONG"), "{said}");
}
