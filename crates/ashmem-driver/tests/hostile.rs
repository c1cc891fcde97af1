//! Clients that send anything. They lose the service of their own regions, or their connections; nobody else notices.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ashmem::driver::protocol::{Question, REGIONS_MAX, Reason, Reply, Request, VERSION, WORDS_MAX};
use ashmem::driver::socket;
use ashmem::{Region, page_size};
use common::{Client, Daemon, options, place, unpinned, until};
use rustix::fs::{
    FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fchmod, fcntl_add_seals,
    ftruncate, memfd_create,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn daemon() {
    common::serve();
}

/// A client whose regions have to be served as if nothing was the matter.
struct Witness {
    client: Client,
    region: Region,
}

impl Witness {
    fn new(daemon: &Daemon) -> Witness {
        let witness =
            Witness { client: Client::greeted(&daemon.path), region: unpinned("witness", page_size()) };
        witness.client.register(1, &witness.region);
        assert!(witness.client.settle().is_empty());
        witness
    }

    fn check(&self, daemon: &mut Daemon) {
        let _ = self.region.pin(..).expect("pinned");
        self.region.map().expect("mapped").fill(0, page_size(), 1).expect("filled");
        self.region.unpin(..).expect("unpinned");
        daemon.reclaim(u64::MAX);
        assert_eq!(self.region.resident().expect("looked at"), 0);
        assert!(self.client.settle().is_empty());
    }
}

fn memfd(size: u64, flags: MemfdFlags) -> OwnedFd {
    let file = memfd_create(c"plain", flags | MemfdFlags::CLOEXEC).expect("a memfd");
    ftruncate(&file, size).expect("a size");
    file
}

fn marked(file: OwnedFd, mode: u32) -> OwnedFd {
    fchmod(&file, Mode::from_raw_mode(0o1000 | mode)).expect("the owner may");
    file
}

/// A connection on which much was sent that nobody takes, so that its last close waits.
fn lingering(listener: &TcpListener) -> (OwnedFd, OwnedFd) {
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (theirs, _) = listener.accept().expect("accepted");
    ours.set_nonblocking(true).expect("set");
    while std::io::Write::write(&mut &ours, &[0; 65536]).is_ok() {}
    sockopt::set_socket_linger(&ours, Some(Duration::from_secs(1000))).expect("set");
    (ours.into(), theirs.into())
}

/// Everything that is no region, and what has to stay open for it to be so.
fn strangers() -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    let page = page_size();
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let (left, right) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("sockets");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let file = tempfile::tempfile().expect("a file");
    file.set_len(8192).expect("a size");
    let path = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("opened");
    let good = options().create("read-only", page).expect("a region");
    // The file's size fits a control block, and its mode says that there is one.
    let control = rustix::fs::fstat(&good).expect("looked at").st_size as u64;
    let sealed = memfd(control, MemfdFlags::ALLOW_SEALING);
    fcntl_add_seals(&sealed, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).expect("sealed");
    let mut all = vec![
        reader,
        left,
        file.into(),
        path,
        File::open(".").expect("a directory").into(),
        File::open("/dev/null").expect("a device").into(),
        File::open("/proc/self/status").expect("a file").into(),
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("an eventfd"),
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect("an epoll"),
        memfd(0, MemfdFlags::empty()),
        memfd(page, MemfdFlags::ALLOW_SEALING),
        // Marks that nobody could have made.
        marked(memfd(1, MemfdFlags::ALLOW_SEALING), 0o666),
        marked(memfd(3 * page - 7, MemfdFlags::ALLOW_SEALING), 0o666),
        marked(memfd(1 << 62, MemfdFlags::ALLOW_SEALING), 0o666),
        marked(memfd(control, MemfdFlags::ALLOW_SEALING), 0o666),
        marked(memfd(control, MemfdFlags::empty()), 0o666),
        marked(sealed, 0o666),
        good.share_read_only().expect("reopened"),
        rustix::fs::open(
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&good.as_fd())),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("opened"),
    ];
    let (slow, peer) = lingering(&listener);
    all.push(slow);
    if let Ok(huge) = memfd_create(c"huge", MemfdFlags::HUGETLB | MemfdFlags::CLOEXEC) {
        all.push(huge);
    }
    all.push(listener.into());
    (all, vec![writer, right, peer])
}

