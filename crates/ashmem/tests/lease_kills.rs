//! Processes lease, guard, purge and rebuild one region while random ones are killed (SIGKILL) at random moments. What is held
//! keeps its contents, and what the dead held is free.
//!
//! The other processes are this test binary again, running the ignored test `worker`. A worker gets the region as its standard
//! input, and a second region, for counting, by the name that `/proc` has for it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ashmem::{Contents, Error, Lease, Mapping, PinStatus, Reclaimer, Region, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const COUNTERS: &str = "ASHMEM_TEST_COUNTERS";

/// What a worker exits with when it has seen what must not be.
const VIOLATION: i32 = 3;

/// More than a range may have that is counted page by page.
const PAGES: u64 = 2500;

/// What the workers count.
const INTACT: u64 = 0;
const PURGED: u64 = 1;
const GUARDED: u64 = 2;
const TAKEN: u64 = 3;
const REBUILT: u64 = 4;
const READY: u64 = 5;

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure.
const LOOKS: u32 = 30_000;

struct Worker(Child);

impl Worker {
    fn start(setting: &Setting, role: &str) -> Worker {
        let region = &setting.region;
        let fd: OwnedFd = match role.contains("read-only") {
            true => region.share_read_only().expect("reopened"),
            false => region.as_fd().try_clone_to_owned().expect("a descriptor"),
        };
        let counters = format!("/proc/{}/fd/{}", std::process::id(), setting.counters.as_fd().as_raw_fd());
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(COUNTERS, counters)
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

/// Different in every run; timing decides anyway.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Random(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40 | 1)
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

    /// The whole region, a large part, or a small one.
    fn pages(&mut self) -> Range<u64> {
        let longest = match self.below(8) {
            0 => return 0..PAGES,
            1 => PAGES,
            2 | 3 => 400,
            _ => 30,
        };
        let start = self.below(PAGES);
        start..(start + 1 + self.below(longest)).min(PAGES)
    }
}

/// A region in which every page begins with its number and one, unless it was purged.
struct Setting {
    region: Region,
    counters: Region,
    counts: Mapping,
}

impl Setting {
    fn new() -> Setting {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let region = Region::options().reclaimer(&reclaimer).create("lease kills", PAGES * page_size());
        let region = region.expect("a region");
        let counters = Region::create("counters", page_size()).expect("a region");
        let counts = counters.map().expect("mapped");
        rebuild(&region.map().expect("mapped"), 0..PAGES);
        region.unpin(..).expect("unpinned");
        Setting { region, counters, counts }
    }

    fn count(&self, which: u64) -> &AtomicU64 {
        self.counts.atomic_u64(8 * which).expect("aligned")
    }

    fn wait_for_ready(&self, workers: u64) {
        let ready = || {
            std::thread::sleep(Duration::from_millis(1));
            self.count(READY).load(Ordering::SeqCst) >= workers
        };
        assert!((0..LOOKS).any(|_| ready()), "a worker does not get ready");
    }

    fn gone(&self) -> Vec<u64> {
        let mapping = self.region.map_read_only().expect("mapped");
        (0..PAGES).filter(|page| !is_there(&mapping, *page)).collect()
    }

    /// Nobody holds anything: all can go, and goes.
    fn assert_free(&self) {
        let _ = self.region.pin(..).expect("not wedged");
        rebuild(&self.region.map().expect("mapped"), 0..PAGES);
        self.region.unpin(..).expect("unpinned");
        let stats = self.region.stats().expect("healthy");
        assert_eq!((stats.pinned_pages, stats.unpinned_pages), (0, PAGES));
        assert_eq!(self.region.purge().expect("purged"), PAGES * page_size());
        assert_eq!(self.gone().len() as u64, PAGES);
    }
}

fn bytes(pages: &Range<u64>) -> Range<u64> {
    pages.start * page_size()..pages.end * page_size()
}

/// Whether a page has its contents. (Anything but those and zeros is a failure of its own.)
fn is_there(mapping: &Mapping, page: u64) -> bool {
    match mapping.load_u64(page * page_size()).expect("inside") {
        0 => false,
        value if value == page + 1 => true,
        value => fail(&format!("page {page} begins with {value:x}")),
    }
}

/// Writes what was purged, and says how many pages that were.
fn rebuild(mapping: &Mapping, pages: Range<u64>) -> u64 {
    let mut count = 0;
    for page in pages {
        if !is_there(mapping, page) {
            mapping.write_at(page * page_size(), &(page + 1).to_ne_bytes()).expect("inside");
            count += 1;
        }
    }
    count
}

fn fail(message: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "{message}");
    if std::env::var_os(ROLE).is_some() {
        std::process::exit(VIOLATION);
    }
    panic!("{message}");
}

