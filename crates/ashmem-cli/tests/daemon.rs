//! `ashmem daemon`, as whoever starts it sees it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use ashmem::driver::protocol::{Reply, Request, VERSION};
use ashmem::driver::socket;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// No test gets there; it only ends those that fail.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
    command
        .arg("daemon")
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("XDG_CONFIG_HOME", dir.path().join("config"));
    command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

fn socket_in(dir: &TempDir) -> PathBuf {
    dir.path().join("ashmem/driver")
}

/// A daemon that is killed in the end, and what it says.
struct Daemon {
    child: Child,
    said: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, dir: &TempDir) -> Daemon {
        let said = dir.path().join(format!("said-{}", fs::read_dir(dir.path()).expect("read").count()));
        let child = command.stderr(File::create(&said).expect("a file")).spawn().expect("started");
        Daemon { child, said }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("read")
    }

    fn wait_for(&self, text: &str) {
        until(|| self.said().contains(text), || format!("{text} in {}", self.said()));
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("sent");
    }

    fn end(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("a child");
        (status, self.said())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(mut is_so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "{}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether somebody who speaks the protocol answers.
fn is_served(path: &Path) -> bool {
    let Ok(connected) = socket::connect(path) else { return false };
    socket::send(&connected, &Request::Hello { version: VERSION }.encode(), &[]).expect("sent");
    let mut polled = [rustix::event::PollFd::new(&connected, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, None).expect("polled");
    let packet = socket::receive(&connected).expect("received").expect("a packet");
    matches!(Reply::decode(&packet.bytes), Some(Reply::Welcome { .. }))
}

fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("run");
    assert_eq!(status.code(), Some(2));
    String::from_utf8(stderr).expect("text")
}

#[test]
fn serves_until_it_is_told_to_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(command(&dir), &dir);
    daemon.wait_for("a limit of");
    let path = socket_in(&dir);
    assert!(is_served(&path));
    assert!(daemon.said().contains(&format!("serving this user at {}", path.display())));
    let message = refused(command(&dir));
    let id = daemon.child.id();
    assert_eq!(message, format!("ashmem: a daemon serves {} already: process {id}\n", path.display()));
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0));
    assert!(said.contains("ended") && !path.exists());
}

#[test]
fn another_one_takes_the_place_of_one_that_was_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = Daemon::start(command(&dir), &dir);
    first.wait_for("serving");
    first.child.kill().expect("killed");
    first.child.wait().expect("a child");
    assert!(socket_in(&dir).exists() && !is_served(&socket_in(&dir)));
    let second = Daemon::start(command(&dir), &dir);
    second.wait_for("serving");
    assert!(is_served(&socket_in(&dir)));
}

#[test]
fn what_is_in_the_way_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("place");
    let mut here = command(&dir);
    here.arg("--socket").arg(&path);
    fs::write(&path, "").expect("written");
    let message = refused(here);
    assert_eq!(message, format!("ashmem: {} is in the way: it is a file, not a socket\n", path.display()));
    let mut nowhere = command(&dir);
    nowhere.args(["--log", "/nowhere/log"]);
    assert!(refused(nowhere).starts_with("ashmem: open the log /nowhere/log: No such file"));
}

