//! Regions whose pin state is in a file of its own: the contents' file is left as it is, and pins are what they are elsewhere.
//!
//! The other processes are this test binary again, running the ignored test `worker`, with the contents as its standard input.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ashmem::driver::device::{self, Silence};
use ashmem::driver::socket;
use ashmem::pressure::{Headroom, ManualPressure, Reading};
use ashmem::{
    Contents, Error, MapOptions, PageState, PinStatus, Policy, Protection, Reclaimer, Region, RegionOptions,
    page_size,
};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const PAGES: u64 = 40;

/// What a worker exits with that got the pin state, and that did not.
const APART: i32 = 20;
const PLAIN: i32 = 21;

/// Not in whole pages.
fn size() -> u64 {
    PAGES * page_size() - 123
}

fn idle() -> Reclaimer {
    Reclaimer::builder().without_thread().build()
}

fn options() -> RegionOptions {
    Region::options().reclaimer(&idle())
}

fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("contents", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .expect("a memfd");
    rustix::fs::ftruncate(&fd, size).expect("a size");
    rustix::fs::fcntl_add_seals(&fd, seals).expect("sealed");
    fd
}

fn contents(size: u64) -> OwnedFd {
    let fd = memfd(size, SealFlags::SHRINK | SealFlags::GROW);
    device::mark(&fd).expect("the owner may");
    fd
}

fn filled(options: RegionOptions) -> Region {
    let region = options.with_state_apart(contents(size())).expect("a region");
    region.map().expect("mapped").fill(0, size(), 7).expect("inside");
    region
}

fn duplicate(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().expect("a descriptor")
}

fn state(region: &Region) -> OwnedFd {
    duplicate(region.state_fd().expect("apart"))
}

/// As another holder has it, who received both descriptors.
fn other(region: &Region) -> Region {
    let own = region.share_read_write().expect("reopened");
    Region::from_parts_with(own, state(region), options()).expect("a region")
}

/// Bytes of memory that a file takes.
fn allocated(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).expect("a file").st_blocks as u64 * 512
}

fn byte(region: &Region, page: u64) -> u8 {
    let mut byte = [0];
    let file = File::from(duplicate(region));
    file.read_exact_at(&mut byte, page * page_size()).expect("inside");
    byte[0]
}

fn pages(pages: std::ops::Range<u64>) -> std::ops::Range<u64> {
    pages.start * page_size()..(pages.end * page_size()).min(size())
}

#[test]
fn purged_contents_are_gone_and_the_file_is_as_long_as_before() {
    let region = filled(options());
    assert_eq!((region.size(), region.has_control_block()), (size(), true));
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
    let before = allocated(&region);
    assert_eq!(region.resident().expect("counted"), before);
    region.unpin(pages(8..16)).expect("unpinned");
    assert_eq!(region.purge_range(pages(0..8)).expect("purged").pages, 0);
    let freed = region.purge_range(pages(4..12)).expect("purged");
    assert_eq!((freed.pages, freed.bytes), (4, 4 * page_size()));
    assert_eq!(before - allocated(&region), 4 * page_size());
    assert_eq!(region.purge().expect("purged"), 4 * page_size());
    assert_eq!(before - allocated(&region), 8 * page_size());
    assert_eq!(region.resident().expect("counted"), before - 8 * page_size());
    let found: Vec<u8> = [7, 8, 15, 16].map(|page| byte(&region, page)).to_vec();
    assert_eq!(found, [7, 0, 0, 7]);
    assert_eq!(region.pin(pages(0..8)).expect("pinned"), Contents::Intact);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);

    region.unpin(..).expect("unpinned");
    assert_eq!(region.purge().expect("purged"), PAGES * page_size());
    assert_eq!((allocated(&region), region.resident().expect("counted")), (0, 0));
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);

    let stat = rustix::fs::fstat(&region).expect("a file");
    assert_eq!((stat.st_size as u64, stat.st_mode & 0o7000), (size(), 0), "no control block, no mark of one");
    let mut all = Vec::new();
    File::from(region.share_read_only().expect("reopened")).read_to_end(&mut all).expect("read");
    assert_eq!(all.len() as u64, size(), "nothing is behind the data");
    assert_eq!(region.name().expect("a name"), "contents");
    assert_eq!(region.file_id().expect("a number"), stat.st_ino);
    let fd = region.into_fd().expect("a descriptor");
    assert_eq!(rustix::fs::fstat(fd).expect("a file").st_ino, stat.st_ino);
}

