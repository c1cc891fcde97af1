//! `ashmem doctor`, `completions` and `manual` as their users meet them: the built program in environments of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ashmem");

fn ashmem(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null()).env_remove("ASHMEM_BINDER").env_remove("XDG_RUNTIME_DIR");
    command.env("ASHMEM_DRIVER", "off");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn success(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    text(&output.stdout)
}

/// What the doctor says of a feature: how it is, and what that means.
fn finding(report: &Value, feature: &str) -> (String, String) {
    let all = report["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["feature"] == feature);
    let found = found.unwrap_or_else(|| panic!("nothing about {feature}"));
    (found["state"].as_str().unwrap().to_owned(), found["meaning"].as_str().unwrap().to_owned())
}

fn doctor(command: &mut Command) -> Value {
    serde_json::from_str(success(&command.output().unwrap())).unwrap()
}

#[test]
fn what_is_not_ok_comes_with_advice() {
    let report = doctor(&mut ashmem(&["doctor", "--json"]));
    assert_eq!(report["usable"], true);
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        let state = finding["state"].as_str().unwrap();
        assert!(matches!(state, "ok" | "limited" | "missing"), "{finding}");
        assert_eq!(finding["advice"].is_string(), state != "ok", "{finding}");
    }
    // These the tests of regions need as well.
    for feature in ["memfd", "holes", "/proc", "locks"] {
        assert_eq!(finding(&report, feature).0, "ok");
    }
    let shown = ashmem(&["doctor"]).output().unwrap();
    let lines = success(&shown).lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(lines, findings.len(), "a line for each");
}

#[test]
fn services_need_a_directory() {
    let place = tempfile::tempdir().unwrap();
    let services = |directory: &str| {
        finding(&doctor(ashmem(&["doctor", "--json"]).env("XDG_RUNTIME_DIR", directory)), "services")
    };
    let directory = place.path().to_str().unwrap().to_owned();
    let (state, meaning) = services(&directory);
    assert_eq!((state.as_str(), meaning.contains(&directory)), ("ok", true), "{meaning}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing was made");
    assert_eq!(services(&format!("{directory}/none")).0, "missing");
    let chosen = |address: &str| {
        finding(&doctor(ashmem(&["doctor", "--json"]).env("ASHMEM_BINDER", address)), "services").0
    };
    assert_eq!(chosen(&format!("unix://{directory}/services")), "ok");
    assert_eq!(chosen(&format!("unix://{directory}/none/services")), "missing");
    assert_eq!(chosen("nonsense"), "missing");
}

/// Runs the doctor in a shell, after some commands.
fn doctor_after(commands: &str) -> Output {
    let script = format!("{commands}; exec \"$0\" doctor --json");
    Command::new("sh")
        .args(["-c", &script, PROGRAM])
        .env("ASHMEM_DRIVER", "off")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn few_descriptors_are_noticed() {
    let output = doctor_after("ulimit -n 256");
    let report: Value = serde_json::from_str(success(&output)).unwrap();
    let (state, meaning) = finding(&report, "descriptors");
    assert_eq!((state.as_str(), meaning.starts_with("256 ")), ("limited", true), "{meaning}");
}

#[test]
fn without_memfds_nothing_works() {
    // Files may have no bytes.
    let output = doctor_after("trap '' XFSZ; ulimit -f 0");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["usable"], finding(&report, "memfd").0.as_str()), (&Value::Bool(false), "missing"));
    assert_eq!(finding(&report, "locks").0, "missing");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ashmem(&["completions", shell]).output().unwrap();
        let script = success(&output);
        for word in ["purge", "doctor", "bytes", "top", "interval", "metrics"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("viewer") && !script.contains("manual"), "{shell}: for people alone");
    }
    let script = ashmem(&["completions", "bash"]).output().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ashmem.bash");
    fs::write(&file, success(&script)).unwrap();
    match Command::new("bash").arg("-n").arg(&file).status() {
        Ok(status) => assert!(status.success(), "it is no script of bash"),
        Err(error) => println!("skipped: bash cannot be run: {error}"),
    }
    assert_eq!(ashmem(&["completions", "none"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn each_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(success(&ashmem(&["manual", path]).output().unwrap()), "");
    let mut pages: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort_unstable();
    let names =
        ["", "-ls", "-metrics", "-purge", "-share", "-stat", "-top"].map(|name| format!("ashmem{name}.1"));
    for name in &names {
        assert!(pages.contains(name), "{pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("manual") || page.contains("viewer")), "{pages:?}");
    let page = fs::read_to_string(directory.path().join("ashmem-purge.1")).unwrap();
    assert!(page.contains(".TH ashmem-purge 1") && page.contains("leased"), "{page}");
    let output = ashmem(&["manual", &format!("{path}/none")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("No such file"), "{output:?}");
}
