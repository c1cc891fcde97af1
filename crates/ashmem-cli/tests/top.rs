//! `ashmem top` as its users meet it: the built program on a terminal of its own.
//!
//! A session of its own has that terminal: this test binary again, running the ignored test `session`, which starts the program as
//! a shell would, and tells on the terminal itself what becomes of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod common;
#[path = "common/screen.rs"]
mod screen;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ashmem::{Reclaimer, Region, page_size};
use ashmem_driver::Snapshot;
use ashmem_driver::snapshot::{self, Holder};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetpgrp, tcsetwinsize};

use self::common::Daemon;
use self::screen::Screen;

const ARGUMENTS: &str = "ASHMEM_TEST_ARGUMENTS";

/// What a screen of the program's own begins and ends with.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// How long a machine that is busy may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn session() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let terminal = rustix::stdio::stdin();
    rustix::process::setsid().unwrap();
    rustix::process::ioctl_tiocsctty(terminal).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    let program = program.args(arguments.split(' ')).process_group(0).spawn().unwrap();
    let process = Pid::from_child(&program);
    // Waited for below, in a way that tells of stops.
    drop(program);
    tcsetpgrp(terminal, process).unwrap();
    say(&format!("started {process}"));
    loop {
        let (_, status) = waitpid(Some(process), WaitOptions::UNTRACED).unwrap().unwrap();
        // Lines are edited and shown, as before.
        let is_restored =
            tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO);
        let state = if is_restored { "restored" } else { "raw" };
        if status.stopped() {
            say(&format!("stopped {state}"));
            kill_process(process, Signal::CONT).unwrap();
        } else {
            say(&format!("ended {:?} {state}", status.exit_status()));
            // Until all was read: the terminal's end would take it away.
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
    }
}

fn say(text: &str) {
    eprintln!("[{text}]");
}

/// The program on a terminal. Killed on drop.
struct Top {
    session: Child,
    terminal: File,
    output: Receiver<Vec<u8>>,
    /// All that was written so far.
    seen: String,
    /// How much of that was waited for.
    mark: usize,
    /// Bytes of a sign that has not come whole.
    rest: Vec<u8>,
    screen: Screen,
}

impl Top {
    fn start(driver: &Path, size: (u16, u16), options: &[&str]) -> Top {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        resize(&terminal, size);
        let end = || other.try_clone().unwrap();
        let session = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "session", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ARGUMENTS, [&["top"], options].concat().join(" "))
            .env("ASHMEM_DRIVER", driver)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let terminal = File::from(terminal);
        let mut reading = terminal.try_clone().unwrap();
        let (send, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reading.read(&mut buffer) {
                if count == 0 || send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Top {
            session,
            terminal,
            output,
            seen: String::new(),
            mark: 0,
            rest: Vec::new(),
            screen: Screen::new(),
        }
    }

    /// Waits until something is written, behind what was waited for before.
    fn until(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen[self.mark..].find(what) {
                self.mark += place + what.len();
                return;
            }
            self.read(deadline, what);
        }
    }

    /// Waits until something can be read on the screen.
    fn until_shown(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen.text().contains(what) {
            self.read(deadline, what);
        }
    }

