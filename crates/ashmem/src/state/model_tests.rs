//! The page words against one enum a page, also at the end of the generations.

use proptest::prelude::*;

use super::{Area, AreaWord, Corrupt, Counts, Table, slots};
use crate::sync::AtomicU64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Pinned,
    Unpinned,
    Purged,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    PinAll,
    UnpinAll,
    Pin(u64, u64),
    Unpin(u64, u64),
    Purge,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::PinAll),
        Just(Operation::UnpinAll),
        (any::<u64>(), any::<u64>()).prop_map(|(start, len)| Operation::Pin(start, len)),
        (any::<u64>(), any::<u64>()).prop_map(|(start, len)| Operation::Unpin(start, len)),
        Just(Operation::Purge),
    ]
}

fn nobody_purges(_: u32, _: bool) -> Result<(), Corrupt> {
    panic!("a pin waits although nobody purges")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

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
        for operation in operations {
            let (start, end) = match operation {
                Operation::Pin(start, len) | Operation::Unpin(start, len) => {
                    (start % count, (start % count + 1 + len % count).min(count))
                }
                _ => (0, count),
            };
            let pages = &mut model[start as usize..end as usize];
            match operation {
                Operation::PinAll | Operation::Pin(..) => {
                    let told = match operation {
                        Operation::PinAll => table.pin_all(&mut nobody_purges).map(|walked| walked.purged),
                        _ => table.pin(start..end, &mut nobody_purges),
                    };
                    prop_assert_eq!(told, Ok(pages.contains(&Page::Purged)));
                    pages.fill(Page::Pinned);
                }
                Operation::UnpinAll | Operation::Unpin(..) => {
                    match operation {
                        Operation::UnpinAll => prop_assert!(table.unpin_all(1).is_ok()),
                        _ => prop_assert!(table.unpin(start..end, 1).is_ok()),
                    }
                    for page in pages.iter_mut().filter(|page| **page == Page::Pinned) {
                        *page = Page::Unpinned;
                    }
                }
                Operation::Purge => {
                    let taken = table.purge_chunk(0..count, u64::MAX, &|_| true, |_, _| {}, |_| Ok::<(), ()>(()));
                    let unpinned = pages.iter_mut().filter(|page| **page == Page::Unpinned);
                    let expected = unpinned.map(|page| *page = Page::Purged).count() as u64;
                    prop_assert_eq!(taken, Ok(expected));
                }
            }
            let of = |state| model.iter().filter(|page| **page == state).count() as u64;
            let expected = Counts { pinned: of(Page::Pinned), unpinned: of(Page::Unpinned), purged: of(Page::Purged), ..Counts::default() };
            prop_assert_eq!(table.counts(0..count, &|_| None), Ok(expected));
            let now = AreaWord(area.load(std::sync::atomic::Ordering::Relaxed));
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
