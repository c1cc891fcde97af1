//! Pin, unpin and status, over the words of a control block or of anything else that holds atomics.

use std::ops::Range;

use super::area::{Area, Flip};
use super::word::BeingPurged;
use super::{AreaWord, PAGES_PER_WORD, PageWord, Select, States};
use crate::sync::{AtomicU64, Ordering};

/// Page words that are newer than their area word: no honest process writes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// How many pages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pinned: u64,
    pub(crate) unpinned: u64,
    pub(crate) purging: u64,
    pub(crate) purged: u64,
}

/// Knows words that were never written: [`Table::spans`].
pub(crate) type Absent<'s> = &'s dyn Fn(usize) -> Option<usize>;

/// A part of the pages that an operation is about.
pub(crate) enum Span {
    /// Pages of one word.
    Word(usize, Select),
    /// Pages in the base state, whose words were never written.
    Untouched(Range<u64>),
}

/// What a whole-region operation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// A page was purged since it was unpinned.
    pub(crate) purged: bool,
    /// The area was marked as being purged all the while: by a live purger, or by one that died.
    pub(crate) purging: bool,
}

const IN_ONE_STEP: Walked = Walked { purged: false, purging: false };

/// Words in a group. A group of words and the group of their stamps share a cache line, as an unpin writes both.
const GROUP: usize = 4;

/// The word that holds `pages`, if it is one, and which of its pages they are.
#[inline]
pub(super) fn in_one_word(pages: &Range<u64>) -> Option<(usize, Select)> {
    let word = pages.start / PAGES_PER_WORD;
    let base = word * PAGES_PER_WORD;
    let select = || Select::pages((pages.start - base) as u32, (pages.end - base) as u32);
    (pages.end <= base + PAGES_PER_WORD).then(|| (word as usize, select()))
}

/// The pin state of one region. See the [module](super) for the rules.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) area: Area<'a>,
    /// Page words and their stamps in turns: [`GROUP`] words, then when the unpinned pages of each of them were last
    /// unpinned, as far as their page stamps do not know better.
    pub(crate) slots: &'a [AtomicU64],
    /// When a page was last unpinned while others of its word were unpinned already.
    pub(crate) page_stamps: &'a [AtomicU64],
    pub(crate) pages: u64,
}

/// Where word `index` is among the slots; its stamp is [`GROUP`] behind it.
#[inline]
pub(crate) fn slot(index: usize) -> usize {
    index / GROUP * 2 * GROUP + index % GROUP
}

/// The first word of the group that holds a slot.
pub(crate) fn word_at(slot: u64) -> u64 {
    slot / (2 * GROUP as u64) * GROUP as u64
}

/// How many slots the words of `pages` pages need.
#[inline]
pub(crate) fn slots(pages: u64) -> u64 {
    pages.div_ceil(PAGES_PER_WORD).div_ceil(GROUP as u64) * 2 * GROUP as u64
}