#[test]
fn a_policy_is_read_again_and_a_bad_one_is_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("driver.toml");
    let with_file = || {
        let mut command = command(&dir);
        command.arg("--policy").arg(&file);
        command
    };
    assert!(refused(with_file()).contains("driver.toml"), "a file that is named has to be there");
    fs::write(&file, "[quota]\nconnections = 1\n").expect("written");
    let mut check = with_file();
    assert!(check.arg("--check").status().expect("run").success());
    let daemon = Daemon::start(with_file(), &dir);
    daemon.wait_for("serving");
    let path = socket_in(&dir);
    let first = socket::connect(&path).expect("connected");
    socket::send(&first, &Request::Hello { version: VERSION }.encode(), &[]).expect("sent");
    // The quota in force shows by whether there is an answer for one more.
    let is_second_served = || {
        let second = socket::connect(&path).expect("connected");
        let _ = socket::send(&second, &Request::Hello { version: VERSION }.encode(), &[]);
        let mut polled = [rustix::event::PollFd::new(&second, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).expect("polled");
        matches!(socket::receive(&second), Ok(Some(_)))
    };
    assert!(!is_second_served());

    fs::write(&file, "[quota]\nconnectoins = 5\n").expect("written");
    let mut check = with_file();
    check.arg("--check");
    assert!(refused(check).contains("connectoins"));
    daemon.signal(Signal::HUP);
    daemon.wait_for("the old policy stays in force");
    daemon.wait_for("connectoins");
    assert!(!is_second_served());

    fs::write(&file, "[quota]\nconnections = 5\n").expect("written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("the policy was read again");
    assert!(is_second_served());
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn a_full_disk_is_said_once_and_stops_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    std::os::unix::fs::symlink("/dev/full", &log).expect("made");
    let mut to_file = command(&dir);
    to_file.arg("--log").arg(&log);
    let daemon = Daemon::start(to_file, &dir);
    daemon.wait_for("cannot be written");
    until(|| is_served(&socket_in(&dir)), || "served".to_owned());
    daemon.signal(Signal::HUP);
    fs::remove_file(&log).expect("removed");
    until(
        || {
            daemon.signal(Signal::HUP);
            fs::read_to_string(&log).is_ok_and(|text| text.contains("the policy was read again"))
        },
        || "a log".to_owned(),
    );
    let text = fs::read_to_string(&log).expect("read");
    assert!(
        text.lines().next().is_some_and(|line| line.contains("lines before this could not be written")),
        "{text}"
    );
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(said.matches("ashmem:").count(), 1, "{said}");
}

#[test]
fn systemd_passes_the_socket_and_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("passed");
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
    rustix::net::listen(&socket, 5).expect("listens");
    let told = dir.path().join("told");
    let notices = UnixDatagram::bind(&told).expect("bound");
    notices.set_read_timeout(Some(PATIENCE)).expect("set");
    let start = |socket: OwnedFd| {
        let mut shell = Command::new("sh");
        let line = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" daemon 3<&0";
        shell.args(["-c", line, env!("CARGO_BIN_EXE_ashmem")]).stdin(socket);
        shell.env("NOTIFY_SOCKET", &told).env("XDG_CONFIG_HOME", dir.path()).env_remove("JOURNAL_STREAM");
        Daemon::start(shell, &dir)
    };
    let notice = || {
        let mut text = [0; 4096];
        let length = notices.recv(&mut text).expect("told");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let daemon = start(socket.try_clone().expect("a duplicate"));
    assert!(notice().contains("READY=1"));
    assert!(daemon.said().contains("passed by systemd"), "{}", daemon.said());
    assert!(is_served(&path));
    daemon.signal(Signal::HUP);
    let reloading = notice();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(notice().contains("READY=1"));
    daemon.signal(Signal::TERM);
    assert!(notice().contains("STOPPING=1"));
    let (status, _) = daemon.end();
    assert!(status.success() && path.exists());

    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let mut refused = start(reader.into());
    assert_eq!(refused.child.wait().expect("a child").code(), Some(2));
    assert!(refused.said().contains("the socket that was passed: it is no socket"), "{}", refused.said());
}

#[test]
fn the_journal_knows_the_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = dir.path().join("journal");
    let file = File::create(&said).expect("a file");
    let stat = rustix::fs::fstat(&file).expect("looked at");
    let mut to_journal = command(&dir);
    to_journal.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    let child = to_journal.stderr(file).spawn().expect("started");
    let daemon = Daemon { child, said };
    daemon.wait_for("a limit of");
    assert!(daemon.said().starts_with("<6>serving"), "{}", daemon.said());
}
