//! Random operations by several handles of one region, against a reference that keeps one enum and one byte a page.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::fd::AsFd;

use ashmem::{Contents, Mapping, PinStatus, Reclaimer, Region, page_size};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Pinned,
    Unpinned,
    Purged,
}

#[derive(Clone, Debug)]
enum Operation {
    Pin(Pages),
    Unpin(Pages),
    Status(Pages),
    Write(u64, u8),
    Purge,
    PurgeAll,
    /// A handle goes, and another is made of the descriptor.
    Reopen,
}

/// A range of pages, or the whole region.
#[derive(Clone, Copy, Debug)]
enum Pages {
    All,
    Some(u64, u64),
}

impl Pages {
    fn of(self, count: u64) -> std::ops::Range<u64> {
        match self {
            Pages::All => 0..count,
            Pages::Some(start, len) => {
                let start = start % count;
                start..(start + 1 + len % count).min(count)
            }
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
        6 => pages().prop_map(Operation::Pin),
        8 => pages().prop_map(Operation::Unpin),
        3 => pages().prop_map(Operation::Status),
        6 => (any::<u64>(), 1..=u8::MAX).prop_map(|(page, value)| Operation::Write(page, value)),
        2 => Just(Operation::Purge),
        1 => Just(Operation::PurgeAll),
        1 => Just(Operation::Reopen),
    ];
    (0..3usize, operation)
}

struct Model {
    pages: Vec<Page>,
    contents: Vec<u8>,
}

impl Model {
    fn pin(&mut self, range: std::ops::Range<u64>) -> Contents {
        let mut answer = Contents::Intact;
        for page in &mut self.pages[range.start as usize..range.end as usize] {
            if *page == Page::Purged {
                answer = Contents::Purged;
            }
            *page = Page::Pinned;
        }
        answer
    }

    fn unpin(&mut self, range: std::ops::Range<u64>) {
        for page in &mut self.pages[range.start as usize..range.end as usize] {
            if *page == Page::Pinned {
                *page = Page::Unpinned;
            }
        }
    }

    fn purge(&mut self) -> u64 {
        let mut taken = 0;
        for (page, contents) in self.pages.iter_mut().zip(&mut self.contents) {
            if *page == Page::Unpinned {
                *page = Page::Purged;
                *contents = 0;
                taken += 1;
            }
        }
        taken
    }

    fn count(&self, state: Page) -> u64 {
        self.pages.iter().filter(|page| **page == state).count() as u64
    }
}

/// Bytes of a range of pages; now and then in another spelling of the same.
fn bytes(range: &std::ops::Range<u64>, size: u64) -> std::ops::Range<u64> {
    let end = range.end * page_size();
    range.start * page_size()..if end > size { size } else { end }
}

fn check(count: u64, tail: u64, operations: Vec<(usize, Operation)>) -> Result<(), TestCaseError> {
    let size = count * page_size() - tail % page_size();
    let reclaimer = Reclaimer::builder().without_thread().build();
    let first = Region::options().reclaimer(&reclaimer).create("model", size).expect("a region");
    let mapping = first.map().expect("mapped");
    let again = |region: &Region| {
        let fd = region.as_fd().try_clone_to_owned().expect("a descriptor");
        Region::from_fd_with(fd, Region::options().reclaimer(&reclaimer)).expect("a region")
    };
    let mut handles = vec![first.clone(), again(&first), first.clone()];
    let mut model = Model { pages: vec![Page::Pinned; count as usize], contents: vec![0; count as usize] };
    for (handle, operation) in operations {
        let region = &handles[handle];
        match operation {
            Operation::Pin(pages) => {
                let range = pages.of(count);
                let answer = match pages {
                    Pages::All => region.pin(..),
                    Pages::Some(..) => region.pin(bytes(&range, size)),
                };
                prop_assert_eq!(answer.expect("pinned"), model.pin(range.clone()));
            }
            Operation::Unpin(pages) => {
                let range = pages.of(count);
                let answer = match pages {
                    Pages::All => region.unpin(..),
                    Pages::Some(..) => region.unpin(bytes(&range, size)),
                };
                answer.expect("unpinned");
                model.unpin(range);
            }
            Operation::Status(pages) => {
                let range = pages.of(count);
                let status = region.pin_status(bytes(&range, size)).expect("a status");
                let pinned = model.pages[range.start as usize..range.end as usize]
                    .iter()
                    .all(|page| *page == Page::Pinned);
                prop_assert_eq!(status, if pinned { PinStatus::Pinned } else { PinStatus::Unpinned });
            }
            Operation::Write(page, value) => {
                let page = page % count;
                mapping.write_at(page * page_size(), &[value]).expect("inside");
                model.contents[page as usize] = value;
            }
            Operation::Purge => {
                prop_assert_eq!(region.purge().expect("purged"), model.purge() * page_size());
            }
            Operation::PurgeAll => {
                // A reclaimer knows a region only once it was unpinned through one of its handles; all of them are its.
                let freed = reclaimer.purge_all();
                prop_assert_eq!(freed.pages, model.purge());
            }
            Operation::Reopen => handles[handle] = again(&first),
        }
        compare(&handles, &mapping, &model)?;
    }
    Ok(())
}

fn compare(handles: &[Region], mapping: &Mapping, model: &Model) -> Result<(), TestCaseError> {
    for (page, value) in model.contents.iter().enumerate() {
        prop_assert_eq!(
            mapping.read_vec(page as u64 * page_size(), 1).expect("inside"),
            [*value],
            "page {}",
            page
        );
    }
    for region in handles {
        let stats = region.stats().expect("stats");
        prop_assert_eq!(stats.pinned_pages, model.count(Page::Pinned));
        prop_assert_eq!(stats.unpinned_pages, model.count(Page::Unpinned));
        prop_assert_eq!(stats.purged_pages, model.count(Page::Purged));
    }
    Ok(())
}

/// Failing cases are printed; they are not kept beside the test.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Small regions: every operation meets every state.
    #[test]
    fn small(count in 1..5u64, tail in any::<u64>(), operations in prop::collection::vec(operation(), 1..80)) {
        check(count, tail, operations)?;
    }

