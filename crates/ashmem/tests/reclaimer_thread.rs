//! The reclaimer's thread: when it starts, wakes and ends, and what it does beside others. What it takes is in
//! `reclaimer.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use ashmem::pressure::{Headroom, ManualPressure, PressureSource, Reading, Woken};
use ashmem::{Clock, Contents, Freed, Policy, Reclaimer, ReclaimerBuilder, Region, page_size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure. (Counted, as
/// the clock goes on while a virtual machine stands still.)
const LOOKS: u32 = 30_000;
const LOOK: Duration = Duration::from_millis(1);

/// In a region of these tests.
const PAGES: u64 = 32;

fn size() -> u64 {
    PAGES * page_size()
}

fn with_pressure(policy: Policy) -> (Reclaimer, ManualPressure) {
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().policy(policy).pressure(pressure.clone()).build();
    (reclaimer, pressure)
}

fn filled(reclaimer: &Reclaimer) -> Region {
    let region = Region::options().reclaimer(reclaimer).create("watched", size()).expect("a region");
    region.map().expect("mapped").fill(0, size(), 1).expect("inside");
    region
}

fn unpinned(reclaimer: &Reclaimer) -> Region {
    let region = filled(reclaimer);
    region.unpin(..).expect("unpinned");
    region
}

fn short() -> Reading {
    Reading { headrooms: vec![Headroom { available: 0, limit: 1 << 30 }], stalled: false }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if condition() {
            return;
        }
        std::thread::sleep(LOOK);
    }
    panic!("{what}: never happens");
}

/// What comes next.
fn hear<T>(receiver: &mpsc::Receiver<T>) -> T {
    let look = || receiver.recv_timeout(LOOK);
    (0..LOOKS).find_map(|_| look().ok()).expect("nothing is heard")
}

fn is_gone(region: &Region) -> bool {
    region.resident().expect("a size") == 0
}

/// The identities of purged regions, as they come.
fn purges(reclaimer: &Reclaimer) -> mpsc::Receiver<u64> {
    let (sender, receiver) = mpsc::channel();
    reclaimer.on_purge(move |event| {
        // Nobody listens any more when the test is over.
        let _ = sender.send(event.region.file_id().expect("a file"));
    });
    receiver
}

#[test]
fn pressure_wakes_the_thread() {
    let (reclaimer, pressure) = with_pressure(Policy::new());
    let heard = purges(&reclaimer);
    let regions = [unpinned(&reclaimer), unpinned(&reclaimer)];
    pressure.set(short());
    for region in &regions {
        assert_eq!(hear(&heard), region.file_id().expect("a file"));
    }
    for region in regions {
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    }
}

#[test]
fn purges_make_the_eventfd_readable() {
    let (reclaimer, pressure) = with_pressure(Policy::new());
    let events = reclaimer.purge_events().expect("an eventfd");
    let region = unpinned(&reclaimer);
    pressure.set(short());
    let look = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let readable = || poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&look)) == Ok(1);
    assert!((0..LOOKS).any(|_| readable()), "never readable");
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&events, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 1);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

#[test]
fn the_thread_lives_while_something_is_unpinned() {
    let (reclaimer, _) = with_pressure(Policy::new());
    let region = filled(&reclaimer);
    assert!(!reclaimer.is_running());
    for threads in 1..=2 {
        region.unpin(..).expect("unpinned");
        assert!(reclaimer.is_running());
        assert_eq!(reclaimer.metrics().threads, threads);
        region.unpin(..).expect("unpinned");
        assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
        eventually("the thread ends", || !reclaimer.is_running());
    }
    region.unpin(page_size()..).expect("unpinned");
    assert!(reclaimer.is_running());
    drop(region);
    eventually("the thread ends with its last region", || !reclaimer.is_running());
    assert_eq!(reclaimer.metrics().threads, 3);
}

/// Waits until it is called, whatever the timeout.
struct Deaf;

impl PressureSource for Deaf {
    fn read_into(&mut self, reading: &mut Reading) {
        *reading = Reading::default();
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, _: Option<Duration>) -> Woken {
        let mut fds = [PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        while poll(&mut fds, None).is_err() {}
        Woken::Called
    }
}

#[test]
fn a_new_policy_wakes_the_thread() {
    let reclaimer = Reclaimer::builder().pressure(Deaf).build();
    let heard = purges(&reclaimer);
    let region = unpinned(&reclaimer);
    reclaimer.set_policy(Policy::new().budget(size()));
    assert_eq!(reclaimer.policy(), Policy::new().budget(size()));
    reclaimer.set_policy(Policy::new().budget(0));
    assert_eq!(hear(&heard), region.file_id().expect("a file"));
    assert!(is_gone(&region));
}

/// Time flies.
struct Racing(AtomicU64);

impl Clock for Racing {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Never waits.
struct Restless;

impl PressureSource for Restless {
    fn read_into(&mut self, reading: &mut Reading) {
        *reading = Reading::default();
    }

