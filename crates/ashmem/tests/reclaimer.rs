//! The reclaimer, one turn at a time: what it takes, in which order, and how much. Its thread is in `reclaimer_thread.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ashmem::pressure::{Headroom, ManualPressure, Reading};
use ashmem::{
    Clock, Contents, Freed, PinStatus, Policy, Protection, PurgeEvent, Reclaimer, Region, page_size,
};

/// In a region of these tests.
const PAGES: u64 = 32;

fn size() -> u64 {
    PAGES * page_size()
}

/// A reserve that these tests reach only when they say so.
fn policy() -> Policy {
    Policy::new().reserve(4 * size())
}

fn stepwise(policy: Policy) -> (Reclaimer, ManualPressure) {
    let pressure = ManualPressure::new().expect("an eventfd");
    let reclaimer = Reclaimer::builder().policy(policy).pressure(pressure.clone()).without_thread().build();
    (reclaimer, pressure)
}

fn sparse(reclaimer: &Reclaimer) -> Region {
    Region::options().reclaimer(reclaimer).create("reclaimed", size()).expect("a region")
}

fn filled(reclaimer: &Reclaimer) -> Region {
    let region = sparse(reclaimer);
    region.map().expect("mapped").fill(0, size(), 1).expect("inside");
    region
}

/// Regions whose every page is in memory and unpinned, oldest first.
fn unpinned(reclaimer: &Reclaimer, count: usize) -> Vec<Region> {
    let regions: Vec<Region> = (0..count).map(|_| filled(reclaimer)).collect();
    for region in &regions {
        region.unpin(..).expect("unpinned");
    }
    regions
}

/// How many regions are gone, from the first on; the others must be complete.
fn purged(regions: &[Region]) -> usize {
    let gone: Vec<bool> =
        regions.iter().map(|region| region.stats().expect("healthy").purged_pages > 0).collect();
    let count = gone.iter().filter(|gone| **gone).count();
    for (index, region) in regions.iter().enumerate() {
        assert_eq!(gone[index], index < count, "region {index}: not the oldest first");
        let resident = if gone[index] { 0 } else { size() };
        assert_eq!(region.resident().expect("a size"), resident, "region {index}");
    }
    count
}

fn left(bytes: u64) -> Reading {
    Reading { headrooms: vec![Headroom { available: bytes, limit: 1 << 40 }], stalled: false }
}

/// What the kernel says that a region's file takes up, control block included.
fn allocated(region: &Region) -> u64 {
    rustix::fs::fstat(region).expect("a file").st_blocks as u64 * 512
}

fn duplicate(region: &Region) -> std::os::fd::OwnedFd {
    region.as_fd().try_clone_to_owned().expect("a descriptor")
}

#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn a_shortage_frees_the_oldest_until_twice_the_reserve() {
    let (reclaimer, pressure) = stepwise(policy());
    let regions = unpinned(&reclaimer, 10);
    pressure.set(left(3 * size()));
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(&regions), 5, "8 sizes are twice the reserve, and 3 are left");
    pressure.set(left(8 * size()));
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(&regions), 5);
    // Several limits: the one that lacks most counts.
    let headrooms = [8, 2, 7].map(|sizes| Headroom { available: sizes * size(), limit: 1 << 40 });
    pressure.set(Reading { headrooms: headrooms.to_vec(), stalled: false });
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(&regions), 10, "all that there was");
    assert_eq!(reclaimer.run_once(), None, "nothing is left to watch");
    assert_eq!(reclaimer.metrics().shortages, 2);
}

#[test]
fn what_others_free_meanwhile_is_not_taken() {
    // More than a step is missing, and after the first one it is not any more.
    const STEP: u64 = 8 << 20;
    let part = STEP / 4;
    let (reclaimer, pressure) = stepwise(Policy::new().reserve(8 * STEP));
    let regions: Vec<Region> = (0..12)
        .map(|_| Region::options().reclaimer(&reclaimer).create("reclaimed", part).expect("a region"))
        .collect();
    for region in &regions {
        region.map().expect("mapped").fill(0, part, 1).expect("inside");
        region.unpin(..).expect("unpinned");
    }
    pressure.set(left(0));
    let handle = pressure.clone();
    reclaimer.on_purge(move |_| handle.set(left(16 * STEP)));
    assert!(reclaimer.run_once().is_some());
    // The step in which nobody looks.
    let gone = regions.iter().filter(|region| region.resident().expect("a size") == 0).count();
    assert_eq!(gone, 4);
    assert_eq!(reclaimer.metrics().shortages, 1);
}