#[test]
fn holders_of_both_files_see_each_other_s_pins() {
    let region = filled(options());
    let other = other(&region);
    assert_eq!(other.size(), size());
    other.unpin(pages(3..5)).expect("unpinned");
    assert_eq!(region.pin_status(pages(3..4)).expect("asked"), PinStatus::Unpinned);
    assert_eq!(region.pin_status(pages(5..6)).expect("asked"), PinStatus::Pinned);
    assert_eq!(region.purge().expect("purged"), 2 * page_size());
    assert_eq!(other.stats().expect("counted").purged_pages, 2);
    let mut runs = Vec::new();
    let look = |run: ashmem::PageRun| {
        runs.push((run.range, run.state));
        ControlFlow::Continue(())
    };
    region.each_run_in(pages(2..4), look).expect("looked");
    assert_eq!(runs, [(pages(2..3), PageState::Pinned), (pages(3..4), PageState::Purged)]);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    assert_eq!(other.pin(..).expect("pinned"), Contents::Intact);
}

#[test]
fn leases_and_guards_keep_pages() {
    let region = filled(options());
    let other = other(&region);
    region.unpin(..).expect("unpinned");
    let guard = other.pin_guard(pages(0..2)).expect("guarded");
    let lease = other.lease(pages(4..6)).expect("leased");
    assert_eq!(region.purge().expect("purged"), (PAGES - 4) * page_size());
    let found: Vec<u8> = (0..7).map(|page| byte(&region, page)).collect();
    assert_eq!(found, [7, 7, 0, 0, 7, 7, 0]);
    let mut held = Vec::new();
    let look = |run: ashmem::PageRun| {
        held.extend((run.state == PageState::Held).then_some(run.range));
        ControlFlow::Continue(())
    };
    region.each_run_in(pages(0..8), look).expect("looked");
    assert_eq!(held.iter().map(|range| range.end - range.start).sum::<u64>(), 4 * page_size());
    drop((guard, lease));
    assert_eq!(region.purge().expect("purged"), 4 * page_size());
}

/// Leases through a descriptor that only reads are locks on the file.
#[test]
fn who_may_only_read_the_contents_only_reads() {
    let region = filled(options());
    region.unpin(..).expect("unpinned");
    let reader = region.share_read_only().expect("reopened");
    let reader = Region::from_parts_with(reader, state(&region), options()).expect("a region");
    assert!(matches!(reader.pin(..), Err(Error::ReadOnly { .. })));
    assert!(matches!(reader.unpin(..), Err(Error::ReadOnly { .. })));
    assert!(matches!(reader.purge(), Err(Error::ReadOnly { .. })));
    assert_eq!(reader.pin_status(..).expect("asked"), PinStatus::Unpinned);
    let lease = reader.lease(pages(0..3)).expect("leased");
    assert_eq!(region.purge().expect("purged"), (PAGES - 3) * page_size());
    drop(lease);
    assert_eq!(region.purge().expect("purged"), 3 * page_size());
    let read_only = region.share_read_only().expect("reopened");
    assert!(matches!(Region::with_state_apart(read_only), Err(Error::ReadOnly { .. })));
}