#[test]
fn what_is_no_region_is_refused_and_closed() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let before = daemon.descriptors();
    for _ in 0..5 {
        witness.check(&mut daemon);
        let client = Client::greeted(&path);
        let (all, kept) = strangers();
        let refused: Vec<Reply> =
            (0..all.len() as u64).map(|id| Reply::Refused { id, reason: Reason::NotARegion }).collect();
        for (id, file) in all.iter().enumerate() {
            client.register(id as u64, file);
        }
        assert_eq!(client.settle(), refused);
        // Together, with regions among them; and the daemon has the last descriptor of each.
        let region = unpinned("among them", page_size());
        let mut files: Vec<_> = all.iter().map(AsFd::as_fd).collect();
        files.insert(3, region.as_fd());
        client.send(&Request::Register((100..100 + files.len() as u64).collect()).encode(), &files);
        drop(all);
        assert_eq!(client.settle().len(), refused.len());
        assert_eq!(daemon.reclaim(u64::MAX) / page_size(), 1, "the region among them");
        drop((client, kept));
    }
    daemon.settle(before);
    witness.check(&mut daemon);
}

#[test]
fn sockets_that_linger_hold_nobody_up() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let before = daemon.descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut peers = Vec::new();
    // Sends some, of which the daemon has the last descriptors then.
    let mut send = |client: &Client, packet: &[u8], count: usize| {
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..count).map(|_| lingering(&listener)).unzip();
        peers.extend(theirs);
        let files: Vec<_> = ours.iter().map(AsFd::as_fd).collect();
        if client.try_send(packet, &files).is_err() {
            // The daemon was quicker; so this process would have to wait.
            for file in files {
                sockopt::set_socket_linger(file, None).expect("set");
            }
        }
    };
    // Refused; in a packet that makes no sense; behind that; and unread behind the end, as it seems.
    let client = Client::greeted(&path);
    send(&client, &Request::Register(vec![1]).encode(), 1);
    send(&client, b"nonsense", 1);
    send(&client, b"more", 1);
    client.expect_end();
    let client = Client::greeted(&path);
    client.send(b"", &[]);
    let _ = client.try_send(b"", &[]);
    send(&client, &Request::Register(vec![1]).encode(), 1);
    drop(client);
    let client = Client::connect(&path);
    send(&client, b"x", REGIONS_MAX);
    client.expect_end();
    // Behind what ends the connection, in one packet: a number that is in use.
    let client = Client::greeted(&path);
    let twice = |id| (id, witness.region.as_fd());
    let (lasting, _peer) = lingering(&listener);
    let sent = [twice(1), twice(1), (2, lasting.as_fd())];
    let (ids, files): (Vec<u64>, Vec<_>) = sent.into_iter().unzip();
    client.send(&Request::Register(ids).encode(), &files);
    // The daemon switches the lingering off, so this waits for nothing, whoever is quicker.
    drop(lasting);
    client.expect_end();
    witness.check(&mut daemon);
    daemon.settle(before);
    drop(peers);
}

/// A socket in which a connection lies that lingers: whoever closes it last waits.
fn nested(listener: &TcpListener) -> (OwnedFd, OwnedFd) {
    let (outer, other) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .expect("sockets");
    let (inner, peer) = lingering(listener);
    socket::send(&other, b"x", &[inner.as_fd()]).expect("sent");
    (outer, peer)
}

#[test]
fn who_sends_what_does_not_get_closed_is_served_no_more() {
    const DESCRIPTORS: u64 = 4096;
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs another user");
        return;
    }
    let (_dir, path) = place();
    let mut daemon = Daemon::with_descriptors(&path, Some(DESCRIPTORS));
    let witness = Witness::new(&daemon);
    let hostile = Client::greeted_as(&path, 12_345);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (first, _peer) = nested(&listener);
    // The daemon is to have the last descriptor, or this process would wait.
    daemon.while_stopped(|| {
        hostile.register(0, &first);
        drop(first);
    });
    // Nothing else waits to be closed when it is its turn.
    hostile.settle();
    // Each packet is as it should be.
    let mut id = 1;
    while id < 2 * DESCRIPTORS {
        let files: Vec<OwnedFd> = (0..REGIONS_MAX)
            .map(|_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("an eventfd"))
            .collect();
        let ids = (id..id + files.len() as u64).collect();
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        if hostile.try_send(&Request::Register(ids).encode(), &files).is_err() {
            break;
        }
        while let Ok(Some(_)) = socket::receive(&hostile.socket) {}
        id += files.len() as u64;
    }
    assert!(id < DESCRIPTORS, "it is not served any more");
    witness.check(&mut daemon);
    // Nor is it when it comes again; but others are.
    let is_refused = || {
        let again = Client::connect_as(&path, 12_345);
        again.try_send(&Request::Hello { version: VERSION }.encode(), &[]).is_err()
            || again.packet().is_none()
    };
    until(is_refused, || "a connection that is refused".to_owned());
    witness.client.register(2, unpinned("another", page_size()));
    assert!(witness.client.settle().is_empty());
    // Closing that descriptor would wait for who has it.
    daemon.kill();
}