#[test]
fn a_quiet_budget_is_looked_at_less_and_less_often() {
    let pressure = ManualPressure::new().expect("an eventfd");
    let builder = Reclaimer::builder().policy(policy().budget(4 * size())).pressure(pressure);
    // In which counting takes no time.
    let reclaimer = builder.clock(ManualClock::default()).without_thread().build();
    let mut regions = unpinned(&reclaimer, 2);
    let looks: Vec<Duration> = (0..12).map_while(|_| reclaimer.run_once()).collect();
    assert_eq!((looks[0], looks[11]), (Duration::from_millis(50), Duration::from_secs(1)));
    assert!(looks.is_sorted(), "{looks:?}");
    regions.extend(unpinned(&reclaimer, 1));
    assert_eq!(reclaimer.run_once(), Some(Duration::from_millis(50)));
}

#[test]
fn nothing_happens_far_from_the_limits() {
    let (reclaimer, pressure) = stepwise(policy());
    let regions = unpinned(&reclaimer, 3);
    for reading in [Reading::default(), left(4 * size()), left(u64::MAX)] {
        pressure.set(reading);
        assert!(reclaimer.run_once().is_some());
    }
    assert_eq!(purged(&regions), 0);
    let metrics = reclaimer.metrics();
    assert_eq!((metrics.looks, metrics.shortages, metrics.stalls, metrics.purges), (3, 0, 0, 0));
    assert!(!reclaimer.is_running());
}

#[test]
fn nothing_pinned_is_taken() {
    let (reclaimer, pressure) = stepwise(policy());
    let region = filled(&reclaimer);
    pressure.set(left(0));
    assert_eq!(reclaimer.run_once(), None);
    region.unpin(..).expect("unpinned");
    assert_eq!(region.pin(page_size()..).expect("pinned"), Contents::Intact);
    assert!(reclaimer.run_once().is_some());
    assert_eq!(region.stats().expect("healthy").purged_pages, 1);
    assert_eq!(region.map().expect("mapped").read_vec(page_size(), size() - page_size()).expect("inside"), {
        vec![1; (size() - page_size()) as usize]
    });
    assert_eq!(reclaimer.purge_all(), Freed::default());
}

#[test]
fn parts_of_regions_go_in_the_order_of_their_unpins() {
    let (reclaimer, _) = stepwise(policy());
    let regions = [filled(&reclaimer), filled(&reclaimer), filled(&reclaimer)];
    let page = page_size();
    let mut order = vec![(1, 0..5), (0, 3..20), (1, 5..30), (2, 0..PAGES), (0, 0..3), (0, 20..21)];
    for (region, pages) in &order {
        regions[*region].unpin(pages.start * page..pages.end * page).expect("unpinned");
    }
    // Again, which does not make it younger; and pinned in between, which does.
    regions[1].unpin(0..2 * page).expect("unpinned");
    let _ = regions[0].pin(3 * page..20 * page).expect("pinned");
    regions[0].unpin(3 * page..20 * page).expect("unpinned");
    let moved = order.remove(1);
    order.push(moved);
    for (region, pages) in order {
        let before = regions.each_ref().map(|region| region.stats().expect("healthy").purged_pages);
        let freed = reclaimer.reclaim(1);
        let count = pages.end - pages.start;
        assert_eq!((freed.pages, freed.bytes), (count, count * page), "{region}: {pages:?}");
        let mut expected = before;
        expected[region] += count;
        assert_eq!(regions.each_ref().map(|region| region.stats().expect("healthy").purged_pages), expected);
        let _ = regions[region].pin(pages.start * page..pages.end * page).expect("pinned");
        assert_eq!(regions[region].stats().expect("healthy").purged_pages, before[region]);
    }
    assert_eq!(reclaimer.reclaim(1), Freed::default());
}

