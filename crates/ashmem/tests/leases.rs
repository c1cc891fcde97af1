//! Leases and pin guards of one process: what they keep, and when they end.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ashmem::{Contents, Error, PinStatus, Reclaimer, Region, RegionOptions, page_size};

/// With a reclaimer that has no thread, which would look at regions while they go.
fn quiet() -> RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn region(pages: u64) -> Region {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let region =
        Region::options().reclaimer(&reclaimer).create("leases", pages * page_size()).expect("a region");
    region.map().expect("mapped").fill(0, region.size(), 1).expect("written");
    region
}

/// The same region as another process would have it: with a description, a slot and locks of its own.
fn peer(region: &Region) -> Region {
    Region::from_fd_with(region.share_read_write().expect("reopened"), quiet()).expect("a region")
}

fn reader(region: &Region) -> Region {
    Region::from_fd_with(region.share_read_only().expect("reopened"), quiet()).expect("a region")
}

fn present(region: &Region) -> Vec<u64> {
    let mapping = region.map_read_only().expect("mapped");
    let pages = region.size() / page_size();
    (0..pages).filter(|page| mapping.read_vec(page * page_size(), 1).expect("inside") == [1]).collect()
}

fn bytes(pages: std::ops::Range<u64>) -> std::ops::Range<u64> {
    pages.start * page_size()..pages.end * page_size()
}

#[test]
fn a_purge_takes_what_is_not_leased() {
    for read_only in [false, true] {
        let region = region(100);
        region.unpin(..).expect("unpinned");
        let other = if read_only { reader(&region) } else { peer(&region) };
        let lease = other.lease(bytes(5..20)).expect("leased");
        let second = other.lease(bytes(18..33)).expect("leased");
        assert_eq!((lease.contents(), lease.range()), (Contents::Intact, bytes(5..20)));
        assert_eq!(region.purge().expect("purged"), 72 * page_size());
        assert_eq!(present(&region), (5..33).collect::<Vec<_>>());
        drop(lease);
        assert_eq!(region.purge().expect("purged"), 13 * page_size());
        assert_eq!(present(&region), (18..33).collect::<Vec<_>>());
        drop(second);
        assert_eq!(region.purge().expect("purged"), 15 * page_size());
        assert_eq!(other.lease(..).expect("leased").contents(), Contents::Purged);
    }
}

#[test]
fn a_whole_region_and_a_large_part() {
    for read_only in [false, true] {
        for range in [0..3000, 7..2990] {
            let region = region(3000);
            region.unpin(..).expect("unpinned");
            let other = if read_only { reader(&region) } else { peer(&region) };
            let lease = other.lease(bytes(range.clone())).expect("leased");
            region.purge().expect("purged");
            assert_eq!(present(&region), range.clone().collect::<Vec<_>>());
            drop(lease);
            region.purge().expect("purged");
            assert_eq!(present(&region), []);
        }
    }
}

#[test]
fn leases_nest_in_one_process() {
    let region = region(2000);
    region.unpin(..).expect("unpinned");
    for other in [peer(&region), reader(&region)] {
        let outer = other.lease(bytes(0..1900)).expect("leased");
        for _ in 0..3 {
            let inner = other.lease(bytes(100..200)).expect("leased");
            drop(inner);
            region.purge().expect("purged");
            assert_eq!(present(&region), (0..1900).collect::<Vec<_>>());
        }
        drop(outer);
    }
}

#[test]
fn a_lease_comes_before_the_control_block() {
    let region = region(10);
    let other = reader(&region);
    let lease = other.lease(bytes(2..4)).expect("leased");
    assert_eq!(lease.contents(), Contents::Intact);
    let third = peer(&region);
    region.unpin(..).expect("unpinned");
    region.purge().expect("purged");
    assert_eq!(present(&third), [2, 3]);
}

#[test]
fn leased_pages_are_still_unpinned_and_a_pin_finds_them() {
    let region = region(4);
    region.unpin(..).expect("unpinned");
    let other = peer(&region);
    let lease = other.lease(..).expect("leased");
    region.purge().expect("purged");
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);
    region.unpin(..).expect("unpinned");
    drop(lease);
    region.purge().expect("purged");
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

