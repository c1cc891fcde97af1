//! A driver daemon that says what the test wants it to.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ashmem::driver::protocol::{Reply, Request, VERSION};
use ashmem::driver::socket::{self, Packet};
use ashmem::pressure::{Headroom, ManualPressure, Reading};
use ashmem::{Reclaimer, Region, page_size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure. (Counted, as
/// the clock goes on while a virtual machine stands still.)
pub const LOOKS: u32 = 30_000;
pub const LOOK: Duration = Duration::from_millis(1);

pub const ROLE: &str = "ASHMEM_TEST_ROLE";

/// In a region of these tests.
pub const PAGES: u64 = 4;

pub fn size() -> u64 {
    PAGES * page_size()
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if condition() {
            return;
        }
        std::thread::sleep(LOOK);
    }
    panic!("{what}: never happens");
}

fn wait_for(fd: impl AsFd) {
    let look = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let is_ready = || poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&look)) == Ok(1);
    assert!((0..LOOKS).any(|_| is_ready()), "nothing comes");
}

/// Listens at a path of its own.
pub struct Daemon {
    listener: OwnedFd,
    pub path: PathBuf,
}

impl Daemon {
    /// As the daemon does it: under another name first.
    pub fn listen(path: &Path) -> Daemon {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("a socket");
        let temporary = path.with_extension("new");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&temporary).expect("short")).expect("bound");
        rustix::net::listen(&listener, 16).expect("listens");
        std::fs::rename(temporary, path).expect("renamed");
        Daemon { listener, path: path.to_owned() }
    }

    pub fn try_accept(&self) -> Option<Peer> {
        match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => Some(Peer { socket }),
            Err(Errno::AGAIN) => None,
            Err(errno) => panic!("accept: {errno}"),
        }
    }

    pub fn accept(&self) -> Peer {
        wait_for(&self.listener);
        self.try_accept().expect("somebody connects")
    }

    /// Somebody who has said hello and is welcome.
    pub fn welcome(&self) -> Peer {
        self.welcome_as(true)
    }

    pub fn welcome_as(&self, sees_limits: bool) -> Peer {
        let peer = self.accept();
        assert_eq!(peer.hear(), Request::Hello { version: VERSION });
        peer.say(&Reply::Welcome { version: VERSION, sees_limits });
        peer
    }
}

/// A process that is connected.
pub struct Peer {
    pub socket: OwnedFd,
}

impl Peer {
    /// What it says next, with descriptors; `None` at its end.
    pub fn receive(&self) -> Option<(Request, Vec<OwnedFd>)> {
        wait_for(&self.socket);
        let packet = socket::receive(&self.socket).unwrap_or(None)?;
        let Packet { bytes, descriptors, is_cut } = packet;
        assert!(!is_cut);
        Some((Request::decode(&bytes).expect("a request"), descriptors))
    }

    pub fn hear(&self) -> Request {
        self.receive().expect("not the end").0
    }

    /// So many regions, by number, in whatever batches.
    pub fn registered(&self, count: usize) -> Vec<(u64, OwnedFd)> {
        let mut regions = Vec::new();
        while regions.len() < count {
            regions.extend(self.registered_some());
        }
        assert_eq!(regions.len(), count);
        regions
    }

    /// The next that are registered.
    pub fn registered_some(&self) -> Vec<(u64, OwnedFd)> {
        match self.receive() {
            Some((Request::Register(ids), descriptors)) => {
                assert_eq!(ids.len(), descriptors.len());
                ids.into_iter().zip(descriptors).collect()
            }
            other => panic!("no registration: {other:?}"),
        }
    }

    /// Whether it has nothing to say just now.
    pub fn is_silent(&self) -> bool {
        matches!(socket::receive(&self.socket), Err(Errno::AGAIN))
    }

    pub fn say(&self, reply: &Reply) {
        self.say_bytes(&reply.encode());
    }

    pub fn say_bytes(&self, bytes: &[u8]) {
        socket::send(&self.socket, bytes, &[]).expect("sent");
    }

    /// Welcomes it, and says whether it is still there to register something.
    pub fn is_wanted(&self) -> bool {
        assert_eq!(self.hear(), Request::Hello { version: VERSION });
        let welcome = Reply::Welcome { version: VERSION, sees_limits: true };
        socket::send(&self.socket, &welcome.encode(), &[]).is_ok() && {
            wait_for(&self.socket);
            let mut byte = [0];
            let peeked =
                rustix::net::recv(&self.socket, &mut byte, rustix::net::RecvFlags::PEEK).expect("something");
            peeked.1 > 0
        }
    }

    /// Waits until it has nothing more to say and the connection ends.
    pub fn ends(&self) {
        while self.receive().is_some() {}
    }

    /// Answers pings until it ends. Returns what else it said.
    pub fn pong(&self) -> Vec<Request> {
        let mut said = Vec::new();
        while let Some((request, _)) = self.receive() {
            match request {
                Request::Ping(number) => self.say(&Reply::Pong(number)),
                other => said.push(other),
            }
        }
        said
    }
}

/// A directory for a socket.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("driver");
    (dir, path)
}

/// A client of the daemon at `path`, and how short memory is for it.
pub fn client(path: &Path) -> (Reclaimer, ManualPressure) {
    let pressure = ManualPressure::new().expect("an eventfd");
    (Reclaimer::builder().driver(path).pressure(pressure.clone()).build(), pressure)
}

pub fn filled(reclaimer: &Reclaimer) -> Region {
    let region = Region::options().reclaimer(reclaimer).create("served", size()).expect("a region");
    region.map().expect("mapped").fill(0, size(), 1).expect("inside");
    region
}

pub fn unpinned(reclaimer: &Reclaimer) -> Region {
    let region = filled(reclaimer);
    region.unpin(..).expect("unpinned");
    region
}

/// Small ones, and nothing in them.
pub fn many(reclaimer: &Reclaimer, count: usize) -> Vec<Region> {
    let make = |_| {
        let options = Region::options().purgeable().reclaimer(reclaimer);
        let region = options.create("one of many", page_size()).expect("a region");
        region.unpin(..).expect("unpinned");
        region
    };
    (0..count).map(make).collect()
}

/// Half of the reserve is left.
pub fn short() -> Reading {
    Reading { headrooms: vec![Headroom { available: 64 << 20, limit: 1 << 30 }], stalled: false }
}

/// Nothing is left.
pub fn dire() -> Reading {
    Reading { headrooms: vec![Headroom { available: 0, limit: 1 << 30 }], stalled: false }
}

pub fn is_gone(region: &Region) -> bool {
    region.resident().expect("a size") == 0
}

/// The same file.
pub fn is_same(region: &Region, fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).expect("open").st_ino == region.file_id().expect("a file")
}

/// This test binary again, in a role of the ignored test `worker`.
pub struct Worker(pub Child);

impl Worker {
    pub fn start(role: &str, set_up: impl FnOnce(&mut Command)) -> Worker {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        set_up(&mut command);
        Worker(command.spawn().expect("started"))
    }

    /// Waits until it ends by itself, well.
    pub fn succeeds(mut self) {
        let mut status = None;
        for _ in 0..LOOKS {
            status = self.0.try_wait().expect("a child");
            if status.is_some() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        assert!(status.expect("it hangs").success(), "{status:?}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a descriptor number of this process names.
pub fn named(fd: impl AsFd) -> String {
    link(fd.as_fd().as_raw_fd())
}

pub fn link(number: i32) -> String {
    std::fs::read_link(format!("/proc/self/fd/{number}"))
        .map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

/// What all of them name.
pub fn descriptors() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.map(|number: i32| (number, link(number))).collect()
}
