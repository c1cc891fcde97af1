//! Peers that write nonsense into what counts leases, or lock bytes that leases lock: this process neither panics nor hangs, its
//! errors are typed, and what is read-locked stays. And purgers that died at a bad moment.
//!
//! These tests know where the control block has its words, as such a peer does. The other process is this test binary
//! again, running the ignored test `worker`, with the region as its standard input.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "maps and locks a region, as a peer that does not use this crate")]

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ashmem::pressure::{Headroom, ManualPressure, Reading};
use ashmem::{Contents, Error, Lease, PinGuard, Policy, Reclaimer, Region, RegionOptions, page_size};
use rustix::mm::{MapFlags, ProtFlags, mmap};

const ROLE: &str = "ASHMEM_TEST_ROLE";
/// So few that the whole control block is two pages: header, page words, page stamps, and the rows of all slots.
const PAGES: u64 = 64;

/// Where the control block has its area word, the mask of the slots, their heads, and the first page word.
const AREA: usize = 8;
const SLOT_MASK: usize = 10;
const PAGE_WORDS: usize = 16;
const HEADS: usize = PAGE_WORDS + 8 + PAGES as usize;
/// The area's flags for a purge, and the first page's states.
const AREA_PURGING: u64 = 1 << 2;
const AREA_TAKING: u64 = 1 << 4;
const UNPINNED: u64 = 1;
const PURGING: u64 = 2;

/// How long nonsense is written while the others work.
const NONSENSE: Duration = Duration::from_secs(3);
/// No operation may take longer. Who waits for a purge does so for 10 s, and a purge 1 s for its lock.
const DEADLINE: Duration = Duration::from_secs(60);

/// With a reclaimer that has no thread, which would look at regions while they go.
fn quiet() -> RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn idle() -> Reclaimer {
    Reclaimer::builder().without_thread().build()
}

fn filled() -> Region {
    let region = Region::options().reclaimer(&idle()).create("hostile", PAGES * page_size());
    let region = region.expect("a region");
    region.map().expect("mapped").fill(0, region.size(), 7).expect("inside");
    region
}

fn duplicate(region: &Region) -> OwnedFd {
    region.as_fd().try_clone_to_owned().expect("a descriptor")
}

fn peer(region: &Region) -> Region {
    Region::from_fd_with(region.share_read_write().expect("reopened"), quiet()).expect("a region")
}

fn reader(region: &Region) -> Region {
    Region::from_fd_with(region.share_read_only().expect("reopened"), quiet()).expect("a region")
}

fn bytes(pages: Range<u64>) -> Range<u64> {
    pages.start * page_size()..pages.end * page_size()
}

fn present(region: &Region) -> Vec<u64> {
    let mapping = region.map_read_only().expect("mapped");
    (0..PAGES).filter(|page| mapping.read_vec(page * page_size(), 1).expect("inside") == [7]).collect()
}

/// A control block, leaked: such a peer does not clean up.
fn control_words(fd: impl AsFd) -> &'static [AtomicU64] {
    let start = PAGES * page_size();
    let size = rustix::fs::fstat(&fd).expect("open").st_size as u64;
    let length = (size - start) as usize;
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, in a place that the kernel chooses.
    let map =
        unsafe { mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, fd, start) }.expect("mapped");
    // SAFETY: never unmapped, aligned, and in a file that is sealed against shrinking.
    unsafe { std::slice::from_raw_parts(map.cast(), length / size_of::<AtomicU64>()) }
}

