//! Peers that write nonsense into the control block, or hold the purge lock for ever: this process neither panics nor
//! hangs, and its errors are typed.
//!
//! These tests know where the control block has its words, as such a peer does. The other process is this test binary
//! again, running the ignored test `worker`, with the region as its standard input.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "maps and locks the control block, as a peer that does not use this crate")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ashmem::pressure::{Headroom, ManualPressure, Reading};
use ashmem::{Contents, Error, Policy, Protection, Reclaimer, Region, page_size};
use rustix::mm::{MapFlags, ProtFlags, mmap};

const ROLE: &str = "ASHMEM_TEST_ROLE";
const PAGES: u64 = 40;

/// Where the control block of a region of `PAGES` pages has its area word and its first page word.
const AREA: usize = 8;
const PAGE_WORDS: usize = 16;
/// The area's flags for "being purged" and "looked who holds what", and the first page's states.
const AREA_PURGING: u64 = 1 << 2;
const AREA_TAKING: u64 = 1 << 4;
const UNPINNED: u64 = 1;
const PURGING: u64 = 2;

/// How long nonsense is written while the others work.
const NONSENSE: Duration = Duration::from_secs(3);
/// No operation may take longer. A pin may wait 10 s for a purge, and a purge 1 s for its lock.
const DEADLINE: Duration = Duration::from_secs(60);

fn idle() -> Reclaimer {
    Reclaimer::builder().without_thread().build()
}

fn filled() -> Region {
    let region =
        Region::options().reclaimer(&idle()).create("hostile", PAGES * page_size()).expect("a region");
    region.map().expect("mapped").fill(0, PAGES * page_size(), 7).expect("inside");
    region
}

fn duplicate(region: &Region) -> OwnedFd {
    region.as_fd().try_clone_to_owned().expect("a descriptor")
}

/// The first page of a control block, leaked: such a peer does not clean up.
fn control_words(fd: impl AsFd) -> &'static [AtomicU64] {
    let page = page_size() as usize;
    let (prot, start) = (ProtFlags::READ | ProtFlags::WRITE, PAGES * page_size());
    // SAFETY: a new mapping, in a place that the kernel chooses.
    let map = unsafe { mmap(std::ptr::null_mut(), page, prot, MapFlags::SHARED, fd, start) }.expect("mapped");
    // SAFETY: never unmapped, aligned, and in a file that is sealed against shrinking.
    unsafe { std::slice::from_raw_parts(map.cast(), page / size_of::<AtomicU64>()) }
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

