//! Taking unpinned pages away. Everything here needs the purge lock.

use std::ops::Range;

use super::table::{Absent, Span};
use super::{AreaWord, Corrupt, PAGES_PER_WORD, Select, States, Table};
use crate::sync::Ordering;

/// Words claimed at a time: what a pin may have to wait for. 64 words are 4 MiB with pages of 4 KiB.
pub(crate) const CHUNK_WORDS: u64 = 64;

/// Pages in a chunk.
pub(crate) const CHUNK_PAGES: u64 = CHUNK_WORDS * PAGES_PER_WORD;

/// Why a chunk was not purged, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault<E> {
    Corrupt(Corrupt),
    /// The hole could not be punched; the pages are unpinned as before.
    Punch(E),
}

impl<E> From<Corrupt> for Fault<E> {
    fn from(corrupt: Corrupt) -> Self {
        Fault::Corrupt(corrupt)
    }
}

impl Table<'_> {
    /// Whether an earlier purger left the area marked.
    pub(crate) fn needs_recovery(&self) -> bool {
        self.area.load().is_purging()
    }

    /// Purges those of `pages` (at most a chunk) that are unpinned since `cutoff` or earlier, and returns how many.
    ///
    /// `has_page_stamps` says of a word whether its page stamps may have been written; `spare` is shown the pages that were claimed,
    /// by word from the given one on, and takes out those that are held; `punch` takes a range of pages away. Waiters are to be woken afterwards.
    pub(crate) fn purge_chunk<E>(
        &self,
        pages: Range<u64>,
        cutoff: u64,
        has_page_stamps: &dyn Fn(usize) -> bool,
        spare: impl FnOnce(usize, &mut [Select]),
        mut punch: impl FnMut(Range<u64>) -> Result<(), E>,
    ) -> Result<u64, Fault<E>> {
        debug_assert!(pages.end - pages.start <= CHUNK_PAGES);
        self.mark(AreaWord::purge_begun);
        let mut claimed = [Select::NONE; CHUNK_WORDS as usize + 1];
        let mut corrupt = None;
        let first = pages.start / PAGES_PER_WORD;
        for (index, select) in self.select(pages) {
            match self.claim(index, select, cutoff, has_page_stamps) {
                Ok(select) => claimed[index - first as usize] = select,
                Err(error) => corrupt = Some(error),
            }
        }
        let base = first * PAGES_PER_WORD;
        let all = claimed;
        if claimed.iter().any(|select| !select.is_empty()) {
            spare(first as usize, &mut claimed);
            for (place, (all, kept)) in all.iter().zip(&claimed).enumerate() {
                let held = all.minus(*kept);
                if !held.is_empty() {
                    let settled = self.settle(first as usize + place, |states| states.release(held));
                    corrupt = corrupt.or(settled.err());
                }
            }
            // Who finishes for a dead purger must not take what that has not looked at.
            self.mark(AreaWord::purge_taking);
        }
        let mut failed = None;
        let mut taken = 0;
        for run in runs(&claimed) {
            let pages = base + run.start..base + run.end;
            if failed.is_none() {
                failed = punch(pages.clone()).err();
            }
            let committed = failed.is_none();
            for (index, select) in self.select(pages) {
                let settled = if committed {
                    self.settle(index, |states| states.commit(select))
                } else {
                    self.settle(index, |states| states.release(select))
                };
                corrupt = corrupt.or(settled.err());
            }
            if committed {
                taken += run.end - run.start;
            }
        }
        self.mark(|area| area.purge_ended(taken > 0));
        match (failed, corrupt) {
            (Some(error), _) => Err(Fault::Punch(error)),
            (None, Some(corrupt)) if taken == 0 => Err(Fault::Corrupt(corrupt)),
            _ => Ok(taken),
        }
    }

    /// Finishes what a dead purger began: its pages may or may not be gone, so they go now. Returns how many. If it had not even
    /// looked who holds them, nothing is gone, and nothing goes.
    ///
    /// `punch` may fail; the pages are "purged" all the same, as some of them may be. Corrupt words are passed over, and those that were never
    /// written (`absent`, as for [`Self::spans`]).
    pub(crate) fn recover(&self, absent: Absent<'_>, mut punch: impl FnMut(Range<u64>)) -> u64 {
        let area = self.area.load();
        let looked = area.is_taking() || !area.is_purging();
        let mut taken = 0;
        for span in self.spans(0..self.pages, absent) {
            let Span::Word(index, select) = span else { continue };
            let Ok((_, _, states)) = self.read_word(index) else { continue };
            let left = states.purging().and(select);
            if left.is_empty() {
                continue;
            }
            // Corrupt only when a peer is writing nonsense at this moment.
            if !looked {
                let _ = self.settle(index, |states| states.release(left));
                continue;
            }
            let base = index as u64 * PAGES_PER_WORD;
            for run in runs(&[left]) {
                punch(base + run.start..base + run.end);
                taken += run.end - run.start;
            }
            let _ = self.settle(index, |states| states.commit(left));
        }
        // The dead purger may have committed pages, too.
        self.mark(|area| area.purge_ended(looked));
        taken
    }

    /// Changes what the area word says of the purge.
    pub(super) fn mark(&self, to: impl Fn(AreaWord) -> AreaWord) {
        loop {
            let area = self.area.load();
            if self.area.swap(area, to(area)) {
                return;
            }
        }
    }

    pub(super) fn claim(
        &self,
        index: usize,
        select: Select,
        cutoff: u64,
        has_page_stamps: &dyn Fn(usize) -> bool,
    ) -> Result<Select, Corrupt> {
        loop {
            let (area, word, states) = self.read_word(index)?;
            let mut victims = states.unpinned().and(select);
            if cutoff != u64::MAX {
                for page in victims.iter() {
                    if self.stamp_of(index, page, has_page_stamps(index)) > cutoff {
                        victims = victims.without(page);
                    }
                }
            }
            if victims.is_empty() || self.write_word(index, area, word, states.claim(victims)) {
                return Ok(victims);
            }
        }
    }

    pub(super) fn settle(&self, index: usize, to: impl Fn(States) -> States) -> Result<(), Corrupt> {
        loop {
            let (area, word, states) = self.read_word(index)?;
            let settled = to(states);
            if settled == states || self.write_word(index, area, word, settled) {
                return Ok(());
            }
        }
    }

    /// When a page was last unpinned. Without `has_page_stamps` those are not read: they were never written.
    #[inline]
    pub(crate) fn stamp_of(&self, index: usize, page: u32, has_page_stamps: bool) -> u64 {
        let of_word =
            self.word_stamp(index).load(Ordering::Relaxed).max(self.area.stamp.load(Ordering::Relaxed));
        let place = index * PAGES_PER_WORD as usize + page as usize;
        match self.page_stamps.get(place) {
            Some(stamp) if has_page_stamps => of_word.max(stamp.load(Ordering::Relaxed)),
            _ => of_word,
        }
    }
}

/// The runs of consecutive pages in some words, as page numbers from the first word on.
pub(crate) fn runs(words: &[Select]) -> impl Iterator<Item = Range<u64>> + '_ {
    let mut pages = words
        .iter()
        .enumerate()
        .flat_map(|(index, select)| {
            select.iter().map(move |page| index as u64 * PAGES_PER_WORD + u64::from(page))
        })
        .peekable();
    std::iter::from_fn(move || {
        let start = pages.next()?;
        let mut end = start + 1;
        while pages.next_if_eq(&end).is_some() {
            end += 1;
        }
        Some(start..end)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn runs_cross_words() {
        let words =
            [Select::pages(14, 16), Select::ALL, Select::pages(0, 1), Select::NONE, Select::pages(3, 5)];
        assert_eq!(runs(&words).collect::<Vec<_>>(), [14..33, 67..69]);
        assert_eq!(runs(&[Select::NONE]).count(), 0);
    }
}