/// Locks or unlocks bytes through a description, without waiting.
fn set_lock(fd: &OwnedFd, kind: libc::c_int, range: Range<u64>) -> bool {
    // SAFETY: `flock` is a C structure of integers, for which all zeros is a value.
    let mut record: libc::flock = unsafe { std::mem::zeroed() };
    record.l_type = kind as libc::c_short;
    record.l_start = range.start as i64;
    record.l_len = (range.end - range.start) as i64;
    // SAFETY: `record` is a valid `struct flock`.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const record) == 0 }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Writes nonsense for ever, all over the control block but mostly where leases and purges meet.
fn scribble(fd: &OwnedFd) -> ! {
    let words = control_words(fd);
    let mut random = Random(u64::from(std::process::id()) << 32 | 1);
    loop {
        let (value, kind) = (random.next(), random.next() % 8);
        // The version stands first: with that gone nobody would look at the rest.
        let place = match random.next() % 4 {
            0 => 1 + random.next() as usize % (words.len() - 1),
            1 => HEADS + random.next() as usize % 128,
            2 => PAGE_WORDS + random.next() as usize % 8,
            _ => [AREA, SLOT_MASK][random.next() as usize % 2],
        };
        let word = &words[place];
        match kind {
            0 | 1 => word.store(value, Ordering::SeqCst),
            2 => word.store(u64::MAX, Ordering::SeqCst),
            3 | 4 => drop(word.fetch_xor(1 << (value % 64), Ordering::SeqCst)),
            5 => word.store(0, Ordering::SeqCst),
            6 => drop(word.fetch_add(value, Ordering::SeqCst)),
            // Any states, of the generation in force.
            _ => {
                let area = words[AREA].load(Ordering::SeqCst);
                words[PAGE_WORDS + value as usize % 4]
                    .store(area >> 32 << 32 | value >> 32, Ordering::SeqCst);
            }
        }
        if value % 64 == 0 {
            std::thread::sleep(Duration::from_micros(value >> 32 & 255));
        }
    }
}

struct Worker(Child);

impl Worker {
    fn start(region: &Region, role: &str) -> Worker {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::from(duplicate(region)))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Worker(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    assert_eq!(role, "scribble");
    scribble(&std::io::stdin().as_fd().try_clone_to_owned().expect("standard input"));
}

/// Every error that such a peer may cause.
#[track_caller]
fn typed<T>(result: ashmem::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(
            Error::ControlBlockCorrupt { .. }
            | Error::NotARegion { .. }
            | Error::PurgeStuck { .. }
            | Error::PurgeLocked { .. }
            | Error::ProtectionDenied { .. }
            | Error::ProtectionAdded { .. },
        ) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Runs `work` in a thread, which must be done in time.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (sender, done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        // The other side waits for it.
        let _ = sender.send(());
    });
    match done.recv_timeout(NONSENSE + DEADLINE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("an operation hangs"),
        _ => thread.join().expect("no panic"),
    }
}

enum Held<'a> {
    Lease(#[allow(dead_code, reason = "held for its drop")] Lease<'a>),
    Guard(#[allow(dead_code, reason = "held for its drop")] PinGuard<'a>),
}

/// One operation; what is `kept` is held during others.
fn operate<'a>(region: &'a Region, reader: &'a Region, turn: u64, kept: &mut Vec<Held<'a>>) -> bool {
    let page = page_size();
    let part = turn * 7 % PAGES * page..;
    let held = match turn % 12 {
        0 => region.lease(..).map(Held::Lease),
        1 => region.lease(part).map(Held::Lease),
        2 => region.pin_guard(..).map(Held::Guard),
        3 => region.pin_guard(part).map(Held::Guard),
        4 => reader.lease(part).map(Held::Lease),
        5 => reader.lease(..).map(Held::Lease),
        6 | 7 => return typed(region.purge()),
        8 => return typed(region.stats()) && typed(region.pin_status(part)),
        9 => return typed(region.unpin(part)) && typed(region.unpin(..)),
        10 => return typed(region.pin(part)) && typed(region.pin(..)),
        _ => {
            kept.clear();
            // A slot taken anew, with whatever is in it.
            let again = Region::from_fd_with(duplicate(region), Region::options().reclaimer(&idle()));
            return match again {
                Ok(again) => typed(again.lease(..)) && typed(again.pin_guard(..page)),
                Err(error) => typed::<()>(Err(error)),
            };
        }
    };
    typed(held.map(|held| kept.push(held)))
}

#[test]
fn nonsense_where_leases_are_counted_does_no_harm() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let reader = reader(&region);
    let scribbler = Worker::start(&region, "scribble");
    let until = Instant::now() + NONSENSE;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (region, reader) = (region.clone(), reader.clone());
            scope.spawn(move || {
                in_time(move || {
                    let (mut turn, mut fine, mut kept) = (thread * 7, 0, Vec::new());
                    while Instant::now() < until {
                        fine += u32::from(operate(&region, &reader, turn, &mut kept));
                        turn += 1;
                    }
                    assert!(fine > 0, "nothing ever worked");
                });
            });
        }
    });
    drop(scribbler);
    in_time(move || {
        let mut kept = Vec::new();
        for turn in 0..12 {
            operate(&region, &reader, turn, &mut kept);
        }
        drop(kept);
        // Whatever is left in the counts: with zeros there all is well again.
        control_words(&region).iter().skip(1).for_each(|word| word.store(0, Ordering::SeqCst));
        drop(reader);
        region.map().expect("mapped").fill(0, region.size(), 7).expect("inside");
        region.unpin(..).expect("unpinned");
        let other = peer(&region);
        let lease = other.lease(bytes(3..5)).expect("leased");
        assert_eq!(lease.contents(), Contents::Intact);
        region.purge().expect("purged");
        assert_eq!(present(&region), [3, 4]);
    });
}

