//! Shared memory between two processes: what one does to the protection counts for the other, except for mappings
//! that it has already.
//!
//! The other process is this test binary again, running the ignored test `peer`. It gets the memory as its standard input,
//! and its standard output is a socket for both directions, a word a line.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use ashmem::{Error, Protection, SharedMemory};

const PEER: &str = "ASHMEM_TEST_PEER";

struct Peer {
    child: Child,
    socket: BufReader<UnixStream>,
}

impl Peer {
    fn start(memory: &SharedMemory) -> Peer {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "peer", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PEER, "1")
            .stdin(Stdio::from(memory.try_clone_fd().expect("a descriptor")))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("started");
        Peer { child, socket: BufReader::new(ours) }
    }

    /// Waits for a line that ends in `word`, past what the test harness writes.
    fn wait_for(&mut self, word: &str) {
        wait_for(&mut self.socket, word);
    }

    fn say(&mut self, word: &str) {
        writeln!(self.socket.get_mut(), "{word}").expect("sent");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(socket: &mut BufReader<UnixStream>, word: &str) {
    let mut line = String::new();
    while !line.trim_end().ends_with(word) {
        line.clear();
        assert_ne!(
            socket.read_line(&mut line).expect("received"),
            0,
            "the other process ended before {word:?}"
        );
    }
}

#[test]
#[ignore = "run by the other test, as a process of its own"]
fn peer() {
    if std::env::var(PEER).is_err() {
        return;
    }
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let memory = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let socket = std::io::stdout().as_fd().try_clone_to_owned().expect("standard output");
    let mut socket = BufReader::new(UnixStream::from(socket));
    let memory = SharedMemory::from_fd(memory).expect("shared memory");
    assert_eq!(memory.size().expect("open"), 5000);
    let older = memory.map_read_write().expect("mapped");
    assert_eq!(older.read_vec(0, 5).expect("inside"), b"owner");
    writeln!(socket.get_mut(), "mapped").expect("sent");

    wait_for(&mut socket, "protected");
    older.write_at(4995, b"older").expect("an older mapping writes");
    let refused = memory.map_read_write().expect_err("read-only");
    assert!(matches!(refused, Error::ProtectionDenied { .. }), "{refused:?}");
    assert_eq!(refused.raw_os_error(), libc::EPERM);
    assert!(!memory.set_protect(Protection::READ | Protection::WRITE).expect("open"));
    assert!(memory.set_protect(Protection::READ).expect("open"), "that is how it is");
    memory.close();
    older.write_at(0, b"peer").expect("also when closed");
    writeln!(socket.get_mut(), "written").expect("sent");
}

#[test]
fn a_peer_keeps_the_mapping_that_it_has() {
    let memory = SharedMemory::create("two processes", 5000).expect("shared memory");
    let older = memory.map_read_write().expect("mapped");
    older.write_at(0, b"owner").expect("inside");
    let mut peer = Peer::start(&memory);
    peer.wait_for("mapped");
    assert!(memory.set_protect(Protection::READ).expect("open"));
    let readable = memory.map_read_only().expect("mapped");
    peer.say("protected");
    peer.wait_for("written");
    assert_eq!(readable.read_vec(4995, 5).expect("inside"), b"older");
    assert_eq!(readable.read_vec(0, 5).expect("inside"), b"peerr");
    older.write_at(4, b"!").expect("the owner's older mapping writes, too");
    assert_eq!(readable.read_vec(0, 5).expect("inside"), b"peer!");
    assert_eq!(memory.map_read_write().expect_err("read-only").raw_os_error(), libc::EPERM);
    assert!(peer.child.wait().expect("a child").success());
}
