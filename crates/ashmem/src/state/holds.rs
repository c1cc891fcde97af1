//! Holds: pages that a process reads just now and that no purge may take, counted for each process that holds some.
//!
//! A process has a *slot*: a count for the whole region, and a row of counts for its pages, eight pages in a word. Only it
//! changes them; that it lives is a matter of a lock outside of this module. A hold is taken in two steps, and so is a page, so
//! that one of the two notices the other:
//!
//! ```text
//!   holder:  count up,              then read the pages' states (waits while one is PURGING)
//!   purger:  pages become PURGING,  then read the counts (pages that are held become UNPINNED again)
//! ```

use std::ops::Range;

use super::{PAGES_PER_WORD, Select};
use crate::sync::{AtomicU64, Ordering};

/// Slots of a region, and so the number of processes that can count their holds in it at a time.
pub(crate) const SLOTS: usize = 16;

/// Words at the head of a slot, a cache line: how often the whole region is held, and whether the row was ever used.
const HEAD: usize = 8;
const WHOLE: usize = 0;
const ROW_USED: usize = 1;

/// Pages counted in one word of a row, a byte for each.
const LANES: u64 = 8;
const ONES: u64 = 0x0101_0101_0101_0101;

/// A page is not held more often than this through a row, so that no count runs into its neighbour's: that would take 192 threads
/// which meet it full in the same moment. A power of two.
const MOST: u64 = 64;

/// The holds on one region. All words may have been written by anybody; the worst that comes of it is that pages stay that could
/// go, or go although they are held.
#[derive(Clone, Copy)]
pub(crate) struct Holds<'a> {
    /// A bit for each slot that was ever taken.
    pub(crate) opened: &'a AtomicU64,
    pub(crate) heads: &'a [AtomicU64],
    pub(crate) rows: &'a [AtomicU64],
}

/// Words of the heads of all slots.
pub(crate) const HEAD_WORDS: usize = SLOTS * HEAD;

/// Words in a row for `pages` pages, in whole cache lines.
#[inline]
pub(crate) fn row_words(pages: u64) -> u64 {
    pages.div_ceil(LANES).next_multiple_of(8)
}