#[test]
fn nonsense_ends_a_connection_and_no_other() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let before = daemon.descriptors();
    let region = unpinned("known", page_size());
    let hello = Request::Hello { version: VERSION }.encode();
    let register = |ids: Vec<u64>| Request::Register(ids).encode();
    let long = vec![0; 8 + WORDS_MAX * 8 + 1];
    let file = region.as_fd();
    type Sent<'a> = (Vec<u8>, Vec<std::os::fd::BorrowedFd<'a>>);
    let greeted: Vec<Vec<Sent<'_>>> = vec![
        vec![(b"x".to_vec(), vec![])],
        vec![(long, vec![])],
        vec![(hello.clone(), vec![])],
        vec![(register(vec![1, 2]), vec![file])],
        vec![(register(vec![1]), vec![file, file])],
        vec![(register(vec![1]), vec![])],
        vec![(Request::Ping(1).encode(), vec![file])],
        // A number that is in use.
        vec![(register(vec![1]), vec![file]), (register(vec![1]), vec![file])],
        vec![(register(vec![1, 1]), vec![file, file])],
    ];
    for packets in greeted {
        let client = Client::greeted(&path);
        for (packet, files) in &packets {
            // The daemon may be quicker.
            let _ = client.try_send(packet, files);
        }
        client.expect_end();
    }
    for packet in [register(vec![1]), Request::Ping(1).encode(), Request::Ask(Question::Metrics).encode()] {
        let client = Client::connect(&path);
        let files =
            if Request::decode(&packet) == Some(Request::Register(vec![1])) { vec![file] } else { vec![] };
        client.send(&packet, &files);
        client.expect_end();
    }
    daemon.settle(before);
    let counters = witness.client.snapshot().counters;
    assert_eq!(counters.expelled, 12);
    witness.check(&mut daemon);
}

/// Says something over and over until it is told to stop, and connects again when it is thrown out.
fn flood(path: &std::path::Path, is_over: &AtomicBool, flood: impl Fn(&Client) -> Result<(), Errno>) {
    while !is_over.load(Ordering::Relaxed) {
        let client = Client::connect(path);
        let _ = client.try_send(&Request::Hello { version: VERSION }.encode(), &[]);
        while !is_over.load(Ordering::Relaxed) && flood(&client).is_ok() {}
    }
}

#[test]
fn floods_hold_nobody_up() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let before = daemon.descriptors();
    let is_over = AtomicBool::new(false);
    let region = unpinned("again and again", page_size());
    std::thread::scope(|scope| {
        let packets: [(Vec<u8>, bool); 5] = [
            (Request::Ping(1).encode(), false),
            (Request::Ask(Question::Snapshot).encode(), false),
            (Request::Release(vec![1; WORDS_MAX]).encode(), false),
            (Request::Register(vec![1]).encode(), true),
            (b"nonsense".to_vec(), true),
        ];
        for (packet, with_region) in packets {
            let (path, is_over, region) = (&path, &is_over, &region);
            scope.spawn(move || {
                let files = if with_region { vec![region.as_fd()] } else { vec![] };
                flood(path, is_over, |client| {
                    let sent = ashmem::driver::socket::send(&client.socket, &packet, &files);
                    match sent {
                        Err(Errno::AGAIN | Errno::TOOMANYREFS) => Ok(()),
                        sent => sent,
                    }
                });
            });
        }
        let mut slowest = Duration::ZERO;
        for id in 2..200 {
            let started = Instant::now();
            witness.client.register(id, unpinned("in between", page_size()));
            assert!(witness.client.settle().is_empty());
            slowest = slowest.max(started.elapsed());
        }
        assert_eq!(
            witness.client.snapshot().regions.iter().filter(|region| region.name == "in between").count(),
            198
        );
        is_over.store(true, Ordering::Relaxed);
        println!("registered and answered within {slowest:?} at the latest");
    });
    witness.client.say(&Request::Release((2..200).collect()));
    witness.check(&mut daemon);
    daemon.settle(before);
}

#[test]
fn users_take_turns_however_many_connections_one_has() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs another user");
        return;
    }
    let (_dir, path) = place();
    let daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let clients: Vec<Client> = (0..900).map(|_| Client::greeted_as(&path, 12_345)).collect();
    let regions: Vec<Region> = (0..REGIONS_MAX).map(|_| unpinned("sent", page_size())).collect();
    let files: Vec<_> = regions.iter().map(AsFd::as_fd).collect();
    let ids: Vec<u64> = (0..REGIONS_MAX as u64).collect();
    let packets =
        [(Request::Register(ids.clone()).encode(), &files[..]), (Request::Release(ids).encode(), &[])];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turns = vec![0; clients.len()];
            while !is_over.load(Ordering::Relaxed) {
                for (client, turn) in clients.iter().zip(&mut turns) {
                    let (packet, files) = &packets[*turn];
                    if socket::send(&client.socket, packet, files).is_ok() {
                        *turn = 1 - *turn;
                    }
                }
            }
        });
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let started = Instant::now();
            assert!(witness.client.settle().is_empty());
            slowest = slowest.max(started.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
        println!("answered within {slowest:?} at the latest");
    });
    daemon.kill();
}