fn well<T>(what: &str, result: ashmem::Result<T>) -> T {
    result.unwrap_or_else(|error| fail(&format!("{what}: {error}")))
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let fd = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let reclaimer = Reclaimer::builder().without_thread().build();
    let region = Region::from_fd_with(fd, Region::options().reclaimer(&reclaimer)).expect("a region");
    let path = std::env::var(COUNTERS).expect("given");
    let counters = File::options().read(true).write(true).open(path).expect("the parent's");
    let counters = Region::from_fd(counters.into()).expect("a region");
    let counts = counters.map().expect("mapped");
    let count = |which: u64, more: u64| {
        counts.atomic_u64(8 * which).expect("aligned").fetch_add(more, Ordering::SeqCst);
    };
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["purge"] => purge(&region, count),
        ["own"] => own(&region, count),
        ["lease", _] => lease(&region, count),
        ["guard"] => guard(&region, count),
        ["hold", "guard", start, end] => {
            let pages = start.parse().expect("a number")..end.parse().expect("a number");
            let _guard = well("guard", region.pin_guard(bytes(&pages)));
            count(READY, 1);
            sleep();
        }
        ["hold", _, start, end] => {
            let pages = start.parse().expect("a number")..end.parse().expect("a number");
            let lease = well("lease", region.lease(bytes(&pages)));
            assert_eq!(lease.contents(), Contents::Intact);
            count(READY, 1);
            sleep();
        }
        _ => fail("unknown role"),
    }
}

fn sleep() -> ! {
    loop {
        std::thread::park();
    }
}

fn purge(region: &Region, count: impl Fn(u64, u64)) -> ! {
    let mut random = Random::new();
    loop {
        match region.purge() {
            Ok(bytes) => count(TAKEN, bytes / page_size()),
            // The others keep it busy.
            Err(Error::PurgeLocked { .. }) => {}
            Err(error) => fail(&format!("purge: {error}")),
        }
        random.pause(Duration::from_micros(300));
    }
}

/// Pins, rebuilds what was purged, and unpins.
fn own(region: &Region, count: impl Fn(u64, u64)) -> ! {
    let mapping = region.map().expect("mapped");
    let mut random = Random::new();
    loop {
        let pages = random.pages();
        let _ = well("pin", region.pin(bytes(&pages)));
        // The end of a guard elsewhere takes this pin back, so the page may even go before it is unpinned.
        count(REBUILT, rebuild(&mapping, pages.clone()));
        well("unpin", region.unpin(bytes(&pages)));
    }
}

/// A lease on pages that were there, and those of them that had contents: who rebuilt the others died over it.
struct Leased<'a> {
    lease: Lease<'a>,
    there: Vec<u64>,
}

fn lease(region: &Region, count: impl Fn(u64, u64)) -> ! {
    let mapping = region.map_read_only().expect("mapped");
    let mut random = Random::new();
    let mut held: Vec<Leased<'_>> = Vec::new();
    loop {
        let pages = random.pages();
        let lease = well("lease", region.lease(bytes(&pages)));
        match lease.contents() {
            Contents::Intact => {
                count(INTACT, 1);
                let there = pages.filter(|page| is_there(&mapping, *page)).collect();
                held.push(Leased { lease, there });
            }
            Contents::Purged => count(PURGED, 1),
        }
        random.pause(Duration::from_micros(200));
        for leased in &held {
            if let Some(page) = leased.there.iter().find(|page| !is_there(&mapping, **page)) {
                fail(&format!("page {page} went although {:?} is held", leased.lease));
            }
        }
        if random.below(2) == 0 || held.len() > 4 {
            held.drain(..random.below(held.len() as u64 + 1) as usize);
        }
    }
}