#[test]
fn the_embedded_reclaimer_frees_the_oldest() {
    let pressure = ManualPressure::new().expect("an eventfd");
    let whole = PAGES * page_size();
    let builder = Reclaimer::builder().policy(Policy::new().reserve(2 * whole)).pressure(pressure.clone());
    let reclaimer = builder.without_thread().build();
    let regions: Vec<Region> = (0..4).map(|_| filled(Region::options().reclaimer(&reclaimer))).collect();
    for region in &regions {
        region.unpin(..).expect("unpinned");
    }
    let left = Headroom { available: whole, limit: 1 << 40 };
    pressure.set(Reading { headrooms: vec![left], stalled: false });
    assert!(reclaimer.run_once().is_some());
    let resident: Vec<u64> = regions.iter().map(|region| region.resident().expect("counted")).collect();
    assert_eq!(resident, [0, 0, 0, whole]);
    assert_eq!(reclaimer.metrics().freed_bytes, 3 * whole);
    // Who receives it looks after it, too.
    let received = idle();
    let options = Region::options().reclaimer(&received);
    let region = &regions[3];
    let other = Region::from_parts_with(region.share_read_write().expect("reopened"), state(region), options)
        .expect("a region");
    assert_eq!(received.purge_all().bytes, whole);
    assert_eq!(other.pin(..).expect("pinned"), Contents::Purged);
}

#[test]
fn freezing_and_removed_protection_are_of_the_contents() {
    let frozen = filled(options()).freeze().expect("frozen");
    assert_eq!((frozen.len() as u64, frozen[0]), (size(), 7));

    let region = filled(options());
    let read_write = Protection::READ | Protection::WRITE;
    region.set_protection(read_write).expect("EXEC goes");
    let plain =
        Region::from_parts_with(region.share_read_write().expect("reopened"), state(&region), options());
    assert_eq!(plain.expect("a region").protection().expect("a mask"), read_write);
    region.set_protection(Protection::empty()).expect("all goes");
    for holder in [&region, &other(&region)] {
        assert_eq!(holder.protection().expect("a mask"), Protection::empty());
        assert!(matches!(holder.map_read_only(), Err(Error::ProtectionDenied { .. })));
    }
    // What the mode says of the contents counts without the pin state.
    assert!(Region::probe_for(&region, Protection::READ).is_err());
    // Nothing is purged any more, and pins go on.
    region.unpin(..).expect("unpinned");
    assert!(region.purge().is_err());
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
}

#[test]
fn what_is_refused() {
    let not_a_region = |made: Result<Region, Error>| {
        assert!(matches!(made, Err(Error::NotARegion { .. })), "{made:?}");
    };
    for seals in [SealFlags::empty(), SealFlags::GROW, SealFlags::SHRINK] {
        not_a_region(Region::with_state_apart(memfd(size(), seals)));
    }
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    not_a_region(Region::with_state_apart(reader.into()));
    not_a_region(Region::with_state_apart(tempfile::tempfile().expect("a file").into()));
    let purgeable = Region::options().purgeable().create("purgeable", size()).expect("a region");
    not_a_region(Region::with_state_apart(duplicate(&purgeable)));
    let both = SealFlags::SHRINK | SealFlags::GROW;
    assert!(matches!(Region::with_state_apart(memfd(0, both)), Err(Error::InvalidSize { .. })));
    let large = Region::with_state_apart(memfd((1 << 40) + 1, both));
    assert!(matches!(large, Err(Error::NotPurgeable { .. })), "{large:?}");

    let region = filled(options());
    let with =
        |state| Region::from_parts_with(region.share_read_write().expect("reopened"), state, options());
    not_a_region(with(duplicate(&region)));
    not_a_region(with(contents(size())));
    not_a_region(with(duplicate(&purgeable)));
    not_a_region(with(tempfile::tempfile().expect("a file").into()));
    for other in [page_size(), size() - 1, size() + 1, 4 * size()] {
        let other = options().with_state_apart(contents(other)).expect("a region");
        not_a_region(with(state(&other)));
    }
    let unsealed = memfd(rustix::fs::fstat(state(&region)).expect("a file").st_size as u64, SealFlags::GROW);
    rustix::fs::fchmod(&unsealed, Mode::from_raw_mode(0o1646)).expect("the owner may");
    not_a_region(with(unsealed));
    // A state file alone is nobody's contents.
    not_a_region(Region::from_fd(state(&region)));
    not_a_region(Region::adopt(state(&region)));
    assert!(Region::probe(state(&region)).is_err());
    assert_eq!(Region::probe(&region).expect("a size"), size());
}