#[test]
fn more_processes_than_slots() {
    let region = region(40);
    region.unpin(..).expect("unpinned");
    let peers: Vec<Region> = (0..20).map(|_| peer(&region)).collect();
    let mut leases: Vec<_> = peers.iter().map(|peer| peer.lease(..).expect("leased")).collect();
    while let Some(lease) = leases.pop() {
        region.purge().expect("purged");
        assert_eq!(present(&region).len(), 40, "{} leases", leases.len() + 1);
        drop(lease);
    }
    region.purge().expect("purged");
    assert_eq!(present(&region), []);
}

#[test]
fn what_a_forgotten_lease_leaves_is_cleaned_up() {
    let region = region(40);
    region.unpin(..).expect("unpinned");
    for _ in 0..40 {
        let dead = peer(&region);
        std::mem::forget(dead.lease(..).expect("leased"));
        std::mem::forget(dead.lease(bytes(3..30)).expect("leased"));
        drop(dead);
    }
    region.purge().expect("purged");
    assert_eq!(present(&region), []);
    let live = peer(&region);
    let lease = live.lease(..).expect("a slot is free");
    assert_eq!(lease.contents(), Contents::Purged);
}

#[test]
fn a_guard_pins_until_the_last_one_goes() {
    let region = region(64);
    let outer = region.pin_guard(..).expect("pinned");
    let other = peer(&region);
    for _ in 0..3 {
        drop(region.pin_guard(..).expect("pinned"));
        drop(region.pin_guard(bytes(3..9)).expect("pinned"));
        drop(other.pin_guard(..).expect("pinned"));
        // Somebody else's flags do not count.
        other.unpin(..).expect("unpinned");
        other.purge().expect("purged");
        assert_eq!(present(&region).len(), 64);
        assert_eq!(region.pin_status(..).expect("a status"), PinStatus::Pinned);
        assert_eq!(region.stats().expect("counted").pinned_pages, 64);
    }
    drop(outer);
    assert_eq!(region.pin_status(..).expect("a status"), PinStatus::Unpinned);
    other.purge().expect("purged");
    assert_eq!(present(&region), []);
}

#[test]
fn a_guard_of_a_range_pins_that() {
    let region = region(64);
    let guard = region.pin_guard(bytes(10..12)).expect("pinned");
    region.unpin(..).expect("unpinned");
    assert_eq!(region.stats().expect("counted").pinned_pages, 2);
    region.purge().expect("purged");
    assert_eq!(present(&region), [10, 11]);
    assert_eq!((guard.range(), guard.len()), (bytes(10..12), 2 * page_size()));
    guard.write_at(0, b"x").expect("inside");
    assert!(guard.write_at(2 * page_size(), b"x").is_err());
    assert_eq!(region.map().expect("mapped").read_vec(10 * page_size(), 1).expect("read"), b"x");
    let other = region.pin_guard(bytes(9..11)).expect("pinned");
    assert_eq!(other.contents(), Contents::Purged);
    drop(other);
    let other = region.pin_guard(bytes(9..11)).expect("pinned");
    assert_eq!(other.contents(), Contents::Intact, "told once");
}

#[test]
fn guards_unpin_what_was_never_unpinned() {
    let region = region(64);
    drop(region.pin_guard(bytes(10..12)).expect("pinned"));
    assert_eq!(region.purge().expect("purged"), 2 * page_size());
    drop(region.pin_guard(..).expect("pinned"));
    assert_eq!(region.purge().expect("purged"), 64 * page_size());
    let guard = region.pin_guard(..).expect("pinned");
    assert_eq!(guard.contents(), Contents::Purged);
    drop(guard);
    assert_eq!(region.pin_guard(..).expect("pinned").contents(), Contents::Intact);
}

#[test]
fn a_lease_that_outlives_a_guard_pins_nothing() {
    let region = region(64);
    for range in [0..64, 3..9] {
        let guard = region.pin_guard(bytes(range.clone())).expect("pinned");
        let lease = region.lease(..).expect("leased");
        drop(guard);
        drop(lease);
        let pages = (range.end - range.start) * page_size();
        assert_eq!(region.purge().expect("purged"), pages);
        let _ = region.pin(..).expect("pinned");
    }
}