fn guard(region: &Region, count: impl Fn(u64, u64)) -> ! {
    let mapping = region.map().expect("mapped");
    let mut random = Random::new();
    loop {
        let outer = random.pages();
        let guard = well("guard", region.pin_guard(bytes(&outer)));
        count(REBUILT, rebuild(&mapping, outer.clone()));
        let inner = random.pages();
        let second = well("guard", region.pin_guard(bytes(&inner)));
        rebuild(&mapping, inner.clone());
        count(GUARDED, 1);
        random.pause(Duration::from_micros(200));
        if let Some(page) = outer.clone().chain(inner).find(|page| !is_there(&mapping, *page)) {
            fail(&format!("page {page} went although {guard:?} and {second:?} live"));
        }
        drop(second);
        random.pause(Duration::from_micros(50));
        if let Some(page) = outer.clone().find(|page| !is_there(&mapping, *page)) {
            fail(&format!("page {page} went although {guard:?} lives"));
        }
    }
}

#[test]
fn holders_and_purgers_are_killed() {
    const ROLES: [&str; 8] =
        ["purge", "purge", "own", "lease writable", "lease writable", "lease read-only", "guard", "guard"];
    let setting = Setting::new();
    let mut random = Random::new();
    let mut workers: Vec<Worker> = ROLES.iter().map(|role| Worker::start(&setting, role)).collect();
    for _ in 0..800 {
        random.pause(Duration::from_millis(10));
        let victim = random.below(ROLES.len() as u64) as usize;
        workers.remove(victim).kill();
        workers.insert(victim, Worker::start(&setting, ROLES[victim]));
    }
    workers.into_iter().for_each(Worker::kill);
    let counts =
        [INTACT, PURGED, GUARDED, TAKEN, REBUILT].map(|which| setting.count(which).load(Ordering::SeqCst));
    println!(
        "leases intact {}, purged {}; guards {}; pages taken {}, rebuilt {}",
        counts[0], counts[1], counts[2], counts[3], counts[4]
    );
    assert!(counts.iter().all(|count| *count > 0), "something never happened: {counts:?}");
    setting.assert_free();
}

/// The dead hold nothing, whichever way they held it.
#[test]
fn a_killed_holder_holds_nothing() {
    for kind in ["writable", "read-only", "guard"] {
        for pages in [0..PAGES, 3..40, 17..PAGES - 1] {
            let setting = Setting::new();
            let role = format!("hold {kind} {} {}", pages.start, pages.end);
            let worker = Worker::start(&setting, &role);
            setting.wait_for_ready(1);
            assert_eq!(
                setting.region.purge().expect("purged"),
                (PAGES - (pages.end - pages.start)) * page_size()
            );
            assert!(setting.gone().iter().all(|page| !pages.contains(page)), "{role}");
            worker.kill();
            assert_eq!(
                setting.region.purge().expect("purged"),
                (pages.end - pages.start) * page_size(),
                "{role}"
            );
            setting.assert_free();
        }
    }
}

/// Of several holders each counts.
#[test]
fn the_end_of_one_is_not_the_end_of_another() {
    for (first, second) in
        [("guard", "guard"), ("guard", "writable"), ("guard", "read-only"), ("writable", "read-only")]
    {
        let setting = Setting::new();
        let workers = [
            Worker::start(&setting, &format!("hold {first} 100 200")),
            Worker::start(&setting, &format!("hold {second} 150 1900")),
        ];
        setting.wait_for_ready(2);
        let guard = setting.region.pin_guard(bytes(&(120..300))).expect("pinned");
        let whole = setting.region.pin_guard(..).expect("pinned");
        drop(whole);
        drop(guard);
        assert_eq!(
            setting.region.purge().expect("purged"),
            (PAGES - 1800) * page_size(),
            "{first}, {second}"
        );
        if [first, second].iter().all(|kind| *kind != "read-only") {
            let status = setting.region.pin_status(bytes(&(100..200))).expect("a status");
            assert_eq!(status, PinStatus::Pinned, "{first}, {second}");
        }
        let [one, other] = workers;
        one.kill();
        assert_eq!(setting.region.purge().expect("purged"), 50 * page_size(), "{first}, {second}");
        other.kill();
        assert_eq!(setting.region.purge().expect("purged"), 1750 * page_size(), "{first}, {second}");
        setting.assert_free();
    }
}