#[test]
fn a_stall_takes_one_step_a_pause() {
    let clock = ManualClock::default();
    let pressure = ManualPressure::new().expect("an eventfd");
    let pause = Duration::from_millis(500);
    let reclaimer = Reclaimer::builder()
        .policy(policy().on_stall(2 * size(), pause))
        .pressure(pressure.clone())
        .clock(clock.clone())
        .without_thread()
        .build();
    let regions = unpinned(&reclaimer, 12);
    // Near the reserve, but not below.
    pressure.set(left(5 * size()));
    let look = |stalled: bool| {
        if stalled {
            pressure.stall();
        }
        assert!(reclaimer.run_once().is_some());
        (purged(&regions), reclaimer.metrics().stalls)
    };
    assert_eq!(look(false), (0, 0));
    assert_eq!(look(true), (2, 1));
    assert_eq!(look(true), (2, 1), "in the pause");
    clock.advance(pause - Duration::from_nanos(1));
    assert_eq!(look(true), (2, 1), "still in the pause");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(look(false), (2, 1), "a stall is told once");
    assert_eq!(look(true), (4, 2));
    // At least an eighth of what is unpinned: one of the eight that are left.
    reclaimer.set_policy(policy().on_stall(1, pause));
    clock.advance(pause);
    assert_eq!(look(true), (5, 3));
}

#[test]
fn a_stall_counts_near_a_limit_or_where_none_is_known() {
    let (reclaimer, pressure) = stepwise(policy().on_stall(size(), Duration::ZERO));
    let regions = unpinned(&reclaimer, 4);
    let look = |headrooms: Vec<Headroom>| {
        pressure.set(Reading { headrooms, stalled: true });
        assert!(reclaimer.run_once().is_some());
        purged(&regions)
    };
    assert_eq!(look(left(16 * size() + 1).headrooms), 0, "more than four reserves away");
    assert_eq!(look(left(16 * size()).headrooms), 1);
    assert_eq!(look(Vec::new()), 2);
}

#[test]
fn the_budget_is_kept_by_the_youngest() {
    let (reclaimer, _) = stepwise(policy().budget(3 * size()));
    let regions = unpinned(&reclaimer, 5);
    assert!(reclaimer.run_once().expect("unpinned") <= Duration::from_millis(50));
    assert_eq!(purged(&regions), 2);
    assert!(reclaimer.run_once().is_some());
    assert_eq!((purged(&regions), reclaimer.metrics().over_budget), (2, 1));
    reclaimer.set_policy(policy().budget(0));
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(&regions), 5);
}

#[test]
fn the_budget_counts_memory_and_not_size() {
    let (reclaimer, _) = stepwise(policy().budget(2 * size()));
    let empty: Vec<Region> = (0..20).map(|_| sparse(&reclaimer)).collect();
    for region in &empty {
        region.map().expect("mapped").write_at(0, &[1]).expect("inside");
        region.unpin(..).expect("unpinned");
    }
    let full = unpinned(&reclaimer, 1);
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(&full), 0);
    for region in empty {
        assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
    }
    assert_eq!(reclaimer.metrics().over_budget, 0);
}

#[test]
fn a_region_opened_twice_counts_once() {
    let (reclaimer, _) = stepwise(policy().budget(size()));
    let region = filled(&reclaimer);
    region.unpin(..).expect("unpinned");
    let again: Vec<Region> = (0..3)
        .map(|_| Region::from_fd_with(duplicate(&region), Region::options().reclaimer(&reclaimer)))
        .collect::<Result<_, _>>()
        .expect("regions");
    assert!(reclaimer.run_once().is_some());
    assert_eq!(purged(std::slice::from_ref(&region)), 0);
    assert_eq!(reclaimer.purge_all(), {
        let mut once = Freed::default();
        (once.pages, once.bytes) = (PAGES, size());
        once
    });
    assert!(again.iter().all(|region| region.stats().expect("healthy").purged_pages == PAGES));
}

#[test]
fn what_is_reported_is_what_the_kernel_gave_back() {
    let (reclaimer, _) = stepwise(policy());
    let regions = unpinned(&reclaimer, 3);
    let holes = sparse(&reclaimer);
    holes.map().expect("mapped").fill(page_size(), 3 * page_size(), 1).expect("inside");
    holes.unpin(..).expect("unpinned");
    let resident =
        || -> u64 { regions.iter().chain([&holes]).map(|region| region.resident().unwrap()).sum() };
    let before = resident();
    assert_eq!(before, 3 * size() + 3 * page_size());
    let first = reclaimer.reclaim(size() + 1);
    assert_eq!((first.pages, first.bytes), (2 * PAGES, 2 * size()));
    assert_eq!(resident(), before - first.bytes);
    let rest = reclaimer.purge_all();
    assert_eq!((rest.pages, rest.bytes), (2 * PAGES, before - first.bytes));
    assert_eq!(resident(), 0);
    for region in &regions {
        assert!(allocated(region) <= 2 * page_size(), "a control block at most");
    }
    let metrics = reclaimer.metrics();
    assert_eq!((metrics.purges, metrics.purged_pages, metrics.freed_bytes), (4, 4 * PAGES, before));
    assert_eq!((metrics.looks, metrics.failures, metrics.threads), (0, 0, 0));
}