/// Every word of the control block once, with values that break what each may mean.
#[test]
fn each_word_may_be_anything() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let reader = reader(&region);
    let words = control_words(&region);
    in_time(move || {
        for word in &words[1..] {
            for value in [u64::MAX, 0x5555_5555_5555_5555, 1 << 63 | 0x40_c0_80] {
                let before = word.swap(value, Ordering::SeqCst);
                let mut kept = Vec::new();
                for turn in 0..12 {
                    operate(&region, &reader, turn, &mut kept);
                }
                drop(kept);
                word.store(before, Ordering::SeqCst);
            }
        }
        words.iter().skip(1).for_each(|word| word.store(0, Ordering::SeqCst));
        assert_eq!(region.stats().expect("zeros are healthy").pinned_pages, PAGES);
    });
}

#[test]
fn thousands_of_tiny_locks() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let description = region.share_read_write().expect("reopened");
    // Every second byte of a page, for that many locks.
    let tiny = |page: u64| (0..2000).map(move |count| page * page_size() + 2 * count);
    for place in [0, 5, 40].into_iter().flat_map(tiny) {
        assert!(set_lock(&description, libc::F_RDLCK, place..place + 1));
    }
    in_time(move || {
        let (reader, other) = (reader(&region), peer(&region));
        let _leases = [
            reader.lease(bytes(10..12)).expect("leased"),
            reader.lease(bytes(62..64)).expect("leased"),
            other.lease(bytes(20..22)).expect("leased"),
        ];
        let leased: Vec<u64> = (10..12).chain(20..22).chain(62..64).collect();
        for _ in 0..100 {
            region.purge().expect("purged");
            region.stats().expect("counted");
        }
        let there = present(&region);
        assert!(leased.iter().chain(&[0, 5, 40]).all(|page| there.contains(page)), "{there:?}");
        drop(description);
        region.purge().expect("purged");
        assert_eq!(present(&region), leased);
    });
}