#[test]
fn mappings_and_descriptors_are_the_contents() {
    let region = filled(options());
    let part = MapOptions::new().range(page_size()..2 * page_size()).map(&region).expect("mapped");
    part.write_at(0, b"part").expect("inside");
    let mut found = [0; 4];
    File::from(duplicate(&region)).read_exact_at(&mut found, page_size()).expect("inside");
    assert_eq!(&found, b"part");
    let ranges = region.resident_ranges().expect("looked");
    assert_eq!((ranges.len(), &ranges[0]), (1, &(0..size())));
    assert_eq!(allocated(state(&region)) % page_size(), 0);
    assert!(allocated(state(&region)) < size(), "no data is there");
}

/// What the fake server does with the requests for an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Answers,
    SaysNone,
    Hangs,
    SendsGarbage,
    SendsTwo,
    SendsNothing,
    HangsUp,
    SendsAnotherSize,
    SendsTheContents,
    IsGone,
}

impl Server {
    const ALL: [Server; 10] = [
        Server::Answers,
        Server::SaysNone,
        Server::Hangs,
        Server::SendsGarbage,
        Server::SendsTwo,
        Server::SendsNothing,
        Server::HangsUp,
        Server::SendsAnotherSize,
        Server::SendsTheContents,
        Server::IsGone,
    ];

    /// Serves one request for `region`, while `action` goes on. Says whether another one came.
    fn serve<T>(self, region: &Region, action: impl FnOnce(&Path) -> T) -> (T, bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("device");
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        if self != Server::IsGone {
            rustix::net::listen(&listener, 4).expect("listens");
        }
        let done = std::thread::scope(|scope| {
            let serving = (self != Server::IsGone).then(|| scope.spawn(|| self.answer(&listener, region)));
            let done = action(&path);
            if let Some(serving) = serving {
                drop(serving.join().expect("served"));
            }
            done
        });
        if self == Server::IsGone {
            return (done, false);
        }
        rustix::io::ioctl_fionbio(&listener, true).expect("a socket");
        (done, rustix::net::accept(&listener).is_ok())
    }

    /// Returns the socket: it stays open for as long as the client is at it.
    fn answer(self, listener: &OwnedFd, region: &Region) -> OwnedFd {
        let socket = rustix::net::accept(listener).expect("somebody connects");
        let packet = loop {
            match socket::receive(&socket) {
                Ok(packet) => break packet.expect("a packet"),
                Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
                Err(errno) => panic!("receive: {errno}"),
            }
        };
        let asked = device::parse(packet).expect("a request");
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("a file").st_ino;
        assert_eq!(inode(&asked), region.file_id().expect("a number"));
        let own = state(region);
        // Who has given up already hears nothing.
        let _ = match self {
            Server::Answers => device::reply(&socket, Some(own.as_fd())),
            Server::SaysNone => device::reply(&socket, None),
            Server::SendsGarbage => socket::send(&socket, b"stat", &[own.as_fd()]),
            Server::SendsTwo => socket::send(&socket, b"state", &[own.as_fd(), own.as_fd()]),
            Server::SendsNothing => socket::send(&socket, b"state", &[]),
            Server::SendsTheContents => device::reply(&socket, Some(asked.as_fd())),
            Server::SendsAnotherSize => {
                let other = options().with_state_apart(contents(3 * size())).expect("a region");
                device::reply(&socket, other.state_fd())
            }
            Server::HangsUp => rustix::net::shutdown(&socket, rustix::net::Shutdown::Both),
            Server::Hangs | Server::IsGone => Ok(()),
        };
        socket
    }

    fn silence(self) -> Option<Silence> {
        match self {
            Server::Answers | Server::SendsAnotherSize | Server::SendsTheContents => None,
            Server::SaysNone => Some(Silence::Unknown),
            Server::Hangs => Some(Silence::Hangs),
            Server::SendsGarbage | Server::SendsTwo | Server::SendsNothing => Some(Silence::Garbage),
            Server::HangsUp | Server::IsGone => Some(Silence::Nobody),
        }
    }
}

