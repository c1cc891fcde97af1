//! Random leases, guards, pins, unpins and purges by several handles of one region, as several processes have them, against a
//! reference that keeps a state, a byte and the number of holds of every page.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::ops::Range;

use ashmem::{Contents, Lease, Mapping, PinGuard, PinStatus, Reclaimer, Region, page_size};
use proptest::prelude::*;

/// The last of the handles is read-only.
const HANDLES: usize = 3;
const READER: usize = HANDLES - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pinned,
    Unpinned,
    Purged,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    state: State,
    byte: u8,
    /// Leases and guards that hold it.
    holds: u32,
}

#[derive(Clone, Debug)]
enum Operation {
    Lease(Pages),
    Guard(Pages),
    /// One of those that live.
    Drop(prop::sample::Index),
    /// A lease that nobody drops: it ends with its handle.
    Forget(Pages),
    Pin(Pages),
    Unpin(Pages),
    Write(u64, u8),
    Purge,
    PurgeAll,
}

/// A range of pages, or the whole region.
#[derive(Clone, Copy, Debug)]
enum Pages {
    All,
    Some(u64, u64),
}

impl Pages {
    fn of(self, count: u64) -> Range<u64> {
        match self {
            Pages::All => 0..count,
            Pages::Some(start, len) => start % count..(start % count + 1 + len % count).min(count),
        }
    }
}

fn pages() -> impl Strategy<Value = Pages> {
    prop_oneof![
        1 => Just(Pages::All),
        3 => (any::<u64>(), any::<u64>()).prop_map(|(start, len)| Pages::Some(start, len)),
        2 => (any::<u64>(), 0..3u64).prop_map(|(start, len)| Pages::Some(start, len)),
    ]
}

fn operation() -> impl Strategy<Value = (usize, Operation)> {
    let operation = prop_oneof![
        5 => pages().prop_map(Operation::Lease),
        5 => pages().prop_map(Operation::Guard),
        8 => any::<prop::sample::Index>().prop_map(Operation::Drop),
        1 => pages().prop_map(Operation::Forget),
        3 => pages().prop_map(Operation::Pin),
        6 => pages().prop_map(Operation::Unpin),
        4 => (any::<u64>(), 1..=u8::MAX).prop_map(|(page, value)| Operation::Write(page, value)),
        5 => Just(Operation::Purge),
        1 => Just(Operation::PurgeAll),
    ];
    (0..HANDLES, operation)
}

