//! Purged pages, for who takes note of them without pinning anything, because it holds them.

use std::ops::Range;

use super::purge::runs;
use super::{AreaWord, Corrupt, PAGES_PER_WORD, PageWord, Select, States, Table};
use crate::sync::Ordering;

/// Waits for the end of a purge: called with the area's futex value and whether pages before were purged.
pub(crate) type Wait<'w, E> = &'w mut dyn FnMut(u32, bool) -> Result<(), E>;

impl Table<'_> {
    /// Whether one of the pages is purged. Those that are being purged are waited for.
    #[inline]
    pub(crate) fn is_any_purged<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        wait: Wait<'_, E>,
    ) -> Result<bool, E> {
        if !self.area.load().may_have_purged() {
            return Ok(false);
        }
        for (index, select) in self.select(pages) {
            if !self.settled(index, select, wait)?.purged().and(select).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The runs of purged pages among `pages`. Those that are being purged are waited for.
    pub(crate) fn purged_runs<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        wait: Wait<'_, E>,
    ) -> Result<Vec<Range<u64>>, E> {
        if !self.area.load().may_have_purged() {
            return Ok(Vec::new());
        }
        let base = pages.start / PAGES_PER_WORD * PAGES_PER_WORD;
        let mut purged = Vec::new();
        for (index, select) in self.select(pages) {
            purged.push(self.settled(index, select, wait)?.purged().and(select));
        }
        Ok(runs(&purged).map(|run| base + run.start..base + run.end).collect())
    }

    /// The states of some pages of a word, none of which is being purged.
    fn settled<E: From<Corrupt>>(
        &self,
        index: usize,
        select: Select,
        wait: Wait<'_, E>,
    ) -> Result<States, E> {
        loop {
            let (area, _, states) = self.read_word(index)?;
            if states.purging().and(select).is_empty() {
                return Ok(states);
            }
            wait(area.futex(), false)?;
        }
    }

    /// Makes purged pages UNPINNED, as old as `stamp`, and says whether there were any: they are somebody's business now, who holds
    /// them. Those that are being purged are waited for.
    #[inline]
    pub(crate) fn accept<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        stamp: u64,
        wait: Wait<'_, E>,
    ) -> Result<bool, E> {
        if !self.area.load().may_have_purged() {
            return Ok(false);
        }
        self.accept_walk(pages, stamp, wait)
    }

    #[cold]
    fn accept_walk<E: From<Corrupt>>(
        &self,
        pages: Range<u64>,
        stamp: u64,
        wait: Wait<'_, E>,
    ) -> Result<bool, E> {
        let start = self.area.load();
        let whole = pages.start == 0 && pages.end >= self.pages;
        let mut any = false;
        for (index, select) in self.select(pages) {
            loop {
                let (area, word, states) = self.read_word(index)?;
                match states.accept(select) {
                    Ok((_, purged)) if purged.is_empty() => break,
                    Ok((accepted, purged)) => {
                        self.stamp(index, purged, accepted, stamp);
                        if self.write_word(index, area, word, accepted) {
                            any = true;
                            break;
                        }
                    }
                    Err(_) => wait(area.futex(), any)?,
                }
            }
        }
        // Nothing is purged any more, unless a purge began since.
        if let (true, Some(clean)) = (whole, start.none_purged()) {
            self.area.swap(start, clean);
        }
        Ok(any)
    }

    /// Whether none of the pages is pinned, for sure.
    #[inline]
    pub(crate) fn is_none_pinned(&self, pages: Range<u64>) -> bool {
        self.select(pages).all(|(index, select)| {
            self.read_word(index).is_ok_and(|(_, _, states)| states.pinned().and(select).is_empty())
        })
    }

    /// Makes unpinned pages as young as `stamp`.
    #[inline]
    pub(crate) fn touch(&self, pages: Range<u64>, stamp: u64) {
        if pages.start == 0 && pages.end >= self.pages {
            self.area.stamp.store(stamp, Ordering::Relaxed);
            return;
        }
        for (index, select) in self.select(pages) {
            let Ok((area, word, states)) = self.read_word(index) else { continue };
            if word.generation() != area.generation() || !area.is_dirty() {
                // Who looks for old pages passes over words that are not in use. When somebody else was first it is in use.
                self.write_word(index, area, word, states);
            }
            if select == Select::ALL {
                self.word_stamp(index).store(stamp, Ordering::Relaxed);
                continue;
            }
            let first = index * PAGES_PER_WORD as usize;
            for page in select.iter() {
                if let Some(place) = self.page_stamps.get(first + page as usize) {
                    place.store(stamp, Ordering::Relaxed);
                }
            }
        }
    }

    /// Makes pages that are not pinned purged without taking anything away: their contents do not count any more. The caller holds
    /// them, and has met no purge since: one that has claimed some of them will find them held, and leave them.
    pub(crate) fn lose(&self, pages: Range<u64>) -> Result<(), Corrupt> {
        // Twice, so that nobody who has looked at the pages in between takes the mark back.
        self.mark(AreaWord::some_lost);
        for (index, select) in self.select(pages) {
            self.settle(index, |states| states.lose(states.unpinned().or(states.purging()).and(select)))?;
        }
        self.mark(AreaWord::some_lost);
        Ok(())
    }

    /// Makes every page purged, in a region that nobody else knows yet.
    pub(crate) fn lose_all(&self) {
        let area = self.area.load();
        let Some(lost) = area.all_lost() else { return };
        for (index, select) in self.select(0..self.pages) {
            let word = PageWord::new(lost.generation(), States::PINNED.lose(select));
            self.word(index).store(word.0, Ordering::SeqCst);
        }
        self.area.swap(area, lost);
    }
}
