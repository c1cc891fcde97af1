//! Several processes pin, unpin, write and purge one region while random ones are killed (SIGKILL) at random moments.
//! Nobody is wedged, no write after a pin is lost, and no purge is hidden.
//!
//! The other processes are this test binary again, running the ignored test `worker`. It gets the region as its
//! standard input, and the file of its pin state, if that is apart, by a path.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ashmem::{Contents, Mapping, Reclaimer, Region, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const STATE: &str = "ASHMEM_TEST_STATE";

/// What a worker exits with when it has seen what must not be.
const VIOLATION: i32 = 3;

struct Worker(Child);

impl Worker {
    fn start(region: &Region, role: &str) -> Worker {
        let fd = region.as_fd().try_clone_to_owned().expect("a descriptor");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        if let Some(state) = region.state_fd() {
            command.env(STATE, format!("/proc/{}/fd/{}", std::process::id(), state.as_raw_fd()));
        }
        let child = command
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::from(fd))
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
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Small, fast, and different in every run; printed with a failure is not needed, as timing decides anyway.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Random(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pause(&mut self, most: Duration) {
        let until = Instant::now() + Duration::from_nanos(self.below(most.as_nanos() as u64));
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

fn first_bytes(mapping: &Mapping, page: u64) -> u64 {
    let mut word = [0; 8];
    mapping.read_at(page * page_size(), &mut word).expect("inside");
    u64::from_le_bytes(word)
}

fn fail(message: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "worker: {message}");
    std::process::exit(VIOLATION);
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let region = match std::env::var_os(STATE) {
        Some(path) => {
            let state = File::options().read(true).write(true).open(path).expect("the test has it open");
            Region::from_parts_with(fd, state.into(), options)
        }
        None => Region::from_fd_with(fd, options),
    };
    let region = region.expect("a region");
    match role.split_once(' ') {
        None if role == "purge" => loop {
            if let Err(error) = region.purge() {
                fail(&format!("purge: {error}"));
            }
        },
        Some(("own", rest)) => {
            let (mine, of) = rest.split_once('/').expect("N/M");
            own_pages(&region, mine.parse().expect("a number"), of.parse().expect("a number"));
        }
        Some(("unpin", page)) => {
            let page: u64 = page.parse().expect("a number");
            region.unpin(page * page_size()..(page + 1) * page_size()).expect("unpinned");
            loop {
                std::thread::park();
            }
        }
        _ => fail("unknown role"),
    }
}

/// Pins, writes, checks and unpins every `of`-th page, which is nobody else's, for ever.
fn own_pages(region: &Region, mine: u64, of: u64) {
    let mapping = region.map().expect("mapped");
    let mut random = Random::new();
    let count = region.size() / page_size();
    let own: Vec<u64> = (0..count).filter(|page| page % of == mine).collect();
    let mut written: Vec<Option<u64>> = vec![None; own.len()];
    loop {
        let index = random.below(own.len() as u64) as usize;
        let page = own[index];
        let range = page * page_size()..(page + 1) * page_size();
        let contents = match region.pin(range.clone()) {
            Ok(contents) => contents,
            Err(error) => fail(&format!("pin: {error}")),
        };
        let found = first_bytes(&mapping, page);
        match (written[index], contents) {
            (Some(value), Contents::Intact) if found != value => {
                fail(&format!("page {page}: intact, but {found:x} instead of {value:x}"))
            }
            (Some(_), Contents::Purged) if found != 0 => fail(&format!("page {page}: purged, but {found:x}")),
            _ => {}
        }
        let value = random.below(u64::MAX - 1) + 1;
        mapping.write_at(page * page_size(), &value.to_le_bytes()).expect("inside");
        random.pause(Duration::from_micros(20));
        if first_bytes(&mapping, page) != value {
            fail(&format!("page {page}: a write after the pin was lost"));
        }
        written[index] = Some(value);
        if let Err(error) = region.unpin(range) {
            fail(&format!("unpin: {error}"));
        }
        if random.below(16) == 0 {
            if let Err(error) = region.purge() {
                fail(&format!("purge: {error}"));
            }
        }
    }
}

fn region(pages: u64) -> Region {
    // The workers reclaim; this process's own thread would only be in the way.
    let reclaimer = Reclaimer::builder().without_thread().build();
    Region::options().reclaimer(&reclaimer).create("kills", pages * page_size()).expect("a region")
}

/// One whose pin state is in a file of its own.
fn region_apart(pages: u64) -> Region {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let contents = Region::options().never_purgeable().create("kills", pages * page_size());
    let contents = contents.and_then(Region::into_fd).expect("a descriptor");
    Region::options().reclaimer(&reclaimer).with_state_apart(contents).expect("a region")
}

#[test]
fn purgers_are_killed() {
    purgers_of_are_killed(region);
}

#[test]
fn purgers_of_a_region_of_two_files_are_killed() {
    purgers_of_are_killed(region_apart);
}

/// Whole-region pins of one process against purgers that are killed while they purge.
fn purgers_of_are_killed(make: fn(u64) -> Region) {
    let pages = 700;
    let region = make(pages);
    let mapping = region.map().expect("mapped");
    let mut random = Random::new();
    region.unpin(..).expect("unpinned");
    let _ = region.pin(..).expect("pinned");
    let mut purgers: Vec<Worker> = (0..2).map(|_| Worker::start(&region, "purge")).collect();
    let (mut intact, mut purged) = (0, 0);
    for round in 1..=500u64 {
        for page in 0..pages {
            mapping.write_at(page * page_size(), &round.to_le_bytes()).expect("inside");
        }
        region.unpin(..).expect("unpinned");
        random.pause(Duration::from_micros(500));
        if random.below(2) == 0 {
            let victim = random.below(2) as usize;
            purgers.remove(victim).kill();
            purgers.push(Worker::start(&region, "purge"));
        }
        let contents = region.pin(..).expect("not wedged");
        let found: Vec<u64> = (0..pages).map(|page| first_bytes(&mapping, page)).collect();
        let gone = found.iter().filter(|value| **value == 0).count();
        assert!(found.iter().all(|value| *value == 0 || *value == round), "stale contents");
        assert_eq!(contents.is_purged(), gone > 0, "round {round}: {gone} pages gone, and {contents:?}");
        match contents {
            Contents::Intact => intact += 1,
            Contents::Purged => purged += 1,
        }
        for page in 0..pages {
            mapping.write_at(page * page_size(), &(!round).to_le_bytes()).expect("inside");
        }
        random.pause(Duration::from_micros(100));
        assert!(
            (0..pages).all(|page| first_bytes(&mapping, page) == !round),
            "a write after the pin was lost"
        );
    }
    assert!(purged > 0, "the purgers never purged ({intact} rounds intact)");
    purgers.into_iter().for_each(Worker::kill);
}

#[test]
fn pinners_and_purgers_are_killed() {
    pinners_and_purgers_of_are_killed(region);
}

#[test]
fn pinners_and_purgers_of_a_region_of_two_files_are_killed() {
    pinners_and_purgers_of_are_killed(region_apart);
}

/// Processes that each own some pages of the same words, all purging, and killed at any moment.
fn pinners_and_purgers_of_are_killed(make: fn(u64) -> Region) {
    const WORKERS: u64 = 3;
    let region = make(100);
    region.unpin(..).expect("unpinned");
    let _ = region.pin(..).expect("pinned");
    let start = |worker: u64| Worker::start(&region, &format!("own {worker}/{WORKERS}"));
    let mut workers: Vec<Worker> = (0..WORKERS).map(start).collect();
    let mut random = Random::new();
    for _ in 0..1000 {
        random.pause(Duration::from_millis(6));
        let victim = random.below(WORKERS);
        // One owner at a time.
        workers.remove(victim as usize).kill();
        workers.insert(victim as usize, start(victim));
    }
    workers.into_iter().for_each(Worker::kill);
    let _ = region.pin(..).expect("not wedged");
    let stats = region.stats().expect("not corrupt");
    assert_eq!(stats.pinned_pages, 100);
    assert!(!region.pin(..).expect("not wedged").is_purged(), "told once");
}

/// Several processes append the control block at once, and some die doing so.
#[test]
fn appending_is_raced_and_killed() {
    let mut random = Random::new();
    for round in 0..150 {
        let size = (3 + random.below(40)) * page_size() - random.below(page_size());
        let region = Region::create("append", size).expect("a region");
        region.map().expect("mapped").write_at(0, b"data").expect("written");
        let workers: Vec<Worker> =
            (0..2).map(|page| Worker::start(&region, &format!("unpin {page}"))).collect();
        random.pause(Duration::from_millis(4));
        for worker in workers {
            worker.kill();
        }
        region.unpin(2 * page_size()..).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let again =
            Region::from_fd(region.as_fd().try_clone_to_owned().expect("a descriptor")).expect("a region");
        assert_eq!(again.size(), size);
        let contents = again.pin(..).expect("pinned");
        let data = again.map().expect("mapped").read_vec(0, 4).expect("inside");
        assert_eq!(&data, if contents.is_purged() { b"\0\0\0\0" } else { b"data" });
    }
}