#[test]
fn bytes_that_are_locked_for_writing_cannot_be_leased() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let (reader, other) = (reader(&region), peer(&region));
    let description = region.share_read_write().expect("reopened");
    let size = region.size();
    assert!(set_lock(&description, libc::F_WRLCK, 5 * page_size()..5 * page_size() + 1));
    for range in [0..size, bytes(5..6)] {
        match reader.lease(range).map(drop) {
            Err(error @ Error::System { operation: "lease", .. }) => {
                assert_eq!(error.raw_os_error(), libc::EAGAIN, "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Other pages, and counted leases, are none of that lock's business.
    let others = [reader.lease(bytes(6..8)), other.lease(bytes(5..6)), other.lease(..)];
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    drop(others);
    drop(other);
    // All slots, too: then leases are locks, and the failed ones have left none.
    assert!(set_lock(&description, libc::F_WRLCK, size + 16..size + 16 + 16));
    let late = peer(&region);
    assert_eq!(late.lease(..).map(drop).expect_err("locked").raw_os_error(), libc::EAGAIN);
    let lease = late.lease(bytes(8..9)).expect("leased");
    drop(description);
    region.purge().expect("purged");
    assert_eq!(present(&region), [8]);
    drop(lease);
    region.purge().expect("purged");
    assert_eq!(present(&region), []);
}

/// Marks the first page as being purged, as a purger leaves it that dies before or after it has `looked` who holds what.
fn dies_in_a_purge(region: &Region, looked: bool) {
    region.unpin(..page_size()).expect("unpinned");
    let words = control_words(region);
    let word = &words[PAGE_WORDS];
    assert_eq!(word.load(Ordering::SeqCst) & 0xffff_ffff, UNPINNED, "the layout has changed");
    word.fetch_xor(UNPINNED | PURGING, Ordering::SeqCst);
    words[AREA].fetch_or(AREA_PURGING | if looked { AREA_TAKING } else { 0 }, Ordering::SeqCst);
}

#[test]
fn a_dead_purgers_claims_on_leased_pages_are_void() {
    for read_only in [false, true] {
        let region = filled();
        region.unpin(page_size()..2 * page_size()).expect("unpinned");
        let _ = region.pin(..).expect("pinned");
        let other = if read_only { reader(&region) } else { peer(&region) };
        let lease = other.lease(bytes(0..1)).expect("leased");
        assert_eq!(lease.contents(), Contents::Intact);
        dies_in_a_purge(&region, false);
        assert_eq!(region.purge().expect("purged"), 0);
        assert_eq!(present(&region).len() as u64, PAGES);
        drop(lease);
        assert_eq!(region.purge().expect("purged"), page_size());
    }
}

/// A lease that meets a dead purger's page finishes for it, also where its own mapping is for reading only.
#[test]
fn a_lease_finishes_for_a_dead_purger() {
    for (read_only, looked) in [(false, false), (false, true), (true, false), (true, true)] {
        let region = filled();
        dies_in_a_purge(&region, looked);
        let other = if read_only { reader(&region) } else { peer(&region) };
        in_time(move || {
            let lease = other.lease(bytes(0..2)).expect("leased");
            let (contents, there) = if looked { (Contents::Purged, 1) } else { (Contents::Intact, 0) };
            assert_eq!(lease.contents(), contents, "read-only: {read_only}");
            assert_eq!(present(&region)[0], there);
            assert_eq!(region.pin(..).expect("pinned"), contents);
        });
    }
}

/// A reclaimer does not lose sight of pages because all of them are leased when it looks.
#[test]
fn a_reclaimer_waits_for_the_end_of_a_lease() {
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().policy(Policy::new().budget(0)).pressure(pressure.clone()).build();
    pressure
        .set(Reading { headrooms: vec![Headroom { available: 1 << 30, limit: 1 << 30 }], stalled: false });
    let region = Region::options().reclaimer(&reclaimer).create("leased", PAGES * page_size());
    let region = region.expect("a region");
    region.map().expect("mapped").fill(0, region.size(), 7).expect("inside");
    let _ = region.pin(..).expect("pinned");
    let other = peer(&region);
    // Now there is a control block, so that leases are counted in it.
    drop(other.pin_guard(..).expect("pinned"));
    let lease = other.lease(..).expect("leased");
    region.map().expect("mapped").fill(0, region.size(), 7).expect("inside");
    region.unpin(..).expect("unpinned");
    // Longer than a thread lives that has nothing to watch.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(present(&region).len() as u64, PAGES);
    drop(lease);
    let is_gone = || {
        std::thread::sleep(Duration::from_millis(1));
        region.resident().expect("a size") == 0
    };
    assert!((0..30_000).any(|_| is_gone()), "nobody watches the region any more");
}