impl<'a> Holds<'a> {
    #[inline]
    fn head(&self, slot: usize, word: usize) -> &'a AtomicU64 {
        &self.heads[slot % SLOTS * HEAD + word]
    }

    /// Makes a slot known to purgers, before anything is counted in it.
    pub(crate) fn open(&self, slot: usize) {
        self.opened.fetch_or(1 << (slot % SLOTS), Ordering::SeqCst);
    }

    /// The slots that may count something.
    #[inline]
    pub(crate) fn opened(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.opened.load(Ordering::SeqCst) & ((1 << SLOTS) - 1);
        std::iter::from_fn(move || {
            let slot = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(slot)
        })
    }

    /// Where a slot's row is among the words of all rows.
    pub(crate) fn row_place(&self, slot: usize) -> Range<usize> {
        let length = self.rows.len() / SLOTS;
        let start = slot % SLOTS * length;
        start..start + length
    }

    #[inline]
    fn row(&self, slot: usize) -> &'a [AtomicU64] {
        &self.rows[self.row_place(slot)]
    }

    /// Holds the whole region.
    #[inline]
    pub(crate) fn hold_all(&self, slot: usize) {
        self.head(slot, WHOLE).fetch_add(1, Ordering::SeqCst);
    }

    /// Ends a hold on the whole region; whether it was the slot's last one of that kind.
    #[inline]
    pub(crate) fn release_all(&self, slot: usize) -> bool {
        self.head(slot, WHOLE).fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Whether the slot holds the whole region.
    #[inline]
    pub(crate) fn holds_all(&self, slot: usize) -> bool {
        self.head(slot, WHOLE).load(Ordering::SeqCst) != 0
    }

    /// Holds some pages; false, and nothing is held, when one of them is held too often.
    #[inline]
    pub(crate) fn hold(&self, slot: usize, pages: Range<u64>) -> bool {
        let used = self.head(slot, ROW_USED);
        if used.load(Ordering::Relaxed) == 0 {
            // Before the counts, for who cleans up after this process.
            used.store(1, Ordering::SeqCst);
        }
        let row = self.row(slot);
        let (word, ones) = first_lanes(&pages);
        if is_full(row[word].fetch_add(ones, Ordering::SeqCst), ones) {
            self.take_back(slot, word, ones, pages.start);
            return false;
        }
        for (word, ones) in more_lanes(&pages) {
            if is_full(row[word].fetch_add(ones, Ordering::SeqCst), ones) {
                self.take_back(slot, word, ones, pages.start);
                return false;
            }
        }
        true
    }

    #[cold]
    fn take_back(&self, slot: usize, word: usize, ones: u64, start: u64) {
        self.row(slot)[word].fetch_sub(ones, Ordering::SeqCst);
        let end = word as u64 * LANES;
        if start < end {
            self.release(slot, start..end);
        }
    }

    /// Ends a hold on some pages; whether it was the slot's last one of that kind on any of them.
    #[inline]
    pub(crate) fn release(&self, slot: usize, pages: Range<u64>) -> bool {
        let row = self.row(slot);
        let release = |(word, ones): (usize, u64)| {
            let before = row[word].fetch_sub(ones, Ordering::SeqCst);
            // A byte that is meant and was one is zero here, and no other.
            let rest = (before ^ ones) | !(ones * 0xff);
            rest.wrapping_sub(ONES) & !rest & (ONES << 7) != 0
        };
        let first = release(first_lanes(&pages));
        more_lanes(&pages).map(release).fold(first, |any, last| any | last)
    }

    /// Whether the slot counts anything now.
    #[inline]
    pub(crate) fn is_used(&self, slot: usize) -> bool {
        self.holds_all(slot) || self.has_row(slot)
    }

    /// Whether the slot's row may have counts.
    #[inline]
    pub(crate) fn has_row(&self, slot: usize) -> bool {
        self.head(slot, ROW_USED).load(Ordering::SeqCst) != 0
    }

    /// The slot of a process that is gone, for another: nothing is held. The row must be zeros again.
    pub(crate) fn reset(&self, slot: usize) {
        self.head(slot, WHOLE).store(0, Ordering::SeqCst);
        self.head(slot, ROW_USED).store(0, Ordering::SeqCst);
    }

    /// Which pages of page word `index` a slot holds.
    pub(crate) fn held(&self, slot: usize, index: usize) -> Select {
        if self.holds_all(slot) {
            return Select::ALL;
        }
        let mut held = Select::NONE;
        if self.has_row(slot) {
            let per_word = (PAGES_PER_WORD / LANES) as usize;
            let words = self.row(slot).iter().skip(index * per_word).take(per_word);
            for (place, word) in words.enumerate() {
                let counts = word.load(Ordering::SeqCst).to_le_bytes();
                for (lane, _) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
                    held = held.with((place * LANES as usize + lane) as u32);
                }
            }
        }
        held
    }
}

/// The first word of a row that counts `pages`, with a one in the byte of every page that is meant.
#[inline]
fn first_lanes(pages: &Range<u64>) -> (usize, u64) {
    let word = pages.start / LANES;
    let from = pages.start % LANES * 8;
    (word as usize, ONES << from & below(pages.end - word * LANES))
}

/// The other words.
#[inline]
fn more_lanes(pages: &Range<u64>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let end = pages.end;
    (pages.start / LANES + 1..end.div_ceil(LANES)).map(move |word| (word as usize, below(end - word * LANES)))
}

/// Ones in the bytes of that many pages.
#[inline]
fn below(pages: u64) -> u64 {
    if pages >= LANES { ONES } else { ONES & ((1 << (8 * pages)) - 1) }
}