    fn read(&mut self, deadline: Instant, what: &str) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(bytes) = self.output.recv_timeout(left) else {
            panic!("no {what:?} in {:?}\n{}", &self.seen[self.mark..], self.screen.text());
        };
        self.rest.extend(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.rest, rest)).unwrap();
        self.screen.write(&text);
        self.seen += &text;
    }

    fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, size: (u16, u16)) {
        resize(&self.terminal, size);
    }

    /// The program's process.
    fn process(&mut self) -> Pid {
        self.until("[started ");
        let rest = &self.seen[self.mark..];
        let number = rest.split(']').next().unwrap().parse().unwrap();
        Pid::from_raw(number).unwrap()
    }

    /// Waits for the end, after which the terminal is as it was.
    fn ended(&mut self, status: &str) {
        self.until(LEAVE);
        self.until(SHOW_CURSOR);
        self.until(&format!("[ended {status} restored]"));
        assert_eq!(self.seen.matches(ENTER).count(), self.seen.matches(LEAVE).count());
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // Its terminal goes with it.
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

fn resize(terminal: impl AsFd, (columns, rows): (u16, u16)) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

fn off() -> PathBuf {
    PathBuf::from("off")
}

#[test]
fn a_terminal_is_used_and_given_back() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let region = Region::options().reclaimer(&reclaimer).create("top-test", 4 * page_size()).unwrap();
    region.unpin(..).unwrap();
    let mut top = Top::start(&off(), (40, 12), &["--interval", "0.2"]);
    top.until(ENTER);
    top.until_shown("ashmem top");
    top.until_shown("no driver: /proc");
    // What has no room.
    assert!(!top.screen.text().contains("Home End select"));
    top.resize((120, 40));
    top.until_shown("Home End select");
    top.press("1");
    top.until_shown("Name▼");
    top.press("r");
    top.until_shown("▲");
    top.press("\x1b[B\x1b[A\x1b[6~\x1b[5~\x1b[F\x1b[Hjk<>");
    for size in [(1, 1), (20, 5), (3, 60), (100, 30)] {
        top.resize(size);
        thread::sleep(Duration::from_millis(150));
    }
    top.until_shown("Home End select");
    top.press("q");
    top.ended("Some(0)");
}

#[test]
fn other_ways_to_end() {
    for keys in ["\x1b", "\x03"] {
        let mut top = Top::start(&off(), (80, 24), &[]);
        top.until_shown("no driver: /proc");
        top.press(keys);
        top.ended("Some(0)");
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut top = Top::start(&off(), (80, 24), &[]);
        let process = top.process();
        top.until_shown("no driver: /proc");
        kill_process(process, signal).unwrap();
        top.ended("Some(0)");
    }
}

#[test]
fn it_can_be_stopped() {
    let mut top = Top::start(&off(), (80, 24), &[]);
    top.until_shown("no driver: /proc");
    top.press("\x1a");
    top.until(LEAVE);
    top.until("[stopped restored]");
    // It goes on.
    top.until(ENTER);
    top.until("q quit");
    top.press("q");
    top.ended("Some(0)");
}

#[test]
fn daemons_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("driver");
    let snapshot = |process| Snapshot { process, ..Snapshot::default() };
    let daemon = Daemon::start(&path, snapshot(1111));
    let mut top = Top::start(&path, (80, 24), &["--interval", "0.1"]);
    top.until_shown("driver 1111");
    top.until_shown("There are no regions.");

    let reclaimer = Reclaimer::builder().without_thread().build();
    let region = Region::options().reclaimer(&reclaimer).create("by-the-daemon", 4 * page_size()).unwrap();
    region.map().unwrap().fill(0, 4 * page_size(), 1).unwrap();
    region.unpin(..page_size()).unwrap();
    let holder = Holder { process: std::process::id(), user: 0, command: "top".to_owned() };
    daemon.said.lock().unwrap().regions.push(snapshot::Region {
        name: "by-the-daemon".to_owned(),
        inode: rustix::fs::fstat(&region).unwrap().st_ino,
        size: 4 * page_size(),
        holders: vec![holder],
        ..snapshot::Region::default()
    });
    // Its pages are looked at without the daemon.
    top.until_shown("Pages of by-the-daemon");
    top.until_shown("\n▒███");
    region.purge().unwrap();
    top.until_shown("\n×███");

    drop(daemon);
    top.until_shown("no driver: /proc");
    let _daemon = Daemon::start(&path, snapshot(2222));
    top.until_shown("driver 2222");
    top.press("q");
    top.ended("Some(0)");
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut top = Top::start(&off(), (80, 24), &[]);
    let process = top.process();
    top.until_shown("no driver: /proc");
    // The session's end hangs it up.
    drop(top);
    let deadline = Instant::now() + PATIENCE;
    while rustix::process::test_kill_process(process).is_ok() {
        assert!(Instant::now() < deadline, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
}
