//! The client's window, on a display of its own: driven like a person does, and looked at.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::super::harness::library;
use super::{Example, Place, example, repository, sources};

/// A display in memory.
struct Display {
    server: Child,
    name: String,
}

impl Display {
    /// `None` where there is no Xvfb, but not in CI.
    fn start() -> Option<Display> {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = match started {
            Ok(server) => server,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "Xvfb: {error}");
                eprintln!("skipped: Xvfb: {error} (Debian: apt-get install xvfb)");
                return None;
            }
        };
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.is_empty(), "Xvfb has found no display");
        Some(Display { server, name: format!(":{}", number.trim()) })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // It removes its lock file then.
        let id = Pid::from_child(&self.server);
        let _ = kill_process(id, Signal::TERM);
        let _ = self.server.wait();
    }
}

/// Whether this Java can show windows: there are ones without.
fn has_windows(example: &Example) -> bool {
    let output = example.jdk.tool("java").args(["-XshowSettings:properties", "-version"]).output().unwrap();
    let settings = String::from_utf8_lossy(&output.stderr).into_owned();
    let home = settings.lines().find_map(|line| line.trim().strip_prefix("java.home = ")).unwrap();
    let has = PathBuf::from(home).join("lib/libawt_xawt.so").exists();
    assert!(has || std::env::var_os("CI").is_none(), "this Java has no windows");
    if !has {
        eprintln!("skipped: this Java has no windows (Debian: apt-get install openjdk-17-jre)");
    }
    has
}

#[test]
fn a_window_that_is_clicked_and_typed_into() {
    let (Some(example), place) = (example(), Place::new()) else { return };
    if !has_windows(example) {
        return;
    }
    let Some(display) = Display::start() else { return };
    let driver = repository().join("bindings/java/tests/window/ashmem/test/WindowTest.java");
    example.javac(&["-Xlint:all", "-Werror"], [driver]);
    let server = example.server(&place);
    let picture = place.0.path().join("window.png");

    // Not with JNI's checks: windows do not stand them.
    let mut java = example.jdk.tool("java");
    java.arg("-cp").arg(example.class_path());
    java.arg(format!("-Dashmem.library.path={}", library().display()));
    java.arg("ashmem.test.WindowTest").arg(&picture).arg(server.id().to_string());
    java.env("ASHMEM_BINDER", place.address()).env("DISPLAY", &display.name);
    let output = java.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(example.client(&place).ask("read"), "42");
    drop(server);

    let picture = std::fs::read(picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    if std::env::var_os("WRITE_SCREENSHOT").is_some() {
        std::fs::write(sources().join("window.png"), picture).unwrap();
    }
}
