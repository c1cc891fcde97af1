//! Pin, unpin and status, over the words of a control block or of anything else that holds atomics.

use std::ops::Range;

use super::area::Flip;
use super::word::BeingPurged;
use super::{AreaWord, PAGES_PER_WORD, PageWord, Select, States};
use crate::sync::{AtomicU64, Ordering};

/// Page words that are newer than their area word: no honest process writes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// How many pages are in which state. Pages that are being purged count as unpinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pinned: u64,
    pub(crate) unpinned: u64,
    pub(crate) purged: u64,
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

/// The pin state of one region. See the [module](super) for the rules.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) area: &'a AtomicU64,
    /// When the whole region was last unpinned.
    pub(crate) area_stamp: &'a AtomicU64,
    pub(crate) words: &'a [AtomicU64],
    /// When all pages of a word were last unpinned together.
    pub(crate) word_stamps: &'a [AtomicU64],
    /// When a page was last unpinned by itself, or with a part of its word.
    pub(crate) page_stamps: &'a [AtomicU64],
    pub(crate) pages: u64,
}

impl Table<'_> {
    #[inline]
    pub(crate) fn load_area(&self) -> AreaWord {
        AreaWord(self.area.load(Ordering::SeqCst))
    }

    /// Sequentially consistent, so that who unpins and then asks whether a reclaimer watches, and a reclaimer that stops
    /// watching and then looks once more, cannot miss each other.
    #[inline]
    pub(super) fn swap_area(&self, old: AreaWord, new: AreaWord) -> bool {
        self.area.compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// One page word as it counts under the area word that was read just before it.
    #[inline]
    pub(crate) fn read_word(&self, index: usize) -> Result<(AreaWord, PageWord, States), Corrupt> {
        let mut area = self.load_area();
        loop {
            let word = PageWord(self.words[index].load(Ordering::SeqCst));
            if word.generation() == area.generation() {
                // Under generation 0 untouched words and the base agree on PINNED.
                return Ok((area, word, word.states()));
            }
            if word.generation() < area.generation() {
                return Ok((area, word, area.base()));
            }
            let again = self.load_area();
            if again.generation() < word.generation() {
                return Err(Corrupt);
            }
            area = again;
        }
    }

    /// Replaces a page word read by [`Self::read_word`]; false when it or the area word changed in between.
    #[inline]
    pub(super) fn write_word(&self, index: usize, area: AreaWord, old: PageWord, states: States) -> bool {
        if !area.is_dirty() && !self.swap_area(area, area.dirty()) {
            return false;
        }
        let new = PageWord::new(area.generation(), states);
        self.words[index].compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Pins the whole region. `wait` is called when a page is being purged, with the area's futex value and with whether
    /// a page pinned so far was purged (for its error: that must not get lost). It returns when it may be worth looking
    /// again.
    #[inline]
    pub(crate) fn pin_all<E: From<Corrupt>>(
        &self,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<Walked, E> {
        loop {
            let area = self.load_area();
            match area.flip(States::PINNED) {
                Flip::Already => return Ok(IN_ONE_STEP),
                Flip::To(next) if self.swap_area(area, next) => return Ok(IN_ONE_STEP),
                Flip::To(_) => {}
                Flip::Walk => return self.pin_walk(wait),
            }
        }
    }

    #[cold]
    fn pin_walk<E: From<Corrupt>>(
        &self,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let start = loop {
            let area = self.load_area();
            if area.is_dirty() || self.swap_area(area, area.dirty()) {
                break area.dirty();
            }
        };
        let purged = self.pin(0..self.pages, wait)?;
        // Every page is pinned and every purge so far was seen: if none began since, forget the page words. (The purge
        // count in the area word would have to wrap round exactly, during one walk, to hide a purge.)
        if let Some(clean) = start.all_pinned() {
            self.swap_area(start, clean);
        }
        Ok(Walked { purged, purging: start.is_purging() && self.load_area() == start })
    }

    /// Unpins the whole region. `stamp` is when; it becomes the age of all its pages, unless all were unpinned before.
    #[inline]
    pub(crate) fn unpin_all(&self, stamp: impl FnOnce() -> u64) -> Result<Walked, Corrupt> {
        let mut area = self.load_area();
        match area.flip(States::UNPINNED) {
            Flip::Already => return Ok(IN_ONE_STEP),
            Flip::Walk if !self.is_any_pinned()? => return Ok(IN_ONE_STEP),
            Flip::To(_) | Flip::Walk => {}
        }
        // Before the state: a stamp that is too new does no harm, one that is too old gets fresh pages purged.
        self.area_stamp.store(stamp(), Ordering::Relaxed);
        loop {
            match area.flip(States::UNPINNED) {
                Flip::Already => return Ok(IN_ONE_STEP),
                Flip::To(next) if self.swap_area(area, next) => return Ok(IN_ONE_STEP),
                Flip::To(_) => {}
                Flip::Walk => return self.unpin_walk(),
            }
            area = self.load_area();
        }
    }

    #[cold]
    fn unpin_walk(&self) -> Result<Walked, Corrupt> {
        let start = self.load_area();
        for (index, select) in self.select(0..self.pages) {
            self.unpin_word(index, select, None)?;
        }
        Ok(Walked { purged: false, purging: start.is_purging() && self.load_area() == start })
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
    pub(crate) fn pin<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        wait: &mut dyn FnMut(u32, bool) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut any_purged = false;
        for (index, select) in self.select(pages) {
            loop {
                let (area, word, states) = self.read_word(index)?;
                match states.pin(select) {
                    Ok((pinned, _)) if pinned == states => break,
                    Ok((pinned, purged)) => {
                        if self.write_word(index, area, word, pinned) {
                            any_purged |= purged;
                            break;
                        }
                    }
                    Err(BeingPurged) => wait(area.futex(), any_purged)?,
                }
            }
        }
        Ok(any_purged)
    }

    /// Unpins some pages at the time `stamp`. Those that are unpinned already keep their place in the order.
    pub(crate) fn unpin(&self, pages: Range<u64>, stamp: u64) -> Result<(), Corrupt> {
        for (index, select) in self.select(pages) {
            self.unpin_word(index, select, Some(stamp))?;
        }
        Ok(())
    }

    fn unpin_word(&self, index: usize, select: Select, stamp: Option<u64>) -> Result<(), Corrupt> {
        loop {
            let (area, word, states) = self.read_word(index)?;
            let (unpinned, changed) = states.unpin(select);
            if changed.is_empty() {
                return Ok(());
            }
            if let Some(stamp) = stamp {
                self.stamp(index, changed, stamp);
            }
            if self.write_word(index, area, word, unpinned) {
                return Ok(());
            }
        }
    }

    #[inline]
    fn stamp(&self, index: usize, changed: Select, stamp: u64) {
        if changed == Select::ALL {
            self.word_stamps[index].store(stamp, Ordering::Relaxed);
            return;
        }
        let first = index * PAGES_PER_WORD as usize;
        for page in changed.iter() {
            if let Some(place) = self.page_stamps.get(first + page as usize) {
                place.store(stamp, Ordering::Relaxed);
            }
        }
    }

    /// Whether one of the pages is not pinned.
    pub(crate) fn is_unpinned(&self, pages: Range<u64>) -> Result<bool, Corrupt> {
        let area = self.load_area();
        if !area.is_dirty() {
            return Ok(area.base() == States::UNPINNED);
        }
        for (index, select) in self.select(pages) {
            let (_, _, states) = self.read_word(index)?;
            if states.pinned().and(select) != select {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the states of some pages.
    pub(crate) fn counts(&self, pages: Range<u64>) -> Result<Counts, Corrupt> {
        let area = self.load_area();
        let mut counts = Counts::default();
        if !area.is_dirty() {
            let all = pages.end - pages.start;
            match area.base() {
                States::UNPINNED => counts.unpinned = all,
                _ => counts.pinned = all,
            }
            return Ok(counts);
        }
        for (index, select) in self.select(pages) {
            let (_, _, states) = self.read_word(index)?;
            counts.pinned += u64::from(states.pinned().and(select).len());
            counts.purged += u64::from(states.purged().and(select).len());
            counts.unpinned += u64::from(states.unpinned().and(select).len());
            counts.unpinned += u64::from(states.purging().and(select).len());
        }
        Ok(counts)
    }

    /// The words that hold `pages`, each with the pages of it that are meant.
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