#[test]
fn listeners_hear_of_every_purge_and_may_pin_and_reclaim() {
    let (reclaimer, _) = stepwise(policy());
    let events = Arc::new(Mutex::new(Vec::new()));
    let (heard, again, first) = (events.clone(), reclaimer.clone(), AtomicBool::new(true));
    reclaimer.on_purge(move |event: &PurgeEvent| {
        let id = event.region.file_id().expect("a file");
        heard.lock().unwrap().push((id, event.range.clone(), event.freed));
        assert_eq!(event.region.pin(event.range.clone()).expect("pinned"), Contents::Purged);
        if first.swap(false, Ordering::SeqCst) {
            assert_eq!(again.reclaim(1).bytes, size());
        }
    });
    let counter = reclaimer.purge_events().expect("an eventfd");
    let count = || {
        let mut count = [0; 8];
        rustix::io::read(&counter, &mut count).map(|_| u64::from_ne_bytes(count))
    };
    assert_eq!(count(), Err(rustix::io::Errno::AGAIN));
    let regions = unpinned(&reclaimer, 4);
    let freed = reclaimer.reclaim(2 * size());
    assert_eq!(freed.bytes, 2 * size());
    assert_eq!(count(), Ok(3), "two, and one by the listener");
    assert_eq!(count(), Err(rustix::io::Errno::AGAIN));
    let expected: Vec<_> =
        regions.iter().take(3).map(|region| (region.file_id().unwrap(), 0..size(), size())).collect();
    assert_eq!(*events.lock().unwrap(), expected);
    for region in &regions[..3] {
        assert_eq!(region.pin_status(..).expect("healthy"), PinStatus::Pinned);
    }
    assert_eq!(regions[3].pin(..).expect("pinned"), Contents::Intact);
    let metrics = reclaimer.metrics();
    assert_eq!((metrics.purges, metrics.purged_pages, metrics.freed_bytes), (3, 3 * PAGES, 3 * size()));
}

#[test]
fn a_panicking_listener_stops_nothing() {
    let (reclaimer, pressure) = stepwise(policy());
    let regions = unpinned(&reclaimer, 3);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    reclaimer.on_purge(move |_| assert!(counted.fetch_add(1, Ordering::SeqCst) != 0, "on purpose"));
    pressure.set(left(0));
    assert!(reclaimer.run_once().is_some());
    assert_eq!((purged(&regions), calls.load(Ordering::SeqCst)), (3, 3));
    assert_eq!(reclaimer.metrics().listener_panics, 1);
    let more = unpinned(&reclaimer, 2);
    assert_eq!(reclaimer.purge_all().bytes, 2 * size());
    assert_eq!(purged(&more), 2);
}

#[test]
fn regions_may_go_while_they_are_listed() {
    let (reclaimer, pressure) = stepwise(policy());
    for _ in 0..300 {
        drop(unpinned(&reclaimer, 1));
    }
    pressure.set(left(0));
    assert_eq!(reclaimer.run_once(), None);
    assert_eq!(reclaimer.purge_all(), Freed::default());
    let kept = unpinned(&reclaimer, 2);
    // One goes in the middle of a purge of all.
    let last = Mutex::new(Some(kept[1].clone()));
    reclaimer.on_purge(move |_| drop(last.lock().unwrap().take()));
    assert_eq!(reclaimer.purge_all().pages, 2 * PAGES);
}

#[test]
fn a_region_without_write_is_passed_over() {
    let (reclaimer, pressure) = stepwise(policy());
    let regions = unpinned(&reclaimer, 3);
    regions[0].set_protection(Protection::READ).expect("WRITE goes");
    pressure.set(left(0));
    let freed = reclaimer.reclaim(1);
    assert_eq!((freed.pages, freed.bytes), (PAGES, size()));
    assert!(reclaimer.run_once().is_some());
    assert_eq!(reclaimer.run_once(), None, "what cannot be purged need not be watched");
    assert_eq!(reclaimer.metrics().failures, 1, "tried once");
    assert_eq!(regions[0].resident().expect("a size"), size());
    assert_eq!(purged(&regions[1..]), 2);
}
