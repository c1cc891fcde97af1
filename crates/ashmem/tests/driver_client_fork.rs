//! The connection to a driver daemon, in a process that forks, and in one that closes descriptors that are not its own.
//!
//! Each test runs in a process of its own, because it counts descriptors: this test binary again, running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "fork, _exit, waitpid, and close of what is somebody else's")]

mod fake_daemon;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ashmem::driver::protocol::Request;
use ashmem::{Reclaimer, Region};
use rustix::net::sockopt::socket_peercred;

use fake_daemon::*;

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    match role.as_str() {
        "fork" => fork(),
        "close the socket" => close(|name| name.starts_with("socket:")),
        "close all" => close(|_| true),
        _ => panic!("unknown role"),
    }
}

#[test]
fn a_child_starts_without_a_connection_and_makes_its_own() {
    Worker::start("fork", |_| ()).succeeds();
}

#[test]
fn a_closed_socket_ends_the_connection_and_its_number_is_left_alone() {
    Worker::start("close the socket", |_| ()).succeeds();
}

#[test]
fn closing_everything_does_no_harm() {
    Worker::start("close all", |_| ()).succeeds();
}

/// A served region of the client at `daemon`, and that client's side of the connection as the daemon sees it.
fn served(daemon: &Daemon, reclaimer: &Reclaimer) -> (Region, Peer) {
    let region = unpinned(reclaimer);
    let peer = daemon.welcome();
    peer.registered(1);
    eventually("it is served", || reclaimer.served() == 1);
    (region, peer)
}

fn in_child(action: impl FnOnce()) {
    // SAFETY: the child calls only code that this test is about (the crate promises to work after fork), the allocator, which glibc
    // keeps usable, and `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = i32::from(catch_unwind(AssertUnwindSafe(action)).is_err());
        // SAFETY: ends the process without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    let mut ended = || {
        // SAFETY: `status` is a valid place for the answer.
        unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) == pid }
    };
    let ended = (0..LOOKS).any(|_| {
        let ended = ended();
        if !ended {
            std::thread::sleep(LOOK);
        }
        ended
    });
    if !ended {
        // SAFETY: a child that was not waited for still has its process identifier.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    assert!(ended && status == 0, "ended: {ended}, with status {status:#x}");
}

/// Descriptors of each kind that a client has.
fn kinds() -> [usize; 4] {
    let names: Vec<String> = descriptors().into_iter().map(|(_, name)| name).collect();
    ["socket:", "anon_inode:[eventpoll]", "anon_inode:inotify", "anon_inode:[eventfd]"]
        .map(|kind| names.iter().filter(|name| name.starts_with(kind)).count())
}

fn fork() {
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let (reclaimer, _pressure) = client(&path);
    let without = kinds();
    let (region, peer) = served(&daemon, &reclaimer);
    let [sockets, polls, watches, calls] = without;
    // The daemon's end of the connection is here as well.
    assert_eq!(kinds(), [sockets + 2, polls + 1, watches, calls + 1]);
    in_child(|| {
        assert_eq!(kinds(), [sockets + 1, polls, watches, calls], "the daemon's end alone is left");
        assert_eq!((reclaimer.served(), reclaimer.driver()), (0, None));
        region.unpin(..).expect("unpinned");
        // The parent does not look at its listener meanwhile.
        let own = daemon.welcome();
        let me = rustix::process::getpid();
        assert_eq!(socket_peercred(&own.socket).expect("credentials").pid, me);
        assert_eq!(own.registered(1).len(), 1);
        eventually("it is served", || reclaimer.served() == 1);
        drop(region.clone());
        drop(reclaimer.clone());
    });
    assert_eq!(reclaimer.served(), 1);
    assert!(peer.is_silent(), "the child has said nothing on the parent's connection");
    // A child that does nothing keeps no connection.
    drop(region);
    assert!(matches!(peer.hear(), Request::Release(_)));
    peer.ends();
    // Without a daemon there is one that waits for the socket to appear.
    drop(daemon);
    std::fs::remove_file(&path).expect("removed");
    let region = unpinned(&reclaimer);
    eventually("it searches", || kinds()[2] == watches + 1);
    in_child(|| {
        assert_eq!(kinds()[1..], [polls, watches, calls]);
        drop(region.clone());
    });
}

/// Closes all descriptors of this kind that were opened since the client was, and puts files in their places.
fn close(is_it: fn(&str) -> bool) {
    let (_dir, path) = place();
    let daemon = Daemon::listen(&path);
    let before = descriptors();
    let (reclaimer, pressure) = client(&path);
    let (region, peer) = served(&daemon, &reclaimer);
    let is_new = |(number, name): &(i32, String)| {
        !before.contains(&(*number, name.clone())) && *name != named(&peer.socket) && *name != named(&region)
    };
    let mut victims = descriptors();
    victims.retain(|victim| is_new(victim) && is_it(&victim.1) && link(victim.0) == victim.1);
    assert!(!victims.is_empty());
    let file = rustix::fs::memfd_create("somebody else's", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    for (number, _) in &victims {
        use std::os::fd::AsRawFd;
        // SAFETY: what has this number is the library's, which is what this test is about; it expects programs to do so.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), *number) }, *number);
    }
    peer.ends();
    if victims.len() == 1 {
        // The daemon is asked whether it is there, which finds out.
        pressure.set(short());
        eventually("it is purged here", || is_gone(&region));
        pressure.set(Default::default());
        let _ = region.pin(..).expect("pinned");
        region.unpin(..).expect("unpinned");
        // One that came before the unpin may have been given up again.
        let peer = (0..3).map(|_| daemon.accept()).find(|peer| peer.is_wanted()).expect("it connects again");
        peer.registered(1);
        eventually("it is served again", || reclaimer.served() == 1);
    }
    let _ = region.pin(..).expect("pinned");
    drop((region, reclaimer));
    for (number, _) in &victims {
        assert!(link(*number).contains("somebody else's"), "{number} is {}", link(*number));
    }
}
