//! A program under `ashmem run` is as it is without: exit status, signals, descriptors, terminal.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod run;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use run::{ASHMEM, Outcome, Place, Running, compile, outcome, skipped, until};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What a program on a terminal is.
const PROGRAM: &str = "ASHMEM_TEST_PROGRAM";

fn program() -> Option<PathBuf> {
    compile(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/program.c"))
}

/// `ashmem run` in both ways.
fn both(place: &Place) -> [Command; 2] {
    let mut private = Command::new(ASHMEM);
    private.args(["run", "--private", "--"]);
    [place.run(), private]
}

#[test]
fn the_exit_status_is_the_programs() {
    let Some(program) = program() else { return };
    let place = Place::new();
    for code in ["0", "3", "255"] {
        for mut command in both(&place) {
            let ended = outcome(command.arg(&program).args(["exit", code]));
            assert_eq!(ended.status.code().unwrap().to_string(), code, "{}", ended.err);
        }
    }
    for mut command in both(&place) {
        let ended = outcome(command.arg(&program).arg("abort"));
        assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{}", ended.status);
    }
}

#[test]
fn signals_end_it_and_are_handled() {
    let Some(program) = program() else { return };
    let place = Place::new();
    for mut command in both(&place) {
        let mut running = Running::start(command.arg(&program).arg("wait"), None);
        running.until_said("ready");
        running.kill(Signal::TERM);
        assert_eq!(running.end().status.signal(), Some(Signal::TERM.as_raw()));
    }
    let mut running = Running::start(place.program(&program).arg("catch"), None);
    for (index, signal) in [Signal::INT, Signal::TERM, Signal::CONT].into_iter().enumerate() {
        running.until_said("ready");
        running.kill(signal);
        until(|| running.said().matches("caught").count() > index, || running.said());
        assert!(running.said().contains(&format!("caught {}", signal.as_raw())));
    }
    assert_eq!(running.end().status.code(), Some(17));
}

#[test]
fn signals_during_calls_do_no_harm() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let before = place.files();
    outcome(place.program(&program).arg("interrupted")).success();
    // No area is left of calls that were interrupted.
    until(|| place.files() <= before, || format!("{} files", place.files()));
}

/// What a program says of its surroundings, without what the shell says of itself.
fn surroundings(command: &mut Command) -> String {
    command.env_clear().env("SOME", "variable").env("PATH", "/usr/bin:/bin").current_dir("/");
    outcome(command).success()
}

#[test]
fn its_surroundings_are_the_same() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let without = surroundings(Command::new(&program).arg("surroundings"));
    assert!(without.contains("children -1 1") && without.contains("SOME=variable"), "{without}");
    assert_eq!(surroundings(place.program(&program).arg("surroundings")), without);
    let mut private = Command::new(ASHMEM);
    private.args(["run", "--private", "--"]).arg(&program).arg("surroundings");
    // There it is a child.
    assert_eq!(surroundings(&mut private), without.replace("group 1", "group 0"));
    // With signals blocked and ignored.
    let start = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(&program);
        surroundings(command.arg("with-signals").args(arguments).arg(&program).arg("surroundings"))
    };
    let without = start(&[]);
    assert!(without.matches("blocked").count() == 2 && without.matches("ignored").count() == 2, "{without}");
    let (run, socket) = ([ASHMEM, "run", "--socket"].map(std::ffi::OsStr::new), place.socket());
    assert_eq!(start(&[&run[..], &[socket.as_os_str(), "--".as_ref()]].concat()), without);
    let private = [ASHMEM, "run", "--private", "--"].map(std::ffi::OsStr::new);
    assert_eq!(start(&private), without.replace("group 1", "group 0"));
}

#[test]
fn a_closed_pipe_ends_it() {
    let Some(program) = program() else { return };
    let place = Place::new();
    for mut command in both(&place) {
        let ended = outcome(command.arg(&program).arg("pipe"));
        assert_eq!(ended.status.signal(), Some(Signal::PIPE.as_raw()), "{}", ended.status);
    }
}

#[test]
fn input_and_output_are_its_own() {
    let Some(program) = program() else { return };
    let place = Place::new();
    for mut command in both(&place) {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(b"some\0input\n").unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let running = Running::start(command.arg(&program).arg("echo"), Some(Stdio::from(input)));
        let ended = running.end();
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("some\0input\n", "terminal 0\n"));
        assert!(ended.status.success());
    }
}

#[test]
fn what_it_leaves_behind_keeps_the_device() {
    let Some(program) = program() else { return };
    let place = Place::new();
    for (index, mut command) in both(&place).into_iter().enumerate() {
        let (go, done) = (place.path().join(format!("go{index}")), place.path().join(format!("done{index}")));
        let running = Running::start(command.arg(&program).arg("orphan").args([&go, &done]), None);
        let go_on = || File::create(&go).unwrap();
        if index == 0 {
            assert_eq!(running.end().status.code(), Some(5));
            go_on();
        } else {
            // This one is the device, and so stays until the last has ended.
            go_on();
            assert_eq!(running.end().status.code(), Some(5));
        }
        until(|| done.exists(), || "its child does not find the device".into());
    }
}

