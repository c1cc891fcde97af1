//! A program under `ashmem run` and one that uses this library have one area: each sees the other's pins.
//!
//! Both are this test binary again, running ignored tests.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "run/ioctl.rs"]
mod ioctl;
mod run;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use ashmem::driver::socket::send;
use ashmem::{PinStatus, Region};
use run::{Place, Running, is_root, pair, receive, skipped};

const PART: &str = "ASHMEM_TEST_PART";
const PAGE: u32 = 4096;
const SIZE: u32 = 4 * PAGE;

/// The other program, at the standard input.
struct Peer(OwnedFd);

impl Peer {
    fn say(&self, what: &str) {
        send(&self.0, what.as_bytes(), &[]).unwrap();
    }

    #[track_caller]
    fn hear(&self, what: &str) -> Vec<OwnedFd> {
        let packet = receive(&self.0).unwrap_or_else(|| panic!("it is gone before {what}"));
        assert_eq!(String::from_utf8_lossy(&packet.bytes), what);
        packet.descriptors
    }

    fn stdin() -> Peer {
        Peer(rustix::stdio::stdin().try_clone_to_owned().unwrap())
    }
}

/// Starts an ignored test of this binary as a process of its own.
fn part(command: &mut Command, name: &str, peer: OwnedFd) -> Running {
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env(PART, name);
    Running::start(command, Some(Stdio::from(peer)))
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn of_the_device() {
    if std::env::var(PART).is_err() {
        return;
    }
    let peer = Peer::stdin();
    let fd = ioctl::open().unwrap();
    ioctl::set_name(&fd, b"both").unwrap();
    ioctl::set_size(&fd, u64::from(SIZE)).unwrap();
    let memory = ioctl::Memory::map(&fd, SIZE as usize).unwrap();
    memory.fill(7);
    send(&peer.0, b"area", &[fd.as_fd()]).unwrap();

    peer.hear("all is pinned");
    assert_eq!(ioctl::unpin(&fd, PAGE, PAGE), Ok(0));
    peer.say("one is unpinned");

    peer.hear("the last is unpinned");
    assert_eq!(ioctl::pin_status(&fd, 3 * PAGE, 0), Ok(0));
    assert_eq!(ioctl::pin_status(&fd, 0, PAGE), Ok(1));
    peer.say("seen");

    peer.hear("purged");
    assert_eq!(ioctl::pin(&fd, 3 * PAGE, 0), Ok(1));
    assert_eq!(ioctl::pin(&fd, 3 * PAGE, 0), Ok(0));
    assert_eq!(memory.read(3 * PAGE as usize), 0);
    assert_eq!(ioctl::pin(&fd, PAGE, PAGE), Ok(1));
    assert_eq!(memory.read(0), 7);
    if is_root() {
        assert_eq!(ioctl::unpin(&fd, 0, 2 * PAGE), Ok(0));
        assert_eq!(ioctl::purge_all(&fd), Ok(2));
    }
    peer.say("purged, too");

    peer.hear("pinned");
    assert_eq!(ioctl::pin_status(&fd, 0, 0), Ok(1));
    peer.say("end");
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn of_the_library() {
    if std::env::var(PART).is_err() {
        return;
    }
    let peer = Peer::stdin();
    let area = peer.hear("area").pop().unwrap();
    let region = Region::from_fd(area).unwrap();
    assert_eq!(region.size(), u64::from(SIZE));
    let page = u64::from(PAGE);
    assert_eq!(region.pin_status(..).unwrap(), PinStatus::Pinned);
    let mapping = region.map().unwrap();
    assert_eq!(mapping.read_vec(page, 1).unwrap(), [7]);
    peer.say("all is pinned");

    peer.hear("one is unpinned");
    assert_eq!(region.pin_status(..).unwrap(), PinStatus::Unpinned);
    assert_eq!(region.pin_status(page..2 * page).unwrap(), PinStatus::Unpinned);
    assert_eq!(region.pin_status(..page).unwrap(), PinStatus::Pinned);
    region.unpin(3 * page..).unwrap();
    peer.say("the last is unpinned");

    peer.hear("seen");
    assert_eq!(region.purge().unwrap(), 2 * page);
    assert_eq!(mapping.read_vec(3 * page, 1).unwrap(), [0]);
    peer.say("purged");

    peer.hear("purged, too");
    let contents = region.pin(..).unwrap();
    if is_root() {
        assert!(contents.is_purged());
        assert_eq!(mapping.read_vec(0, 1).unwrap(), [0]);
    } else {
        skipped("purging all needs root");
    }
    peer.say("pinned");
    peer.hear("end");
}

#[test]
fn each_sees_the_others_pins() {
    let place = Place::new();
    let this = std::env::current_exe().unwrap();
    let (one, other) = pair();
    let device = part(&mut place.program(&this), "of_the_device", one);
    let mut native = Command::new(&this);
    let native = part(native.env("ASHMEM_DEVICE", place.socket()), "of_the_library", other);
    // One that fails ends the other.
    let (device, native) = (device.end(), native.end());
    for ended in [&device, &native] {
        assert!(ended.status.success(), "{}{}\n{}{}", device.out, device.err, native.out, native.err);
    }
}