/// What is held, and of which pages.
enum Held<'a> {
    Lease(#[allow(dead_code, reason = "held for its drop")] Lease<'a>, Range<u64>),
    Guard(PinGuard<'a>, Range<u64>),
}

struct Model {
    pages: Vec<Page>,
}

impl Model {
    fn of(&mut self, range: &Range<u64>) -> &mut [Page] {
        &mut self.pages[range.start as usize..range.end as usize]
    }

    fn contents(&mut self, range: &Range<u64>) -> Contents {
        match self.of(range).iter().any(|page| page.state == State::Purged) {
            true => Contents::Purged,
            false => Contents::Intact,
        }
    }

    fn hold(&mut self, range: &Range<u64>) {
        self.of(range).iter_mut().for_each(|page| page.holds += 1);
    }

    /// A guard takes note of what is purged.
    fn accept(&mut self, range: &Range<u64>) {
        for page in self.of(range).iter_mut().filter(|page| page.state == State::Purged) {
            page.state = State::Unpinned;
        }
    }

    fn unpin(&mut self, range: &Range<u64>) {
        for page in self.of(range).iter_mut().filter(|page| page.state == State::Pinned) {
            page.state = State::Unpinned;
        }
    }

    fn purge(&mut self) -> u64 {
        let mut taken = 0;
        for page in self.pages.iter_mut().filter(|page| page.state == State::Unpinned && page.holds == 0) {
            (page.state, page.byte) = (State::Purged, 0);
            taken += 1;
        }
        taken
    }

    /// Pages that may go, that are purged, and the others.
    fn counts(&self) -> (u64, u64, u64) {
        let count = |of: fn(&Page) -> bool| self.pages.iter().filter(|page| of(page)).count() as u64;
        let unpinned = count(|page| page.state == State::Unpinned && page.holds == 0);
        let purged = count(|page| page.state == State::Purged);
        (unpinned, purged, self.pages.len() as u64 - unpinned - purged)
    }
}

/// In bytes.
fn bytes(range: &Range<u64>) -> Range<u64> {
    range.start * page_size()..range.end * page_size()
}

fn check(count: u64, operations: Vec<(usize, Operation)>) -> Result<(), TestCaseError> {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let first = options.clone().create("model", count * page_size()).expect("a region");
    let mapping = first.map().expect("mapped");
    let handles: Vec<Region> = (0..HANDLES)
        .map(|handle| {
            let fd = if handle == READER { first.share_read_only() } else { first.share_read_write() };
            Region::from_fd_with(fd.expect("reopened"), options.clone()).expect("a region")
        })
        .collect();
    let mut model = Model { pages: vec![Page { state: State::Pinned, byte: 0, holds: 0 }; count as usize] };
    let mut held: Vec<Held<'_>> = Vec::new();
    for (handle, operation) in operations {
        let region = &handles[handle];
        let writable = if handle == READER { &handles[0] } else { region };
        match operation {
            Operation::Lease(pages) => {
                let range = pages.of(count);
                let lease = match pages {
                    Pages::All => region.lease(..),
                    Pages::Some(..) => region.lease(bytes(&range)),
                };
                let lease = lease.expect("leased");
                prop_assert_eq!((lease.contents(), lease.range()), (model.contents(&range), bytes(&range)));
                model.hold(&range);
                held.push(Held::Lease(lease, range));
            }
            Operation::Guard(pages) => {
                let range = pages.of(count);
                let guard = match pages {
                    Pages::All => writable.pin_guard(..),
                    Pages::Some(..) => writable.pin_guard(bytes(&range)),
                };
                let guard = guard.expect("pinned");
                prop_assert_eq!((guard.contents(), guard.range()), (model.contents(&range), bytes(&range)));
                model.hold(&range);
                model.accept(&range);
                model.unpin(&range);
                held.push(Held::Guard(guard, range));
            }
            Operation::Drop(which) if !held.is_empty() => {
                let (Held::Lease(_, range) | Held::Guard(_, range)) =
                    held.swap_remove(which.index(held.len()));
                model.of(&range).iter_mut().for_each(|page| page.holds -= 1);
            }
            Operation::Drop(_) => {}
            Operation::Forget(pages) => {
                let fd = if handle == READER { first.share_read_only() } else { first.share_read_write() };
                // No reclaimer's thread looks at it when it goes.
                let dead = Region::from_fd_with(fd.expect("reopened"), options.clone()).expect("a region");
                std::mem::forget(dead.lease(bytes(&pages.of(count))).expect("leased"));
            }
            Operation::Pin(pages) => {
                let range = pages.of(count);
                let contents = writable.pin(bytes(&range)).expect("pinned");
                prop_assert_eq!(contents, model.contents(&range));
                model.of(&range).iter_mut().for_each(|page| page.state = State::Pinned);
            }
            Operation::Unpin(pages) => {
                let range = pages.of(count);
                writable.unpin(bytes(&range)).expect("unpinned");
                model.unpin(&range);
            }
            Operation::Write(page, value) => {
                let page = page % count;
                // Through a guard on it, if there is one.
                let of_guard = held.iter().find_map(|held| match held {
                    Held::Guard(guard, range) if range.contains(&page) => Some((guard, page - range.start)),
                    _ => None,
                });
                match of_guard {
                    Some((guard, page)) => guard.write_at(page * page_size(), &[value]).expect("inside"),
                    None => mapping.write_at(page * page_size(), &[value]).expect("inside"),
                }
                model.pages[page as usize].byte = value;
            }
            Operation::Purge => {
                prop_assert_eq!(writable.purge().expect("purged"), model.purge() * page_size());
            }
            Operation::PurgeAll => {
                // It knows the region by every handle that something was unpinned through.
                prop_assert_eq!(reclaimer.purge_all().pages, model.purge());
            }
        }
        compare(&handles, &mapping, &model)?;
    }
    drop(held);
    Ok(())
}

fn compare(handles: &[Region], mapping: &Mapping, model: &Model) -> Result<(), TestCaseError> {
    for (number, page) in (0..).zip(&model.pages) {
        let byte = mapping.read_vec(number * page_size(), 1).expect("inside");
        prop_assert_eq!(byte, [page.byte], "page {}: {:?}", number, page);
    }
    for region in handles {
        let stats = region.stats().expect("counted");
        let counts = (stats.unpinned_pages, stats.purged_pages, stats.pinned_pages);
        prop_assert_eq!(counts, model.counts());
        let all_pinned = counts.2 == model.pages.len() as u64;
        let status = if all_pinned { PinStatus::Pinned } else { PinStatus::Unpinned };
        prop_assert_eq!(region.pin_status(..).expect("a status"), status);
    }
    Ok(())
}

/// Failing cases are printed; they are not kept beside the test.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Small regions: every operation meets every state.
    #[test]
    fn small(count in 1..5u64, operations in prop::collection::vec(operation(), 1..60)) {
        check(count, operations)?;
    }

    /// Several words, with ends in the middle of them.
    #[test]
    fn several_words(count in 15..200u64, operations in prop::collection::vec(operation(), 1..40)) {
        check(count, operations)?;
    }
}

proptest! {
    #![proptest_config(cases(40))]

    /// More pages than are counted one by one, and than a purge takes at a time.
    #[test]
    fn large(count in 1000..2200u64, operations in prop::collection::vec(operation(), 1..25)) {
        check(count, operations)?;
    }
}
