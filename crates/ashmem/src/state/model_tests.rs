//! The page words against one enum a page, also at the end of the generations.

use std::ops::Range;

use proptest::prelude::*;

use super::{Area, AreaWord, Corrupt, Counts, PAGES_PER_WORD, Select, Table, slots};
use crate::sync::{AtomicU64, Ordering};

/// An unpinned page is as old as something between two stamps: unpinning the whole region may make its pages younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Pinned,
    Unpinned { from: u64, to: u64 },
    Purged,
}

impl Page {
    fn since(stamp: u64) -> Page {
        Page::Unpinned { from: stamp, to: stamp }
    }

    fn is_unpinned(self) -> bool {
        matches!(self, Page::Unpinned { .. })
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    PinAll,
    UnpinAll,
    Pin(u64, u64),
    Unpin(u64, u64),
    Accept(u64, u64),
    AcceptAll,
    Touch(u64, u64),
    TouchAll,
    LoseAll,
    /// What is unpinned since so many operations at least, but for the pages whose bits are set (by page, modulo 64).
    Purge {
        ago: u64,
        held: u64,
    },
    /// A purger dies: when, and what of the first word it has claimed then.
    Die(Death),
}

#[derive(Clone, Copy, Debug)]
enum Death {
    Claiming,
    Taking,
    Committed,
}

fn operation() -> impl Strategy<Value = Operation> {
    let pages = || (any::<u64>(), any::<u64>());
    prop_oneof![
        3 => Just(Operation::PinAll),
        3 => Just(Operation::UnpinAll),
        3 => pages().prop_map(|(start, len)| Operation::Pin(start, len)),
        5 => pages().prop_map(|(start, len)| Operation::Unpin(start, len)),
        2 => pages().prop_map(|(start, len)| Operation::Accept(start, len)),
        1 => Just(Operation::AcceptAll),
        2 => pages().prop_map(|(start, len)| Operation::Touch(start, len)),
        1 => Just(Operation::TouchAll),
        1 => Just(Operation::LoseAll),
        2 => Just(Operation::Purge { ago: 0, held: 0 }),
        3 => (0..6u64, any::<u64>()).prop_map(|(ago, held)| Operation::Purge { ago, held }),
        1 => prop_oneof![Just(Death::Claiming), Just(Death::Taking), Just(Death::Committed)].prop_map(Operation::Die),
    ]
}

fn nobody_purges(_: u32, _: bool) -> Result<(), Corrupt> {
    panic!("somebody waits although nobody purges")
}

/// Those of `pages` that are purged, as runs.
fn purged_runs(model: &[Page], pages: Range<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for page in pages.filter(|page| model[*page as usize] == Page::Purged) {
        match runs.last_mut() {
            Some(run) if run.end == page => run.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// What a purger does until it dies, on the first word. Then somebody finishes for it, and says what is gone.
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
fn die(table: &Table<'_>, death: Death) -> Vec<u64> {
    table.mark(AreaWord::purge_begun);
    let (_, select) = table.select(0..table.pages).next().expect("a word");
    let claimed = table.claim(0, select, u64::MAX, &|_| true).expect("not corrupt");
    if !matches!(death, Death::Claiming) {
        table.mark(AreaWord::purge_taking);
    }
    if matches!(death, Death::Committed) {
        let (area, word, states) = table.read_word(0).expect("not corrupt");
        assert!(table.write_word(0, area, word, states.commit(claimed)));
    }
    assert!(table.needs_recovery());
    let mut punched = Vec::new();
    table.recover(&|_| None, |pages| punched.extend(pages));
    assert!(!table.needs_recovery());
    match death {
        Death::Committed => claimed.iter().map(u64::from).collect(),
        _ => punched,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn near_the_last_generation(
        count in 1..40u64,
        left in 0..4u64,
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let zeros = |count: u64| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (slots, page_stamps) = (zeros(slots(count)), zeros(count));
        let area = AtomicU64::new((u64::from(u32::MAX) - left) << 32);
        let area_stamp = AtomicU64::new(0);
        let table = Table {
            area: Area { word: &area, stamp: &area_stamp },
            slots: &slots,
            page_stamps: &page_stamps,
            pages: count,
        };
        let mut model = vec![Page::Pinned; count as usize];
        for (now, operation) in (1..).zip(operations) {
            let range = match operation {
                Operation::Pin(start, len)
                | Operation::Unpin(start, len)
                | Operation::Accept(start, len)
                | Operation::Touch(start, len) => start % count..(start % count + 1 + len % count).min(count),
                _ => 0..count,
            };
            let pages = &mut model[range.start as usize..range.end as usize];
            match operation {
                Operation::PinAll | Operation::Pin(..) => {
                    let told = match operation {
                        Operation::PinAll => table.pin_all(&mut nobody_purges).map(|walked| walked.purged),
                        _ => table.pin(range.clone(), &mut nobody_purges),
                    };
                    prop_assert_eq!(told, Ok(pages.contains(&Page::Purged)));
                    pages.fill(Page::Pinned);
                }
                Operation::UnpinAll | Operation::Unpin(..) => {
                    let whole = matches!(operation, Operation::UnpinAll);
                    match whole {
                        true => prop_assert!(table.unpin_all(now).is_ok()),
                        false => prop_assert!(table.unpin(range.clone(), now).is_ok()),
                    }
                    for page in pages {
                        match page {
                            Page::Pinned => *page = Page::since(now),
                            Page::Unpinned { to, .. } if whole => *to = now,
                            _ => {}
                        }
                    }
                }
                Operation::AcceptAll | Operation::Accept(..) => {
                    let told = table.accept(range.clone(), now, &mut nobody_purges);
                    prop_assert_eq!(told, Ok(pages.contains(&Page::Purged)));
                    pages.iter_mut().filter(|page| **page == Page::Purged).for_each(|page| *page = Page::since(now));
                }
                Operation::TouchAll | Operation::Touch(..) => {
                    table.touch(range.clone(), now);
                    pages.iter_mut().filter(|page| page.is_unpinned()).for_each(|page| *page = Page::since(now));
                }
                Operation::LoseAll => {
                    let is_last = table.area.load().generation() == u32::MAX;
                    table.lose_all();
                    if !is_last {
                        pages.fill(Page::Purged);
                    }
                }
                Operation::Purge { ago, held } => {
                    let cutoff = if ago == 0 { u64::MAX } else { now.saturating_sub(ago) };
                    let is_held = |page: u64| held >> (page % 64) & 1 != 0;
                    let mut shown = Vec::new();
                    let mut punched = Vec::new();
                    let spare = |first: usize, claimed: &mut [Select]| {
                        for (index, select) in (first as u64..).zip(claimed) {
                            for page in select.iter() {
                                shown.push(index * PAGES_PER_WORD + u64::from(page));
                                if is_held(index * PAGES_PER_WORD + u64::from(page)) {
                                    *select = select.without(page);
                                }
                            }
                        }
                    };
                    let punch = |pages: Range<u64>| {
                        punched.extend(pages);
                        Ok::<(), ()>(())
                    };
                    let taken = table.purge_chunk(0..count, cutoff, &|_| true, spare, punch);
                    prop_assert_eq!(taken, Ok(punched.len() as u64));
                    for (number, page) in (0..).zip(pages) {
                        let Page::Unpinned { from, to } = *page else {
                            prop_assert!(!shown.contains(&number));
                            continue;
                        };
                        prop_assert!(to > cutoff || shown.contains(&number), "page {} is old enough", number);
                        prop_assert!(from <= cutoff || !shown.contains(&number), "page {} is too young", number);
                        let gone = shown.contains(&number) && !is_held(number);
                        prop_assert_eq!(punched.contains(&number), gone, "page {}", number);
                        if gone {
                            *page = Page::Purged;
                        }
                    }
                }
                Operation::Die(death) => {
                    let gone = die(&table, death);
                    let first = pages.iter_mut().zip(0..PAGES_PER_WORD).filter(|(page, _)| page.is_unpinned());
                    for (page, number) in first {
                        let goes = !matches!(death, Death::Claiming);
                        prop_assert_eq!(gone.contains(&number), goes);
                        if goes {
                            *page = Page::Purged;
                        }
                    }
                }
            }
            let of = |state: fn(Page) -> bool| model.iter().filter(|page| state(**page)).count() as u64;
            let expected = Counts {
                pinned: of(|page| page == Page::Pinned),
                unpinned: of(Page::is_unpinned),
                purged: of(|page| page == Page::Purged),
                ..Counts::default()
            };
            prop_assert_eq!(table.counts(0..count, &|_| None), Ok(expected));
            // Of the whole, and of what the operation was about.
            for part in [0..count, range] {
                let runs = purged_runs(&model, part.clone());
                prop_assert_eq!(table.is_any_purged(part.clone(), &mut nobody_purges), Ok(!runs.is_empty()));
                prop_assert_eq!(table.purged_runs(part, &mut nobody_purges), Ok::<_, Corrupt>(runs));
            }
            if table.area.load().is_all_unpinned() {
                prop_assert_eq!(expected.unpinned, count);
            }
            let now = AreaWord(area.load(Ordering::Relaxed));
            prop_assert!(now.generation() >= u32::MAX - left as u32, "a generation came twice");
        }
    }
}

#[test]
fn words_from_the_future_are_corrupt() {
    let area = AtomicU64::new(0);
    let slots = [const { AtomicU64::new(1 << 32) }; 8];
    let table = Table {
        area: Area { word: &area, stamp: &AtomicU64::new(0) },
        slots: &slots,
        page_stamps: &[],
        pages: 3,
    };
    assert_eq!(table.pin(0..3, &mut nobody_purges), Err(Corrupt));
    assert_eq!(table.unpin(0..3, 1), Err(Corrupt));
    assert_eq!(
        table.purge_chunk(0..3, u64::MAX, &|_| true, |_, _| {}, |_| Ok::<(), ()>(())),
        Err(super::Fault::Corrupt(Corrupt))
    );
}