    /// Many words a region, so that they go in pairs, with ends in the middle of words.
    #[test]
    fn several_words(count in 15..700u64, tail in any::<u64>(), operations in prop::collection::vec(operation(), 1..40)) {
        check(count, tail, operations)?;
    }
}

/// Reclaiming in part: the pages that go are those that were unpinned longest ago, in runs unpinned by one call.
fn check_order(regions: usize, count: u64, steps: Vec<(usize, Step)>) -> Result<(), TestCaseError> {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer).populate();
    let all: Vec<Region> =
        (0..regions).map(|_| options.create("order", count * page_size()).expect("a region")).collect();
    // When each page was unpinned; None while it is pinned.
    let mut ages = vec![vec![None; count as usize]; regions];
    let mut clock = 0u64;
    for (region, step) in steps {
        let region = region % regions;
        let ages_here = &mut ages[region];
        clock += 1;
        match step {
            Step::Unpin(pages) => {
                let range = pages.of(count);
                all[region].unpin(bytes(&range, u64::MAX)).expect("unpinned");
                // The whole region becomes one run, unless it is one already.
                let whole =
                    range == (0..count) && ages_here.iter().any(|age| age.is_none() || *age != ages_here[0]);
                for age in &mut ages_here[range.start as usize..range.end as usize] {
                    if age.is_none() || whole {
                        *age = Some(clock);
                    }
                }
            }
            Step::Pin(pages) => {
                let range = pages.of(count);
                prop_assert_eq!(all[region].pin(bytes(&range, u64::MAX)).expect("pinned"), Contents::Intact);
                ages_here[range.start as usize..range.end as usize].fill(None);
            }
        }
    }
    // Runs by age, then by place.
    let mut runs: Vec<(u64, usize, u64, u64)> = Vec::new();
    for (region, ages) in ages.iter().enumerate() {
        for (page, age) in ages.iter().enumerate() {
            let (Some(age), page) = (*age, page as u64) else { continue };
            match runs.last_mut() {
                Some(run) if run.0 == age && run.1 == region && run.3 == page => run.3 += 1,
                _ => runs.push((age, region, page, page + 1)),
            }
        }
    }
    runs.sort_unstable();
    let total: u64 = runs.iter().map(|run| run.3 - run.2).sum();
    let wanted = total / 2;
    let freed = reclaimer.reclaim(wanted * page_size());
    let mut expected = 0;
    for (_, region, first, end) in runs {
        let range = first * page_size()..end * page_size();
        let purged = all[region].pin(range).expect("pinned").is_purged();
        prop_assert_eq!(purged, expected < wanted, "pages {}..{} of region {}", first, end, region);
        if expected < wanted {
            expected += end - first;
        }
    }
    prop_assert_eq!(freed.pages, expected);
    prop_assert_eq!(freed.bytes, expected * page_size());
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Pin(Pages),
    Unpin(Pages),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![2 => pages().prop_map(Step::Unpin), 1 => pages().prop_map(Step::Pin)];
    (any::<usize>(), step)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn oldest_first(
        regions in 1..5usize,
        count in 1..70u64,
        steps in prop::collection::vec(step(), 1..50),
    ) {
        check_order(regions, count, steps)?;
    }
}