#[test]
fn pages_leased_by_a_lock_count_as_pinned() {
    let region = region(3000);
    region.unpin(..).expect("unpinned");
    let reader = reader(&region);
    let leases = [bytes(7..9), bytes(1500..1600)].map(|range| reader.lease(range).expect("leased"));
    let stats = region.stats().expect("counted");
    assert_eq!((stats.pinned_pages, stats.unpinned_pages), (102, 2898));
    assert_eq!(region.pin_status(bytes(1510..1520)).expect("a status"), PinStatus::Pinned);
    assert_eq!(reader.pin_status(bytes(6..9)).expect("a status"), PinStatus::Unpinned);
    drop(leases);
    assert_eq!(region.stats().expect("counted").pinned_pages, 0);
}

/// Pages made young one by one are still found by who wants all.
#[test]
fn young_pages_of_a_region_unpinned_by_one_call_are_reclaimed() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let size = 5000 * page_size();
    let region = Region::options().reclaimer(&reclaimer).populate().create("young", size).expect("a region");
    region.unpin(..).expect("unpinned");
    for range in [bytes(3..4), bytes(4000..4100)] {
        drop(region.pin_guard(range).expect("pinned"));
    }
    // In the order of their ages: the rest, the first page, the others.
    for (pages, left) in [(4899, 101), (1, 100), (100, 0)] {
        assert_eq!(reclaimer.reclaim(pages * page_size()).pages, pages);
        assert_eq!(region.stats().expect("counted").unpinned_pages, left);
    }
}

#[test]
fn the_end_of_a_guard_makes_its_pages_young() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let regions: Vec<Region> =
        (0..3).map(|_| options.create("age", 4 * page_size()).expect("a region")).collect();
    for region in &regions {
        region.map().expect("mapped").fill(0, region.size(), 1).expect("written");
        region.unpin(..).expect("unpinned");
    }
    drop(regions[0].pin_guard(..).expect("pinned"));
    let held = regions[1].pin_guard(..).expect("pinned");
    reclaimer.reclaim(1);
    assert_eq!(regions.iter().map(|region| present(region).len()).collect::<Vec<_>>(), [4, 4, 0]);
    reclaimer.reclaim(1);
    assert_eq!(regions.iter().map(|region| present(region).len()).collect::<Vec<_>>(), [0, 4, 0]);
    assert_eq!(reclaimer.purge_all().pages, 0);
    drop(held);
    assert_eq!(reclaimer.purge_all().pages, 4);
}

#[test]
fn a_read_only_descriptor_leases_and_does_not_guard() {
    let region = region(4);
    region.unpin(..).expect("unpinned");
    let reader = reader(&region);
    assert!(matches!(reader.pin_guard(..), Err(Error::ReadOnly { .. })));
    assert!(matches!(region.pin_guard(1..2), Err(Error::RangeMisaligned { .. })));
    assert!(matches!(region.lease(bytes(3..5)), Err(Error::RangeOutOfBounds { .. })));
}

#[test]
fn frozen_after_guards() {
    let region = region(4);
    drop(region.pin_guard(..).expect("pinned"));
    assert_eq!(region.freeze().expect("nothing is in the way").len() as u64, 4 * page_size());
}

/// Regions that somebody leases are passed over, however many old pieces they are in.
#[test]
fn a_lease_on_the_oldest_does_not_stop_the_reclaimer() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let pieces = options.create("pieces", 40_000 * page_size()).expect("a region");
    for piece in 0..20_000 {
        pieces.unpin(bytes(2 * piece..2 * piece + 1)).expect("unpinned");
    }
    let young = options.create("young", 100 * page_size()).expect("a region");
    young.map().expect("mapped").fill(0, young.size(), 1).expect("written");
    young.unpin(..).expect("unpinned");
    let reader = reader(&pieces);
    let lease = reader.lease(..).expect("leased");
    assert_eq!(reclaimer.purge_all().pages, 100);
    assert_eq!(present(&young), []);
    drop(lease);
    assert_eq!(reclaimer.purge_all().pages, 20_000);
}

/// The reclaimer learns of a region although a lease outlives the guard that unpinned it.
#[test]
fn a_guard_that_ends_inside_of_a_lease_is_noticed() {
    let reclaimer = Reclaimer::builder().without_thread().build();
    for pages in [0..4, 1..2] {
        let region =
            Region::options().reclaimer(&reclaimer).create("inside", 4 * page_size()).expect("a region");
        let guard = region.pin_guard(bytes(pages.clone())).expect("pinned");
        let lease = region.lease(bytes(pages.clone())).expect("leased");
        drop(guard);
        drop(lease);
        assert_eq!(reclaimer.purge_all().pages, pages.end - pages.start);
    }
}
