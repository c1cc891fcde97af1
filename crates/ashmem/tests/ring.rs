//! A producer and a consumer process, killed (SIGKILL) at random moments and started again: no committed message is lost, torn, out
//! of order or received twice. And a process that writes nonsense over a ring that this one uses.
//!
//! The other processes are this test binary again, running the ignored test `worker`. It gets the ring as its standard
//! input.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ashmem::ring::{Consumer, Producer, Ring};
use ashmem::{Error, Mapping, Region, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";
/// Where a worker finds the region for its reports.
const REPORTS: &str = "ASHMEM_TEST_REPORTS";

/// What a worker exits with when it has seen what must not be.
const VIOLATION: i32 = 3;

/// No operation may take longer, however long its timeout.
const DEADLINE: Duration = Duration::from_secs(60);

fn fail(message: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "worker: {message}");
    std::process::exit(VIOLATION);
}

struct Worker(Child);

impl Worker {
    fn start(ring: &Ring, reports: &Region, role: &str) -> Worker {
        let reports = format!("/proc/{}/fd/{}", std::process::id(), reports.as_fd().as_raw_fd());
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(REPORTS, reports)
            .stdin(Stdio::from(duplicate(ring)))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Worker(child)
    }

    /// Kills it, unless it ended by itself: that is a failure.
    fn kill(mut self) {
        if let Some(status) = self.0.try_wait().expect("a child") {
            panic!("a worker ended by itself: {status}");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn duplicate(ring: &Ring) -> OwnedFd {
    ring.as_fd().try_clone_to_owned().expect("a descriptor")
}

struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Random(now.as_nanos() as u64 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pause(&mut self, most: Duration) {
        let until = Instant::now() + Duration::from_nanos(self.next() % most.as_nanos() as u64);
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// What message `number` is: its number, bytes that follow from it, as many as follow from it, and their checksum.
fn message(number: u64, longest: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let len = match random.next() % 8 {
        0 => longest - 16,
        1 => 0,
        _ => random.next() % (longest / 4),
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|_| random.next() as u8));
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// What an end says it is about to do: message `number`, after which its position will be that. Whoever takes over sees by
/// the ring's position whether it was done.
struct Report<'a> {
    number: &'a AtomicU64,
    /// For even and for odd numbers, so that a report that is cut short leaves the one before.
    positions: &'a [AtomicU64],
}

impl Report<'_> {
    fn of(reports: &Mapping, end: u64) -> Report<'_> {
        let words = reports.atomic_u64s(end * 128, 3).expect("inside");
        Report { number: &words[0], positions: &words[1..] }
    }

    fn announce(&self, number: u64, position: u64) {
        self.positions[number as usize % 2].store(position, Ordering::SeqCst);
        self.number.store(number, Ordering::SeqCst);
    }

    /// The message that is next for an end that finds itself at `position`.
    fn next(&self, position: u64) -> u64 {
        let number = self.number.load(Ordering::SeqCst);
        let done = number == 0 || self.positions[number as usize % 2].load(Ordering::SeqCst) == position;
        if done { number + 1 } else { number }
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let path = std::env::var(REPORTS).expect("a path");
    let reports = std::fs::File::options().read(true).write(true).open(path).expect("opened");
    let reports = Region::from_fd(reports.into()).expect("a region").map().expect("mapped");
    match role.as_str() {
        "scribble" => scribble(fd),
        "produce" => produce(&Ring::from_fd(fd).expect("a ring"), &Report::of(&reports, 0)),
        "consume" => consume(&Ring::from_fd(fd).expect("a ring"), &Report::of(&reports, 1)),
        "hold" => {
            let ring = Ring::from_fd(fd).expect("a ring");
            let _ends = (ring.producer().expect("claimed"), ring.consumer().expect("claimed"));
            reports.atomic_u64(0).expect("inside").store(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        _ => fail("unknown role"),
    }
}

/// Tries again while there is nobody on the other side: whoever was killed has a successor soon.
fn while_gone<T>(mut operation: impl FnMut() -> ashmem::Result<T>) -> T {
    loop {
        match operation() {
            Err(Error::RingPeerGone { .. }) => {}
            Err(error) => fail(&error.to_string()),
            Ok(value) => return value,
        }
    }
}

fn produce(ring: &Ring, report: &Report<'_>) {
    let mut producer = ring.producer().unwrap_or_else(|error| fail(&error.to_string()));
    let longest = producer.capacity() - 8;
    for number in report.next(producer.position()).. {
        let bytes = message(number, longest);
        let len = bytes.len() as u64;
        while_gone(|| producer.wait_for_room((8 + len).next_multiple_of(8), None));
        let reservation = producer.reserve(len).expect("not corrupt").expect("enough room");
        report.announce(number, reservation.end_position());
        let (first, second) = bytes.split_at(bytes.len() / 2);
        reservation.write_at(0, first).expect("inside");
        reservation.write_at(first.len() as u64, second).expect("inside");
        reservation.commit().expect("committed");
    }
}

fn consume(ring: &Ring, report: &Report<'_>) {
    let mut consumer = ring.consumer().unwrap_or_else(|error| fail(&error.to_string()));
    let longest = consumer.capacity() - 8;
    for number in report.next(consumer.position()).. {
        while_gone(|| consumer.wait(None));
        let found = consumer.peek().unwrap_or_else(|error| fail(&error.to_string())).expect("a message");
        let mut bytes = vec![0; found.window().len() as usize];
        found.window().read_at(0, &mut bytes).expect("inside");
        if bytes != message(number, longest) {
            let head = bytes.first_chunk().map(|head| u64::from_le_bytes(*head));
            fail(&format!("message {number}: {} bytes that start with {head:?}", bytes.len()));
        }
        report.announce(number, found.end_position());
        found.consume().expect("consumed");
    }
}

#[test]
fn producers_and_consumers_are_killed() {
    let ring = Ring::create("killed", 2 * page_size()).expect("a ring");
    let reports = Region::create("reports", page_size()).expect("a region");
    let roles = ["produce", "consume"];
    let start = |end: usize| Worker::start(&ring, &reports, roles[end]);
    let mut workers: Vec<Worker> = (0..2).map(start).collect();
    let mut random = Random::new();
    let mapping = reports.map().expect("mapped");
    let (sent, received) = (Report::of(&mapping, 0), Report::of(&mapping, 1));
    for round in 0..600 {
        if round % 3 == 0 {
            // Both have come, and are in the middle of it.
            let enough = received.number.load(Ordering::SeqCst) + 1 + random.next() % 64;
            let since = Instant::now();
            while received.number.load(Ordering::SeqCst) < enough {
                assert!(since.elapsed() < DEADLINE, "round {round}: nothing is received any more");
                std::thread::yield_now();
            }
        } else {
            random.pause(Duration::from_millis(8));
        }
        let victim = (random.next() % 2) as usize;
        // One at a time, as an end has one holder: the claim is free when the process is reaped.
        workers.remove(victim).kill();
        workers.insert(victim, start(victim));
    }
    workers.into_iter().for_each(Worker::kill);

    let mut consumer = ring.consumer().expect("free");
    let mut producer = ring.producer().expect("free");
    let (next_sent, next_received) = (sent.next(producer.position()), received.next(consumer.position()));
    assert!(next_received > 200, "each third round has received one: {next_received}");
    let longest = ring.capacity() - 8;
    let mut bytes = Vec::new();
    for number in next_received..next_sent {
        assert!(consumer.try_receive(&mut bytes).expect("not corrupt"), "message {number} is lost");
        assert!(bytes == message(number, longest), "message {number} is another");
    }
    assert!(!consumer.try_receive(&mut bytes).expect("not corrupt"), "one more than was sent");
    producer.send(b"still working").expect("sent");
    consumer.receive(&mut bytes).expect("received");
    assert_eq!(bytes, b"still working");
}

#[test]
fn a_killed_holder_leaves_both_ends() {
    let ring = Ring::create("held", page_size()).expect("a ring");
    let reports = Region::create("reports", page_size()).expect("a region");
    let holder = Worker::start(&ring, &reports, "hold");
    let mapping = reports.map().expect("mapped");
    let since = Instant::now();
    while mapping.load_u64(0).expect("inside") == 0 {
        assert!(since.elapsed() < DEADLINE, "the worker does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(ring.producer(), Err(Error::RingEndTaken { .. })));
    assert!(matches!(ring.consumer(), Err(Error::RingEndTaken { .. })));
    // Received while both ends are claimed.
    let again = Ring::from_fd(duplicate(&ring)).expect("a ring");
    assert!(matches!(again.consumer(), Err(Error::RingEndTaken { .. })));
    holder.kill();
    let mut consumer = ring.consumer().expect("free");
    let gone = consumer.receive(&mut Vec::new());
    assert!(matches!(gone, Err(Error::RingPeerGone { .. })), "{gone:?}");
    ring.producer().expect("free");
}

/// Who sleeps when its peer is killed finds out, without being woken.
#[test]
fn a_sleeper_finds_out_that_its_peer_was_killed() {
    let ring = Ring::create("asleep", page_size()).expect("a ring");
    let reports = Region::create("reports", page_size()).expect("a region");
    let mut consumer = ring.consumer().expect("free");
    let peer = Worker::start(&ring, &reports, "produce");
    // It has come, and fills the ring.
    consumer.receive(&mut Vec::new()).expect("received");
    let drained = std::thread::spawn(move || {
        let mut received = 0_u64;
        loop {
            match consumer.receive(&mut Vec::new()) {
                Ok(()) => received += 1,
                Err(error) => return (received, error),
            }
        }
    });
    peer.kill();
    let (received, error) = drained.join().expect("no panic");
    assert!(matches!(error, Error::RingPeerGone { .. }), "{error} after {received} messages");
}

/// Writes nonsense over header and data for ever: random words, or words that are nearly right.
fn scribble(fd: OwnedFd) {
    let mapping = Region::from_fd(fd).expect("a region").map().expect("mapped");
    let words = mapping.atomic_u64s(0, mapping.len() / 8).expect("inside");
    let mut random = Random::new();
    // The words that mean something are in the first half kilobyte.
    let header = 64;
    loop {
        let (value, kind) = (random.next(), random.next() % 8);
        let count = if kind == 0 { words.len() } else { header };
        let word = &words[(random.next() >> 8) as usize % count];
        let near = words[(value >> 8) as usize % header].load(Ordering::SeqCst);
        match kind {
            0 | 1 => word.store(value, Ordering::SeqCst),
            2 => word.store(near.wrapping_add(value % 10_000), Ordering::SeqCst),
            3 => word.store(near.wrapping_sub(value % 10_000), Ordering::SeqCst),
            4 => drop(word.fetch_xor(1 << (value % 64), Ordering::SeqCst)),
            5 => word.store(value % 2, Ordering::SeqCst),
            _ => word.store(near, Ordering::SeqCst),
        }
        if value % 64 == 0 {
            std::thread::sleep(Duration::from_micros(value >> 32 & 255));
        }
    }
}

#[test]
fn nonsense_is_answered_by_errors() {
    let ring = Ring::create("hostile", page_size()).expect("a ring");
    let reports = Region::create("reports", page_size()).expect("a region");
    let hostile = Worker::start(&ring, &reports, "scribble");
    let (alive, beats) = mpsc::channel();
    let victim = std::thread::spawn(move || {
        let since = Instant::now();
        let (mut random, mut counts) = (Random::new(), [0_u64; 2]);
        while since.elapsed() < Duration::from_secs(4) {
            let (Ok(mut producer), Ok(mut consumer)) = (ring.producer(), ring.consumer()) else {
                counts[1] += 1;
                continue;
            };
            for _ in 0..50 {
                let answer = step(&mut producer, &mut consumer, &mut random);
                match answer {
                    Ok(()) => counts[0] += 1,
                    Err(Error::RingCorrupt { .. }) => counts[1] += 1,
                    Err(error) => panic!("an error that is none of a hostile peer's: {error}"),
                }
                alive.send(()).expect("heard");
            }
        }
        counts
    });
    loop {
        match beats.recv_timeout(DEADLINE) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("an operation hangs"),
        }
    }
    let [done, refused] = victim.join().expect("no panic");
    assert!(done > 0 && refused > 0, "{done} operations done, {refused} refused");
    hostile.kill();
}

/// Any operation on either end.
fn step(producer: &mut Producer, consumer: &mut Consumer, random: &mut Random) -> Result<(), Error> {
    let soon = Some(Duration::from_micros(500));
    let mut buffer = vec![7; (random.next() >> 16) as usize % 4000];
    let len = buffer.len() as u64;
    match random.next() % 10 {
        0 => producer.send_within(&buffer, soon).map(drop),
        1 => consumer.receive_within(&mut buffer, soon).map(drop),
        2 => producer.try_write(&buffer).map(drop),
        3 => consumer.try_read(&mut buffer).map(drop),
        4 => match producer.reserve(len)? {
            Some(reservation) => {
                reservation.write_at(0, &buffer)?;
                reservation.commit()
            }
            None => Ok(()),
        },
        5 => match consumer.peek()? {
            Some(found) => {
                let found = found.window();
                assert!(found.len() <= page_size());
                found.views().try_for_each(|view| view.read_vec(0, view.len()).map(drop))
            }
            None => Ok(()),
        },
        6 => producer.write_within(&buffer, soon).map(drop),
        7 => consumer.read_within(&mut buffer, soon).map(drop),
        8 => {
            assert!(producer.room()? <= page_size());
            assert!(consumer.available()? <= page_size());
            Ok(())
        }
        // At the end of what is there it waits, for nobody is gone.
        _ => match consumer.wait(soon)? {
            true => own(consumer.read(&mut buffer)).map(drop),
            false => Ok(()),
        },
    }
}

/// The library's error in one of the standard library's.
fn own<T>(answer: std::io::Result<T>) -> Result<T, Error> {
    answer.map_err(|error| *error.into_inner().expect("an error inside").downcast().expect("one of ashmem's"))
}
