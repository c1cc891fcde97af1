//! Where a daemon listens, and what can be in the way there.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use ashmem::Contents;
use ashmem_driver::{Audience, Driver, Error, Listener, Policy};
use common::{Client, Daemon, place, unpinned};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn daemon() {
    common::serve();
}

fn bind(path: &Path) -> Result<Listener, Error> {
    Listener::bind(path, Audience::OwnUser)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

#[test]
fn who_gets_in() {
    for (audience, directory, socket) in
        [(Audience::OwnUser, 0o700, 0o600), (Audience::Everyone, 0o755, 0o666)]
    {
        let (_dir, path) = place();
        let listener = Listener::bind(&path, audience).expect("a listener");
        assert_eq!((mode(path.parent().expect("a directory")), mode(&path)), (directory, socket));
        assert_eq!(mode(&path.with_file_name("driver.lock")), 0o600);
        drop(listener);
        assert!(!path.exists());
        // Nothing else is left, or in the way.
        let left: Vec<_> = fs::read_dir(path.parent().expect("a directory")).expect("read").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        drop(Listener::bind(&path, audience).expect("a listener"));
    }
}

#[test]
fn a_second_daemon_names_the_first() {
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let error = bind(&path).expect_err("refused");
    assert!(matches!(&error, Error::Running { process: Some(id), .. } if *id == daemon.id()), "{error}");
    assert!(error.to_string().contains(&daemon.id().to_string()), "{error}");
    Client::greeted(&path);
    daemon.stop();
    bind(&path).expect("free again");
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way() {
    let (_dir, path) = place();
    let region = unpinned("served twice", 1 << 20);
    for _ in 0..3 {
        let mut daemon = Daemon::start(&path);
        let client = Client::greeted(&path);
        client.register(1, &region);
        assert!(client.settle().is_empty());
        assert_eq!(daemon.reclaim(u64::MAX), 1 << 20);
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
        region.map().expect("mapped").fill(0, 1 << 20, 1).expect("filled");
        region.unpin(..).expect("unpinned");
        daemon.kill();
        client.expect_end();
        assert!(path.exists());
    }
}

#[test]
fn what_is_no_socket_stays() {
    let (_dir, path) = place();
    let directory = path.parent().expect("a directory");
    drop(bind(&path).expect("makes the directory"));
    let refused = |what: &str| {
        let error = bind(&path).expect_err("refused");
        assert!(matches!(error, Error::InTheWay { .. }) && error.to_string().contains(what), "{error}");
        assert!(fs::symlink_metadata(&path).is_ok());
    };
    fs::write(&path, "x").expect("written");
    refused("a file");
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    refused("a directory");
    fs::remove_dir(&path).expect("removed");
    symlink("elsewhere", &path).expect("made");
    refused("a link");
    fs::remove_file(&path).expect("removed");
    // A socket that nobody listens to, of whatever type.
    drop(UnixListener::bind(&path).expect("bound"));
    drop(bind(&path).expect("takes its place"));
    assert_eq!(fs::read_dir(directory).expect("read").count(), 1);
}

#[test]
fn only_one_s_own_socket_is_removed() {
    let (_dir, path) = place();
    let listener = bind(&path).expect("a listener");
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    drop(listener);
    assert!(path.exists());
}

#[test]
fn directories_that_others_could_write_to() {
    let (dir, path) = place();
    let directory = path.parent().expect("a directory");
    fs::create_dir(directory).expect("made");
    for mode in [0o770, 0o707, 0o1777] {
        fs::set_permissions(directory, Permissions::from_mode(mode)).expect("set");
        let error = bind(&path).expect_err("refused");
        assert!(matches!(error, Error::Directory { .. }), "{error}");
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("set");
    drop(bind(&path).expect("others may look"));
    let link = dir.path().join("link");
    symlink(directory, &link).expect("made");
    assert!(matches!(bind(&link.join("driver")), Err(Error::Directory { .. })));
    assert!(matches!(bind(&dir.path().join("not/there/driver")), Err(Error::Directory { .. })));
    fs::write(dir.path().join("file"), "").expect("written");
    assert!(matches!(bind(&dir.path().join("file/driver")), Err(Error::Directory { .. })));
    let long = directory.join("x".repeat(120));
    assert!(matches!(bind(&long), Err(Error::Path { .. })));
    assert!(matches!(bind(Path::new("/")), Err(Error::Path { .. })));
}

#[test]
fn another_user_s_directory() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("needs root");
        return;
    }
    let (_dir, path) = place();
    let directory = path.parent().expect("a directory");
    fs::create_dir(directory).expect("made");
    std::os::unix::fs::chown(directory, Some(40_001), None).expect("root may");
    let error = bind(&path).expect_err("refused");
    assert!(error.to_string().contains("another user's"), "{error}");
}

fn listening(path: &Path, kind: SocketType) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).expect("short")).expect("bound");
    if kind != SocketType::DGRAM {
        rustix::net::listen(&socket, 5).expect("listens");
    }
    socket
}

/// Waits while a process that another test starts has a copy of the lock, until it executes its program.
fn bind_unlocked(path: &Path) -> Result<Listener, Error> {
    loop {
        match bind(path) {
            Err(Error::Running { process: Some(_), .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            bound => return bound,
        }
    }
}

#[test]
fn a_socket_that_was_passed() {
    let (_dir, path) = place();
    fs::create_dir(path.parent().expect("a directory")).expect("made");
    let socket = listening(&path, SocketType::SEQPACKET);
    let copy = socket.try_clone().expect("a duplicate");
    let listener = Listener::passed(socket, Audience::OwnUser).expect("a listener");
    assert!(listener.is_passed());
    assert_eq!(listener.path(), Some(path.as_path()));
    // Nobody else serves in its place, with the lock or without.
    assert!(matches!(bind(&path), Err(Error::Running { .. })));
    let driver = Driver::start(listener, Policy::default()).expect("a daemon");
    Client::greeted(&path);
    driver.stop();
    assert!(path.exists(), "it belongs to who made it");
    assert!(matches!(bind_unlocked(&path), Err(Error::Running { process: None, .. })), "who listens still");
    let again = Listener::passed(copy, Audience::OwnUser).expect("a listener");
    drop(again);
    bind_unlocked(&path).expect("nobody listens any more");
}

#[test]
fn what_is_nothing_to_listen_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = |socket: OwnedFd| {
        let error = Listener::passed(socket, Audience::OwnUser).expect_err("refused");
        assert!(matches!(error, Error::Passed { .. }), "{error}");
    };
    refused(std::io::pipe().expect("a pipe").0.into());
    refused(listening(&dir.path().join("stream"), SocketType::STREAM));
    refused(listening(&dir.path().join("datagram"), SocketType::DGRAM));
    refused(std::net::TcpListener::bind("127.0.0.1:0").expect("a listener").into());
    let (one, _other) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("sockets");
    refused(one);
}

/// Another user in a thread of its own; only root may.
#[test]
fn a_user_s_daemon_serves_that_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("needs root");
        return;
    }
    let (_dir, path) = place();
    let driver = Driver::start(bind(&path).expect("a listener"), Policy::default()).expect("a daemon");
    // Only the connection is to be refused here, not the way to it.
    fs::set_permissions(path.parent().expect("a directory"), Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("set");
    Client::greeted(&path);
    let there = path.clone();
    let other = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(40_001);
        rustix::thread::set_thread_res_uid(Some(user), Some(user), Some(user)).expect("root may");
        Client::connect(&there).expect_end();
    });
    other.join().expect("refused");
    assert_eq!(driver.counters().connections, 1);
}