#[test]
fn one_inside_the_other() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let other = Place::new();
    for mut command in both(&place) {
        let ended = outcome(command.arg(ASHMEM).args(["run", "--"]).arg(&program).args(["exit", "4"]));
        assert_eq!(ended.status.code(), Some(4), "{}", ended.err);
    }
    let mut inner = place.program(ASHMEM);
    inner.args(["run", "--socket"]).arg(other.socket()).arg("--").arg(&program).args(["exit", "4"]);
    let ended = outcome(&mut inner);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.err);
    let mut inner = place.program(ASHMEM);
    let ended = outcome(inner.args(["run", "--private", "--"]).arg(&program).args(["exit", "4"]));
    assert_eq!(ended.status.code(), Some(4), "{}", ended.err);
}

#[track_caller]
fn fails(ended: &Outcome, code: i32, message: &str) {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.err);
    assert!(ended.err.contains(message) && ended.err.lines().count() == 1, "{}", ended.err);
}

#[test]
fn what_cannot_be_run() {
    let place = Place::new();
    let file = place.path().join("no-program");
    std::fs::write(&file, "text").unwrap();
    for command in [both(&place), both(&place)] {
        let [mut first, mut second] = command;
        fails(&outcome(first.arg("/nowhere/at/all")), 127, "cannot execute /nowhere/at/all: No such file");
        fails(&outcome(second.arg(&file)), 126, "Permission denied");
    }
    // Where nobody can make a socket.
    let mut command = Command::new(ASHMEM);
    command.args(["run", "--socket"]).arg(file.join("device")).args(["--", "true"]);
    let ended = outcome(&mut command);
    assert_eq!(ended.status.code(), Some(125), "{}", ended.err);
    assert!(ended.err.starts_with("ashmem: "), "{}", ended.err);
}

#[test]
fn with_a_tracer() {
    let Some(program) = program() else { return };
    if !Command::new("strace").args(["-f", "true"]).output().is_ok_and(|output| output.status.success()) {
        skipped("strace is not installed, or may not trace");
        return;
    }
    let place = Place::new();
    let traced = |log: &Path| std::fs::read_to_string(log).unwrap();
    // Inside: it sees what the program sees.
    for (index, mut command) in both(&place).into_iter().enumerate() {
        let log = place.path().join(format!("inside{index}"));
        let command = command.args(["strace", "-f", "-o"]).arg(&log).arg(&program).args(["exit", "6"]);
        assert_eq!(outcome(command).status.code(), Some(6));
        let opened =
            traced(&log).lines().any(|line| line.contains("\"/dev/ashmem\"") && !line.contains("-1"));
        assert!(opened, "{}", traced(&log));
    }
    // Around. Not so for servers, which it would wait for.
    let log = place.path().join("around");
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&log).args([ASHMEM, "run", "--socket"]).arg(place.socket());
    strace.arg("--").arg(&program).args(["exit", "7"]);
    assert_eq!(outcome(&mut strace).status.code(), Some(7));
    assert!(traced(&log).contains("\"/dev/ashmem\""));
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn session() {
    let Some(program) = std::env::var_os(PROGRAM) else { return };
    let terminal = rustix::stdio::stdin();
    rustix::process::setsid().unwrap();
    rustix::process::ioctl_tiocsctty(terminal).unwrap();
    let place = Place::new();
    #[allow(clippy::zombie_processes, reason = "waited for below, in a way that tells of stops")]
    let child = place.program(program).arg("catch").process_group(0).spawn().unwrap();
    let process = Pid::from_child(&child);
    rustix::termios::tcsetpgrp(terminal, process).unwrap();
    loop {
        let Some((_, status)) = waitpid(Some(process), WaitOptions::UNTRACED).unwrap() else { continue };
        if status.stopped() {
            eprintln!("[stopped]");
            kill_process(process, Signal::CONT).unwrap();
        } else {
            eprintln!("[ended {:?}]", status.exit_status());
            return;
        }
    }
}

#[test]
fn job_control_on_a_terminal() {
    let Some(program) = program() else { return };
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other: OwnedFd =
        rustix::fs::open(ptsname(&terminal, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
    let end = || other.try_clone().unwrap();
    let mut session = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "session", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PROGRAM, program)
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut writing = File::from(terminal);
    let mut reading = writing.try_clone().unwrap();
    let (send, output) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = reading.read(&mut buffer) {
            if send.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut said = String::new();
    // What is typed, and what is waited for before.
    for (before, key) in [("ready", b"\x03"), ("caught 2", b"\x1a"), ("caught 18", b"\x03")] {
        while !said.contains(before) {
            said += &output.recv_timeout(run::PATIENCE).unwrap_or_else(|_| panic!("no {before}: {said}"));
        }
        writing.write_all(key).unwrap();
    }
    while !said.contains("[stopped]") || !said.contains(")]") {
        said += &output.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("no end: {said}"));
    }
    assert!(said.contains("[stopped]") && said.contains("[ended Some(17)]"), "{said}");
    let _ = session.kill();
    session.wait().unwrap();
}