/// Writes nonsense for ever: random words, or words that look right but for a few bits.
fn scribble(fd: OwnedFd) -> ! {
    let words = control_words(&fd);
    let mut random = Random(u64::from(std::process::id()) << 32 | 1);
    loop {
        let (value, kind) = (random.next(), random.next() % 8);
        // What counts is at the start, so most go there.
        let count = if kind == 0 { words.len() } else { PAGE_WORDS + 3 };
        let word = &words[random.next() as usize % count];
        let area = words[AREA].load(Ordering::SeqCst);
        match kind {
            0 | 1 => word.store(value, Ordering::SeqCst),
            2 => {
                let place = PAGES * page_size() + (random.next() % page_size()) / 8 * 8;
                let _ = rustix::io::pwrite(&fd, &value.to_ne_bytes(), place);
            }
            3 => drop(word.fetch_xor(1 << (value % 64), Ordering::SeqCst)),
            4 => word.store(0, Ordering::SeqCst),
            5 => words[AREA].store(area & !0xffff | value & 0xffff, Ordering::SeqCst),
            // Any states, of the generation in force.
            _ => {
                words[PAGE_WORDS + value as usize % 3].store(area >> 32 << 32 | value >> 32, Ordering::SeqCst)
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
    assert_eq!(role, "scribble");
    scribble(std::io::stdin().as_fd().try_clone_to_owned().expect("standard input"));
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

fn operate(region: &Region, turn: u64) -> bool {
    let page = page_size();
    let part = turn * 7 % PAGES * page..;
    match turn % 9 {
        0 => typed(region.pin(..)),
        1 => typed(region.unpin(..)),
        2 => typed(region.pin(part)),
        3 | 4 => typed(region.unpin(part)),
        5 => typed(region.purge()),
        6 => typed(region.stats()),
        7 => typed(region.pin_status(part)) && typed(region.protection()),
        _ => typed(Region::from_fd_with(duplicate(region), Region::options().reclaimer(&idle()))),
    }
}

#[test]
fn nonsense_in_the_control_block_does_no_harm() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let scribbler = Worker::start(&region, "scribble");
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().policy(Policy::new().budget(0)).pressure(pressure.clone()).build();
    pressure.set(Reading { headrooms: vec![Headroom { available: 0, limit: 1 << 30 }], stalled: true });
    let until = Instant::now() + NONSENSE;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (region, reclaimer) = (region.clone(), reclaimer.clone());
            scope.spawn(move || {
                in_time(move || {
                    let (mut turn, mut fine) = (thread, 0);
                    while Instant::now() < until {
                        fine += u32::from(operate(&region, turn));
                        if turn % 50 == 0 {
                            // Watched by the reclaimer with the thread, where it is accepted at all.
                            let options = Region::options().reclaimer(&reclaimer);
                            if let Ok(again) = Region::from_fd_with(duplicate(&region), options) {
                                typed(again.unpin(..));
                                assert!(reclaimer.reclaim(1).pages <= 1 << 20);
                            }
                        }
                        turn += 1;
                    }
                    assert!(fine > 0, "nothing ever worked");
                });
            });
        }
    });
    drop(scribbler);
    in_time(move || {
        // The data is still accessible, and each operation has an end.
        assert_eq!(region.resident().map(|bytes| bytes <= region.size()).ok(), Some(true));
        for turn in 0..9 {
            operate(&region, turn);
        }
        drop(region);
        // The process is as healthy as before.
        let region = filled();
        region.unpin(..).expect("unpinned");
        assert_eq!(region.purge().expect("purged"), region.size());
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
        let watched = Region::options().reclaimer(&reclaimer).create("after", page_size()).expect("a region");
        watched.map().expect("mapped").write_at(0, b"x").expect("inside");
        watched.unpin(..).expect("unpinned");
        let is_gone = || {
            std::thread::sleep(Duration::from_millis(1));
            watched.resident().expect("a size") == 0
        };
        assert!((0..30_000).any(|_| is_gone()), "its reclaimer is dead");
    });
}

/// Every word of the control block once, with values that break what each may mean.
#[test]
fn each_word_may_be_anything() {
    let region = filled();
    region.unpin(..).expect("unpinned");
    let words = control_words(&region);
    in_time(move || {
        // The version stands first and is looked at when a region is received.
        for word in &words[1..PAGE_WORDS + 9 + PAGES as usize] {
            for value in [u64::MAX, 1 << 63, u64::MAX >> 1, 0xffff_ffff, 0x5555_5555_5555_5555] {
                let before = word.swap(value, Ordering::SeqCst);
                for turn in 0..9 {
                    operate(&region, turn);
                }
                word.store(before, Ordering::SeqCst);
            }
        }
        words.iter().skip(1).for_each(|word| word.store(0, Ordering::SeqCst));
        assert_eq!(region.stats().expect("zeros are healthy").pinned_pages, PAGES);
        region.unpin(..).expect("unpinned");
        assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
    });
}

/// Takes the lock that purging needs, through a description of its own.
fn hold_purge_lock(region: &Region) -> OwnedFd {
    let fd = region.share_read_write().expect("reopened");
    // SAFETY: `flock` is a C structure of integers, for which all zeros is a value.
    let mut record: libc::flock = unsafe { std::mem::zeroed() };
    record.l_type = libc::F_WRLCK as libc::c_short;
    record.l_start = region.size() as i64;
    record.l_len = 1;
    // SAFETY: `record` is a valid `struct flock`.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const record) };
    assert_eq!(answer, 0, "nobody holds it");
    fd
}