/// Whether one of the counts that `ones` stands for has reached the most.
#[inline]
fn is_full(counts: u64, ones: u64) -> bool {
    counts & (ones * (256 - MOST)) != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Owned {
        opened: AtomicU64,
        heads: Vec<AtomicU64>,
        rows: Vec<AtomicU64>,
    }

    impl Owned {
        fn new(pages: u64) -> Owned {
            let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
            Owned {
                opened: AtomicU64::new(0),
                heads: zeros(HEAD_WORDS),
                rows: zeros(SLOTS * row_words(pages) as usize),
            }
        }

        fn holds(&self) -> Holds<'_> {
            Holds { opened: &self.opened, heads: &self.heads, rows: &self.rows }
        }
    }

    fn held_pages(holds: &Holds<'_>, slot: usize, pages: u64) -> Vec<u64> {
        let words = 0..pages.div_ceil(PAGES_PER_WORD);
        words
            .flat_map(|index| {
                let held = holds.held(slot, index as usize);
                held.iter().map(move |page| index * PAGES_PER_WORD + u64::from(page)).collect::<Vec<_>>()
            })
            .filter(|page| *page < pages)
            .collect()
    }

    #[test]
    fn ranges_nest_and_overlap() {
        let owned = Owned::new(100);
        let holds = owned.holds();
        assert!(holds.hold(3, 5..30));
        assert!(holds.hold(3, 20..41));
        assert!(holds.hold(4, 99..100));
        assert_eq!(held_pages(&holds, 3, 100), (5..41).collect::<Vec<_>>());
        assert_eq!(held_pages(&holds, 4, 100), [99]);
        assert_eq!(held_pages(&holds, 5, 100), []);
        assert!(holds.release(3, 5..30), "5 is not held any more");
        assert!(holds.hold(3, 30..32) && !holds.release(3, 30..32));
        assert_eq!(held_pages(&holds, 3, 100), (20..41).collect::<Vec<_>>());
        holds.release(3, 20..41);
        assert_eq!(held_pages(&holds, 3, 100), []);
        assert!(owned.rows.iter().filter(|word| word.load(Ordering::SeqCst) != 0).count() == 1);
    }

    #[test]
    fn the_whole_region_is_counted_apart() {
        let owned = Owned::new(20);
        let holds = owned.holds();
        holds.hold_all(0);
        holds.hold_all(0);
        assert!(!holds.release_all(0) && holds.holds_all(0) && holds.is_used(0) && !holds.is_used(1));
        assert_eq!(holds.held(0, 1), Select::ALL);
        assert!(holds.release_all(0) && !holds.is_used(0));
    }

    #[test]
    fn no_count_runs_into_its_neighbour() {
        let owned = Owned::new(64);
        let holds = owned.holds();
        for _ in 0..MOST {
            assert!(holds.hold(0, 20..21));
        }
        assert!(!holds.hold(0, 3..40), "one page of it is full");
        assert_eq!(held_pages(&holds, 0, 64), [20]);
        for _ in 0..MOST {
            holds.release(0, 20..21);
        }
        assert_eq!(held_pages(&holds, 0, 64), []);
    }

    #[test]
    fn any_words_will_do() {
        let owned = Owned::new(64);
        for word in owned.heads.iter().chain(&owned.rows) {
            word.store(u64::MAX, Ordering::SeqCst);
        }
        owned.opened.store(u64::MAX, Ordering::SeqCst);
        let holds = owned.holds();
        assert_eq!(holds.opened().collect::<Vec<_>>(), (0..SLOTS).collect::<Vec<_>>());
        assert!(!holds.hold(0, 0..64));
        assert_eq!(holds.held(0, 0), Select::ALL);
        assert_eq!(holds.held(0, usize::MAX / 4), Select::ALL);
        holds.release_all(0);
        holds.release(0, 0..64);
    }
}
