//! Pin and unpin of many words, two at a time where the machine can replace two in one step.

use std::cell::Cell;
use std::ops::Range;

use super::table::slot;
use super::{AreaWord, Corrupt, PAGES_PER_WORD, PageWord, Select, States, Table};
use crate::sync::{self, Ordering};

/// Words that are read before the first of them is replaced, where pairs are.
const BATCH: usize = 8;
const BATCH_PAGES: u64 = BATCH as u64 * PAGES_PER_WORD;

/// Two neighbouring words, the first with an even index, read after `area`.
struct Pair {
    index: usize,
    area: AreaWord,
    words: [PageWord; 2],
}

impl Pair {
    /// What the words say under the area word; `None` when the area word is too old for that.
    #[inline]
    fn states(&self) -> Option<[States; 2]> {
        let of = |word: PageWord| match word.generation().cmp(&self.area.generation()) {
            std::cmp::Ordering::Less => Some(self.area.base()),
            std::cmp::Ordering::Equal => Some(word.states()),
            std::cmp::Ordering::Greater => None,
        };
        let [first, second] = self.words.map(of);
        Some([first?, second?])
    }
}

impl Table<'_> {
    #[inline(never)]
    pub(super) fn pin_words<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<bool, E> {
        let any_purged = Cell::new(false);
        let one = |index, select| -> Result<(), E> {
            let purged = self.pin_word(index, select, any_purged.get(), wait)?;
            any_purged.set(any_purged.get() | purged);
            Ok(())
        };
        let two = |pair: &Pair| {
            let Some(states) = pair.states() else { return false };
            let [Ok(first), Ok(second)] = states.map(|states| states.pin(Select::ALL)) else { return false };
            let swapped = self.write_pair(pair, states, [first.0, second.0]);
            any_purged.set(any_purged.get() | (swapped && (first.1 || second.1)));
            swapped
        };
        self.each_word(pages, one, two)?;
        Ok(any_purged.get())
    }

    #[inline(never)]
    pub(super) fn unpin_words(&self, pages: Range<u64>, stamp: u64) -> Result<(), Corrupt> {
        let one = |index, select| self.unpin_word(index, select, Some(stamp));
        let two = |pair: &Pair| {
            let Some(states) = pair.states() else { return false };
            let unpinned = states.map(|states| states.unpin(Select::ALL));
            for (index, (states, changed)) in (pair.index..).zip(unpinned) {
                self.stamp(index, changed, states, stamp);
            }
            self.write_pair(pair, states, unpinned.map(|(states, _)| states))
        };
        self.each_word(pages, one, two)
    }

    /// The same for two whole words.
    #[inline]
    fn write_pair(&self, pair: &Pair, old: [States; 2], states: [States; 2]) -> bool {
        let generation = pair.area.generation();
        if old == states {
            return true;
        }
        let new = states.map(|states| PageWord::new(generation, states));
        let at = slot(pair.index);
        self.make_dirty(pair.area)
            && sync::swap_pair(&self.slots[at..at + 2], pair.words.map(|word| word.0), new.map(|word| word.0))
    }

    /// Calls `one` for the words that hold `pages`, with the pages of each that are meant; but where the machine can replace two
    /// whole words in one step, first `two` for both, and `one` only where `two` says that it could not.
    #[inline]
    fn each_word<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        mut one: impl FnMut(usize, Select) -> Result<(), E>,
        two: impl Fn(&Pair) -> bool,
    ) -> Result<(), E> {
        let first = pages.start / PAGES_PER_WORD;
        if pages.end <= (first + 1) * PAGES_PER_WORD {
            let base = first * PAGES_PER_WORD;
            return one(
                first as usize,
                Select::pages((pages.start - base) as u32, (pages.end - base) as u32),
            );
        }
        let mut from = pages.start;
        if pages.end - pages.start >= 2 * BATCH_PAGES && sync::swaps_pairs() {
            let (first, end) = (from.next_multiple_of(BATCH_PAGES), pages.end / BATCH_PAGES * BATCH_PAGES);
            for (index, select) in self.select(from..first) {
                one(index, select)?;
            }
            for index in (first / PAGES_PER_WORD..end / PAGES_PER_WORD).step_by(BATCH) {
                let index = index as usize;
                // All loads first: each waits for the locked operations before it.
                let area = self.area.load();
                let words: [PageWord; BATCH] =
                    std::array::from_fn(|at| PageWord(self.word(index + at).load(Ordering::SeqCst)));
                for at in (0..BATCH).step_by(2) {
                    let pair = Pair { index: index + at, area, words: [words[at], words[at + 1]] };
                    if !two(&pair) {
                        one(index + at, Select::ALL)?;
                        one(index + at + 1, Select::ALL)?;
                    }
                }
            }
            from = end;
        }
        for (index, select) in self.select(from..pages.end) {
            one(index, select)?;
        }
        Ok(())
    }
}