/// A region whose first page is marked as being purged, as a purger leaves it that dies there.
fn being_purged() -> (Region, &'static [AtomicU64]) {
    let region = filled();
    region.unpin(..page_size()).expect("unpinned");
    let words = control_words(&region);
    let word = &words[PAGE_WORDS];
    assert_eq!(word.load(Ordering::SeqCst) & 0xffff_ffff, UNPINNED, "the layout has changed");
    word.fetch_xor(UNPINNED | PURGING, Ordering::SeqCst);
    words[AREA].fetch_or(AREA_PURGING | AREA_TAKING, Ordering::SeqCst);
    (region, words)
}

#[test]
fn a_locked_region_loses_write_all_the_same() {
    let region = Region::create("locked", 8192).expect("a region");
    let lock = hold_purge_lock(&region);
    assert!(matches!(region.set_protection(Protection::READ), Err(Error::PurgeLocked { .. })));
    assert_eq!(region.protection().expect("a mask"), Protection::READ | Protection::EXEC);
    assert!(matches!(region.map(), Err(Error::ProtectionDenied { .. })));
    drop(lock);
    region.set_protection(Protection::READ).expect("the rest goes");
    assert_eq!(region.protection().expect("a mask"), Protection::READ);
}

#[test]
fn a_purge_that_never_ends_makes_pins_give_up() {
    let page = page_size();
    let (region, _) = being_purged();
    let lock = hold_purge_lock(&region);
    assert_eq!(region.pin(page..).expect("other pages"), Contents::Intact);
    region.unpin(16 * page..).expect("other pages");
    assert!(matches!(region.purge(), Err(Error::PurgeLocked { .. })));
    let start = Instant::now();
    let error = region.pin(..page).expect_err("nothing can be said about this page");
    assert!(matches!(error, Error::PurgeStuck { seconds: 10, purged: false }), "{error}");
    assert_eq!(error.raw_os_error(), libc::ETIMEDOUT);
    assert!(start.elapsed() >= Duration::from_secs(10));
    drop(lock);
    assert_eq!(region.pin(..page).expect("the lock is free"), Contents::Purged);
    assert_eq!(region.pin(..).expect("told once"), Contents::Intact);
    let rest = region.map().expect("mapped").read_vec(page, (PAGES - 1) * page).expect("inside");
    assert_eq!(rest, vec![7; rest.len()]);
}

#[test]
fn the_work_of_a_dead_purger_is_finished() {
    let page = page_size();
    for whole in [true, false] {
        let (region, _) = being_purged();
        let contents = if whole { region.pin(..) } else { region.pin(..page) };
        assert_eq!(contents.expect("recovered"), Contents::Purged, "whole: {whole}");
        let mapping = region.map().expect("mapped");
        assert_eq!(mapping.read_vec(0, page).expect("inside"), vec![0; page as usize]);
        let rest = mapping.read_vec(page, (PAGES - 1) * page).expect("inside");
        assert_eq!(rest, vec![7; rest.len()]);
        assert_eq!(region.pin(..).expect("told once"), Contents::Intact);
    }
    // A purger takes over, too.
    let (region, words) = being_purged();
    region.unpin(page..).expect("unpinned");
    assert!(region.purge().expect("purged") >= (PAGES - 1) * page);
    assert_eq!(words[AREA].load(Ordering::SeqCst) & AREA_PURGING, 0);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

/// A region whose purge lock somebody keeps costs one try a round, however many runs of pages it has.
#[test]
fn a_locked_region_does_not_keep_the_others_waiting() {
    const RUNS: u64 = 1000;
    let (reclaimer, page) = (idle(), page_size());
    let options = Region::options().reclaimer(&reclaimer).populate();
    let locked = options.create("locked", 2 * RUNS * page).expect("a region");
    for run in 0..RUNS {
        locked.unpin(2 * run * page..(2 * run + 1) * page).expect("unpinned");
    }
    let younger = options.create("younger", page).expect("a region");
    younger.unpin(..).expect("unpinned");
    let _lock = hold_purge_lock(&locked);
    assert_eq!(reclaimer.purge_all().bytes, page);
    assert_eq!(reclaimer.metrics().failures, 1);
    assert_eq!(younger.pin(..).expect("pinned"), Contents::Purged);
    assert_eq!(locked.pin(..).expect("pinned"), Contents::Intact);
}