impl Table<'_> {
    #[inline]
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        &self.slots[slot(index)]
    }

    #[inline]
    pub(super) fn word_stamp(&self, index: usize) -> &AtomicU64 {
        &self.slots[slot(index) + GROUP]
    }

    /// One page word as it counts under the area word that was read just before it.
    #[inline]
    pub(crate) fn read_word(&self, index: usize) -> Result<(AreaWord, PageWord, States), Corrupt> {
        let mut area = self.area.load();
        loop {
            let word = PageWord(self.word(index).load(Ordering::SeqCst));
            if word.generation() == area.generation() {
                // Under generation 0 untouched words and the base agree on PINNED.
                return Ok((area, word, word.states()));
            }
            if word.generation() < area.generation() {
                return Ok((area, word, area.base()));
            }
            let again = self.area.load();
            if again.generation() < word.generation() {
                return Err(Corrupt);
            }
            area = again;
        }
    }

    /// Replaces a page word read by [`Self::read_word`]; false when it or the area word changed in between.
    #[inline]
    pub(super) fn write_word(&self, index: usize, area: AreaWord, old: PageWord, states: States) -> bool {
        if !self.make_dirty(area) {
            return false;
        }
        let new = PageWord::new(area.generation(), states);
        self.word(index).compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn make_dirty(&self, area: AreaWord) -> bool {
        area.is_dirty() || self.area.swap(area, area.dirty())
    }

    /// Pins the whole region. `wait` is called when a page is being purged, with the area's futex value and with whether
    /// a page pinned so far was purged (for its error: that must not get lost). It returns when it may be worth looking
    /// again.
    pub(crate) fn pin_all<E: From<Corrupt>>(
        &self,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<Walked, E> {
        loop {
            if self.area.pin_at_once() {
                return Ok(IN_ONE_STEP);
            }
            if self.area.load().flip(States::PINNED) == Flip::Walk {
                return self.pin_walk(wait);
            }
        }
    }

    #[cold]
    fn pin_walk<E: From<Corrupt>>(
        &self,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let start = loop {
            let area = self.area.load();
            if self.make_dirty(area) {
                break area.dirty();
            }
        };
        let purged = self.pin(0..self.pages, wait)?;
        // Every page is pinned and every purge so far was seen: if none began since, forget the page words. (The purge
        // count in the area word would have to wrap round exactly, during one walk, to hide a purge.)
        if let Some(clean) = start.all_pinned() {
            self.area.swap(start, clean);
        }
        Ok(self.walked(start, purged))
    }

    /// Unpins the whole region. `stamp` is when; it becomes the age of all its pages, unless all were unpinned before.
    pub(crate) fn unpin_all(&self, stamp: u64) -> Result<Walked, Corrupt> {
        loop {
            if self.area.unpin_at_once(stamp) {
                return Ok(IN_ONE_STEP);
            }
            if self.area.load().flip(States::UNPINNED) == Flip::Walk {
                return self.unpin_walk(stamp);
            }
        }
    }

    #[cold]
    fn unpin_walk(&self, stamp: u64) -> Result<Walked, Corrupt> {
        if !self.is_any_pinned()? {
            return Ok(IN_ONE_STEP);
        }
        self.area.stamp.store(stamp, Ordering::Relaxed);
        let start = self.area.load();
        for (index, select) in self.select(0..self.pages) {
            self.unpin_word(index, select, None)?;
        }
        Ok(self.walked(start, false))
    }

    fn walked(&self, start: AreaWord, purged: bool) -> Walked {
        Walked { purged, purging: start.is_purging() && self.area.load() == start }
    }

    #[cold]
    fn is_any_pinned(&self) -> Result<bool, Corrupt> {
        for (index, select) in self.select(0..self.pages) {
            let (_, _, states) = self.read_word(index)?;
            if !states.pinned().and(select).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Pins some pages and says whether one of them was purged. `wait` as for [`Self::pin_all`].
    #[inline]
    pub(crate) fn pin<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<bool, E> {
        match in_one_word(&pages) {
            Some((index, select)) => self.pin_word(index, select, false, wait),
            None => self.pin_words(pages, wait),
        }
    }

    /// Pins pages of one word; `before` says whether pages pinned before were purged, for the error.
    #[inline]
    pub(super) fn pin_word<E: From<Corrupt>>(
        &self,
        index: usize,
        select: Select,
        before: bool,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<bool, E> {
        loop {
            let (area, word, states) = self.read_word(index)?;
            match states.pin(select) {
                Ok((pinned, _)) if pinned == states => return Ok(false),
                Ok((pinned, purged)) => {
                    if self.write_word(index, area, word, pinned) {
                        return Ok(purged);
                    }
                }
                Err(BeingPurged) => wait(area.futex(), before)?,
            }
        }
    }

    /// Unpins some pages at the time `stamp`. Those that are unpinned already keep their place in the order.
    #[inline]
    pub(crate) fn unpin(&self, pages: Range<u64>, stamp: u64) -> Result<(), Corrupt> {
        match in_one_word(&pages) {
            Some((index, select)) => self.unpin_word(index, select, Some(stamp)),
            None => self.unpin_words(pages, stamp),
        }
    }

    #[inline]
    pub(super) fn unpin_word(&self, index: usize, select: Select, stamp: Option<u64>) -> Result<(), Corrupt> {
        loop {
            let (area, word, states) = self.read_word(index)?;
            let (unpinned, changed) = states.unpin(select);
            if changed.is_empty() {
                return Ok(());
            }
            if let Some(stamp) = stamp {
                self.stamp(index, changed, unpinned, stamp);
            }
            if self.write_word(index, area, word, unpinned) {
                return Ok(());
            }
        }
    }

    /// Notes when the `changed` pages of a word become unpinned, where `states` is what the word becomes.
    #[inline]
    pub(super) fn stamp(&self, index: usize, changed: Select, states: States, stamp: u64) {
        if changed.is_empty() {
            return;
        }
        if changed == states.unpinned() {
            // No other page of the word is unpinned: one stamp serves, in the cache line of the word.
            self.word_stamp(index).store(stamp, Ordering::Relaxed);
            return;
        }
        let first = index * PAGES_PER_WORD as usize;
        for page in changed.iter() {
            if let Some(place) = self.page_stamps.get(first + page as usize) {
                place.store(stamp, Ordering::Relaxed);
            }
        }
    }

    /// Whether one of the pages is not pinned. `absent` as for [`Self::spans`].
    pub(crate) fn is_unpinned(&self, pages: Range<u64>, absent: Absent<'_>) -> Result<bool, Corrupt> {
        let area = self.area.load();
        if !area.is_dirty() {
            return Ok(area.base() == States::UNPINNED);
        }
        for span in self.spans(pages, absent) {
            let unpinned = match span {
                Span::Word(index, select) => self.read_word(index)?.2.pinned().and(select) != select,
                Span::Untouched(_) => area.base() == States::UNPINNED,
            };
            if unpinned {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the states of some pages. `absent` as for [`Self::spans`].
    pub(crate) fn counts(&self, pages: Range<u64>, absent: Absent<'_>) -> Result<Counts, Corrupt> {
        let area = self.area.load();
        let mut counts = Counts::default();
        let add_base = |counts: &mut Counts, pages: Range<u64>| match area.base() {
            States::UNPINNED => counts.unpinned += pages.end - pages.start,
            _ => counts.pinned += pages.end - pages.start,
        };
        if !area.is_dirty() {
            add_base(&mut counts, pages);
            return Ok(counts);
        }
        for span in self.spans(pages, absent) {
            let (index, select) = match span {
                Span::Word(index, select) => (index, select),
                Span::Untouched(pages) => {
                    add_base(&mut counts, pages);
                    continue;
                }
            };
            let (_, _, states) = self.read_word(index)?;
            counts.pinned += u64::from(states.pinned().and(select).len());
            counts.purged += u64::from(states.purged().and(select).len());
            counts.unpinned += u64::from(states.unpinned().and(select).len());
            counts.purging += u64::from(states.purging().and(select).len());
        }
        Ok(counts)
    }

    /// As [`Self::select`], but passes over words that were never written: for one of those `absent` gives the index of
    /// the first one behind it that may have been.
    pub(crate) fn spans<'s>(
        &self,
        pages: Range<u64>,
        absent: Absent<'s>,
    ) -> impl Iterator<Item = Span> + use<'s> {
        let (mut next, end) = (pages.start, pages.end.min(self.pages));
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let word = next / PAGES_PER_WORD;
            if let Some(after) = absent(word as usize) {
                let start = next;
                next = (after as u64).saturating_mul(PAGES_PER_WORD).min(end);
                return Some(Span::Untouched(start..next));
            }
            let base = word * PAGES_PER_WORD;
            let from = (next - base) as u32;
            next = (base + PAGES_PER_WORD).min(end);
            Some(Span::Word(word as usize, Select::pages(from, (next - base) as u32)))
        })
    }

    /// The words that hold `pages`, each with the pages of it that are meant.
    #[inline]
    pub(crate) fn select(&self, pages: Range<u64>) -> impl Iterator<Item = (usize, Select)> + use<> {
        let (first, end) = (pages.start, pages.end.min(self.pages));
        let words = first / PAGES_PER_WORD..end.div_ceil(PAGES_PER_WORD);
        words.map(move |word| {
            let base = word * PAGES_PER_WORD;
            let from = first.saturating_sub(base) as u32;
            let to = (end - base).min(PAGES_PER_WORD) as u32;
            (word as usize, Select::pages(from, to))
        })
    }
}