    fn wait(&mut self, _: BorrowedFd<'_>, _: Option<Duration>) -> Woken {
        std::thread::yield_now();
        Woken::TimedOut
    }
}

/// A reclaimer whose thread ends as soon as all is pinned.
fn hasty() -> ReclaimerBuilder {
    Reclaimer::builder().clock(Racing(AtomicU64::new(0))).pressure(Restless).policy(Policy::new().budget(0))
}

/// The thread ends again and again while others unpin, and no unpin may be missed.
#[test]
fn an_unpin_during_the_threads_end_is_seen() {
    let reclaimer = hasty().build();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let region = Region::options().reclaimer(&reclaimer).create("raced", size()).expect("a region");
            scope.spawn(move || {
                let mapping = region.map().expect("mapped");
                for round in 0..400u32 {
                    mapping.write_at(0, &[1]).expect("inside");
                    region.unpin(..).expect("unpinned");
                    let _ = region.pin(..).expect("pinned");
                    mapping.write_at(0, &[1]).expect("inside");
                    if round % 3 == thread {
                        std::thread::sleep(Duration::from_micros(u64::from(round) % 300));
                    }
                    region.unpin(..).expect("unpinned");
                    eventually("the budget holds", || is_gone(&region));
                    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
                }
            });
        }
    });
    eventually("the thread ends", || !reclaimer.is_running());
    assert!(reclaimer.metrics().threads > 1, "the thread never ended in between");
}

#[test]
fn a_panicking_listener_does_not_stop_reclaiming_for_good() {
    let (reclaimer, pressure) = with_pressure(Policy::new());
    let once = AtomicBool::new(true);
    reclaimer.on_purge(move |_| assert!(!once.swap(false, Ordering::SeqCst), "on purpose"));
    pressure.set(short());
    let first = unpinned(&reclaimer);
    eventually("the first purge", || is_gone(&first));
    eventually("the end of the thread", || !reclaimer.is_running());
    // The next unpin starts another, and it obeys the same source.
    let second = unpinned(&reclaimer);
    assert!(reclaimer.is_running());
    eventually("the second purge", || is_gone(&second));
    assert_eq!(reclaimer.metrics().threads, 2);
}

/// Whoever handles one keeps the thread's reclaimer usable, also from the listener.
#[test]
fn a_listener_in_the_thread_may_use_everything() {
    let (reclaimer, pressure) = with_pressure(Policy::new());
    let (sender, heard) = mpsc::channel();
    let again = reclaimer.clone();
    reclaimer.on_purge(move |event| {
        let contents = event.region.pin(..).expect("pinned");
        let new = unpinned(&again);
        let freed = again.reclaim(0);
        again.set_policy(again.policy());
        let _ = sender.send((contents, again.is_running(), freed.bytes, again.run_once().is_some()));
        drop(new);
    });
    let region = unpinned(&reclaimer);
    pressure.set(short());
    assert_eq!(hear(&heard), (Contents::Purged, true, 0, true));
    drop(region);
    eventually("the thread ends", || !reclaimer.is_running());
}

#[test]
fn reclaimers_of_one_region_exclude_each_other() {
    const LARGE: u64 = 8 * 1024;
    for _ in 0..10 {
        let reclaimers = [(); 2].map(|()| Reclaimer::builder().without_thread().build());
        let options = reclaimers.each_ref().map(|reclaimer| Region::options().reclaimer(reclaimer));
        let region = options[0].create("shared", LARGE * page_size()).expect("a region");
        region.map().expect("mapped").fill(0, LARGE * page_size(), 1).expect("inside");
        region.unpin(..).expect("unpinned");
        let _other = Region::from_fd_with(
            region.as_fd().try_clone_to_owned().expect("a descriptor"),
            options[1].clone(),
        )
        .expect("a region");
        let start = Barrier::new(2);
        let freed: Vec<Freed> = std::thread::scope(|scope| {
            let purge = |reclaimer| {
                let start = &start;
                move || {
                    start.wait();
                    Reclaimer::purge_all(reclaimer)
                }
            };
            let threads = reclaimers.each_ref().map(|reclaimer| scope.spawn(purge(reclaimer)));
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(freed.iter().map(|freed| freed.pages).sum::<u64>(), LARGE);
        assert_eq!(region.stats().expect("healthy").purged_pages, LARGE);
        // The control block may have grown by then, by less than a hundredth.
        let (all, bytes) = (LARGE * page_size(), freed.iter().map(|freed| freed.bytes).sum::<u64>());
        assert!(bytes <= all && bytes > all - all / 100, "counted once: {bytes} of {all}: {freed:?}");
        // Whoever gives way for too long leaves the region to the other; both never do.
        assert!(reclaimers.iter().any(|reclaimer| reclaimer.metrics().failures == 0));
    }
}