#[test]
fn who_does_not_read_loses_events_and_then_the_connection() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let deaf = Client::greeted(&path);
    deaf.say(&Request::Listen(true));
    let region = unpinned("told", page_size());
    deaf.register(1, &region);
    let dropped = |witness: &Witness| witness.client.snapshot().counters.dropped_messages;
    until(
        || {
            let _ = region.pin(..).expect("pinned");
            region.unpin(..).expect("unpinned");
            daemon.reclaim(u64::MAX);
            dropped(&witness) > 3
        },
        || "dropped messages".to_owned(),
    );
    // There is still room for answers ...
    assert!(!deaf.is_ended());
    assert!(deaf.settle().iter().all(|reply| matches!(reply, Reply::Purged { .. })));
    // ... but not for any number of them.
    while deaf.try_send(&Request::Ping(1).encode(), &[]).is_ok() {}
    witness.check(&mut daemon);
    assert_eq!(witness.client.snapshot().counters.expelled, 1);
}

#[test]
fn answers_that_nobody_reads_are_few() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let clients: Vec<Client> = (0..30).map(|_| Client::greeted(&path)).collect();
    let ask = |client: &Client| {
        // It goes on to the next one only when this one has its answer.
        client.say(&Request::Ask(Question::Snapshot));
        until(|| rustix::io::ioctl_fionread(&client.socket).expect("asked") > 0, || "an answer".to_owned());
    };
    clients.iter().for_each(ask);
    let is_answer = |client: &&Client| matches!(client.hear(), Reply::Answer(_));
    let answered = clients.iter().filter(is_answer).count();
    assert!((1..=8).contains(&answered), "{answered}");
    assert!(
        matches!(witness.client.snapshot().regions.len(), 1),
        "they were read, so there are answers again"
    );
    witness.check(&mut daemon);
}

/// The control block's place in the file.
fn control_block(region: &Region) -> (u64, u64) {
    let start = region.size().next_multiple_of(page_size());
    let end = rustix::fs::fstat(region).expect("looked at").st_size as u64;
    (start, end)
}

#[test]
fn a_control_block_that_changes_while_it_is_read() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let hostile = Client::greeted(&path);
    let regions: Vec<Region> = (0..8).map(|_| unpinned("scribbled on", 100 * page_size())).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for region in &regions {
            let is_over = &is_over;
            scope.spawn(move || {
                let (start, end) = control_block(region);
                let mut seed = start ^ std::process::id() as u64;
                while !is_over.load(Ordering::Relaxed) {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let place = start + (seed >> 20) % (end - start - 8) / 8 * 8;
                    let value = [0, u64::MAX, seed, seed >> 40][(seed >> 60) as usize % 4];
                    let _ = rustix::io::pwrite(region, &value.to_ne_bytes(), place);
                    if seed.is_multiple_of(64) {
                        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                        let _ = fallocate(region, flags, start, end - start);
                    }
                }
            });
        }
        for round in 0..15 {
            for (id, region) in regions.iter().enumerate() {
                hostile.register(round * 100 + id as u64, region);
            }
            // Some have a forged version at this moment.
            hostile.settle();
            witness.check(&mut daemon);
            witness.client.snapshot();
            hostile.say(&Request::Release((round * 100..round * 100 + 8).collect()));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    witness.check(&mut daemon);
}

#[test]
fn locks_that_are_never_given_back() {
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let witness = Witness::new(&daemon);
    let hostile = Client::greeted(&path);
    let mut held = Vec::new();
    for id in 0..64 {
        let region = unpinned("locked", page_size());
        hostile.register(id, &region);
        held.push(region);
    }
    assert!(hostile.settle().is_empty());
    for region in &held {
        // A record lock of this process on all of the file; it lasts until any descriptor of that is closed.
        rustix::fs::fcntl_lock(region, FlockOperation::NonBlockingLockExclusive).expect("locked");
    }
    witness.check(&mut daemon);
    let failures = witness.client.snapshot().counters.failures;
    assert!(failures > 0, "they were locked");
    for region in &held {
        assert_eq!(region.resident().expect("looked at"), page_size());
    }
}