#[test]
fn a_server_is_asked() {
    for server in Server::ALL {
        let region = filled(options());
        let (answer, _) = server.serve(&region, |path| device::ask(path, region.as_fd(), false));
        assert_eq!(answer.as_ref().err().copied(), server.silence(), "{server:?}");
        if server == Server::Answers {
            let received = Region::from_parts_with(duplicate(&region), answer.expect("a file"), options());
            received.expect("a region").unpin(..).expect("unpinned");
            assert_eq!(region.pin_status(..).expect("asked"), PinStatus::Unpinned);
        }
    }
    let region = filled(options());
    let nowhere = device::ask(&PathBuf::from("/nonexistent/device"), region.as_fd(), false);
    assert_eq!(nowhere.err(), Some(Silence::Nobody));
}

#[test]
fn what_is_no_request_comes_back() {
    let region = filled(options());
    let flags = SocketFlags::CLOEXEC;
    let (client, server) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets");
    let fd = region.as_fd();
    let requests: [(&[u8], &[_]); 4] = [
        (b"ashmem-device state 2", &[fd]),
        (b"ashmem-device state 1", &[]),
        (b"ashmem-device state 1", &[fd, fd]),
        (b"ashmem-device state 1 ", &[fd]),
    ];
    for (bytes, descriptors) in requests {
        socket::send(&client, bytes, descriptors).expect("sent");
        let packet = socket::receive(&server).expect("received").expect("a packet");
        let back = device::parse(packet).expect_err("no request");
        assert_eq!((&back.bytes[..], back.descriptors.len()), (bytes, descriptors.len()));
    }
}

/// What `from_fd` makes of an area in another process, whose server is at `path`.
fn received(region: &Region, path: impl AsRef<std::ffi::OsStr>, role: &str) -> i32 {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(device::VARIABLE, path)
        .stdin(Stdio::from(duplicate(region)))
        .stdout(Stdio::null())
        .status()
        .expect("ran")
        .code()
        .expect("not killed")
}

#[test]
fn who_receives_an_area_asks_its_server() {
    for server in Server::ALL {
        let region = filled(options());
        // Twice at once: who hangs is not asked again so soon.
        let role = if server == Server::Hangs { "receive twice" } else { "receive" };
        let (code, is_asked_again) = server.serve(&region, |path| received(&region, path, role));
        let is_apart = server == Server::Answers;
        assert_eq!((code, is_asked_again), (if is_apart { APART } else { PLAIN }, false), "{server:?}");
        let status = region.pin_status(..).expect("asked");
        assert_eq!(status == PinStatus::Unpinned, is_apart, "{server:?}");
        assert_eq!(rustix::fs::fstat(&region).expect("a file").st_size as u64, size());
    }
    assert_eq!(received(&filled(options()), "off", "receive"), PLAIN);
}

#[test]
fn who_is_not_marked_is_not_asked_about() {
    let region =
        options().with_state_apart(memfd(size(), SealFlags::SHRINK | SealFlags::GROW)).expect("a region");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("device");
    let listener =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None)
            .expect("a socket");
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
    rustix::net::listen(&listener, 4).expect("listens");
    assert_eq!(received(&region, &path, "receive"), PLAIN);
    assert!(rustix::net::accept(&listener).is_err(), "nobody has connected");
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let receive = || Region::from_fd_with(duplicate(std::io::stdin()), options()).expect("a region");
    let region = receive();
    if role == "receive twice" {
        assert!(receive().state_fd().is_none());
    }
    if region.state_fd().is_some() {
        region.unpin(..).expect("unpinned");
        std::process::exit(APART);
    }
    assert!(matches!(region.unpin(..), Err(Error::NotPurgeable { .. })));
    assert_eq!(region.pin(..).expect("pinned from the start"), Contents::Intact);
    std::process::exit(PLAIN);
}
