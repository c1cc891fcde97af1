//! Making room: entries that give way to others, and memory that gives way to a budget.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use super::{Cache, Counter, Found, Index, Key, LOCK, Place, Room};
use crate::control::Control;
use crate::held::Held;
use crate::page::page_size;
use crate::presence;
use crate::purger::{self, LOCK_PATIENCE};
use crate::state::PAGES_PER_WORD;
use crate::sys::memfd;
use crate::{Error, Freed, Reclaimer, Result};

/// How often room is looked for: others may take what was freed, or be about to free something.
const TRIES: u32 = 64;

/// How often nothing is found that can go before there is no room, and the longest pause in between. A lookup of somebody else, or a
/// purge, is in the way for a moment; an entry in use stays longer than that.
const VAIN_TRIES: u32 = 24;
const VAIN_PAUSE: Duration = Duration::from_millis(2);

/// How many pages of the index an insert may be the first to write: one of hashes, two that a record lies in.
const INDEX_GROWTH: u64 = 3;

/// This part of the budget is freed at a time, at least.
const MARGIN: u64 = 64;

/// When an entry goes: whether it has contents, then when it was last used. Less is sooner.
type Age = (bool, u64);

/// The age of what is in use.
const STAYS: Age = (true, u64::MAX);

/// Tries to make room.
#[derive(Default)]
struct Tries {
    all: u32,
    vain: u32,
}

impl Tries {
    /// Whether to try again, after a try that made room or did not.
    fn again(&mut self, was_vain: bool) -> bool {
        self.all += 1;
        if was_vain {
            thread::sleep(VAIN_PAUSE.min(Duration::from_micros(20 << self.vain.min(16))));
            self.vain += 1;
        }
        self.all < TRIES && self.vain < VAIN_TRIES
    }
}

impl Cache {
    /// The entry of a key, inserted if there is none of that length. Its contents may be purged, those of a new one are.
    pub(super) fn insert(
        &self,
        index: &Index<'_>,
        control: &Control,
        key: &Key<'_>,
        len: u64,
    ) -> Result<Found> {
        let pages = len.div_ceil(page_size()).max(1);
        let data = index.data();
        if pages > data.end - data.start {
            return Err(Error::CacheFull { len });
        }
        let mut tries = Tries::default();
        loop {
            let mut error = Error::CacheFull { len };
            let lock = self.region.inner.claim(LOCK, self.patience)?;
            let gone = match index.room(key, pages) {
                Room::Place(place) => match self.place(index, control, place, len)? {
                    Some(found) => return Ok(found),
                    None => false,
                },
                Room::Present(found) if found.len == len => return Ok(found),
                Room::Present(found) => {
                    error = Error::EntryInUse { len: found.len };
                    self.evict(index, control, &found)?
                }
                Room::SetFull => {
                    let mut entries: Vec<Found> = index.candidates(key).collect();
                    entries.sort_by_cached_key(|found| self.age(control, found));
                    self.evict_first(index, control, &entries)?
                }
                Room::NoSpace => self.evict_window(index, control, pages)?,
            };
            // Others need not wait for what this one waits for.
            drop(lock);
            if !tries.again(!gone) {
                return Err(error);
            }
        }
    }

    /// Puts an entry into free pages. They count as purged: whoever freed them saw to that, unless it is none of ours.
    fn place(
        &self,
        index: &Index<'_>,
        control: &Control,
        place: Place<'_>,
        len: u64,
    ) -> Result<Option<Found>> {
        if !self.make_purged(control, &place.pages)?
            || !self.make_room(index, control, INDEX_GROWTH * page_size())?
        {
            return Ok(None);
        }
        let found = index.insert(place, len);
        index.count(Counter::Inserted, 1);
        Ok(Some(found))
    }

    /// Removes one entry; false when somebody uses or builds it.
    pub(super) fn evict(&self, index: &Index<'_>, control: &Control, found: &Found) -> Result<bool> {
        let Some(_claim) = self.region.inner.try_claim(Cache::claim_of(found)).or_else(none_if_reentered)?
        else {
            return Ok(false);
        };
        if !self.make_purged(control, &found.pages)? {
            return Ok(false);
        }
        // What somebody left there who died while he built it is nobody's from here on. They are purged whether that works or not.
        let (start, end) = (found.pages.start * page_size(), found.pages.end * page_size());
        let _ = memfd::punch(self.region.as_fd(), start, end - start);
        Ok(index.remove(found))
    }

    /// Removes the first of some entries that can go; false when none can.
    fn evict_first(&self, index: &Index<'_>, control: &Control, entries: &[Found]) -> Result<bool> {
        for found in entries {
            if self.evict(index, control, found)? {
                index.count(Counter::Evicted, 1);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes all entries in `pages` pages that lie together: of all such places the one whose youngest entry is the oldest. False when
    /// every such place has an entry that is in use.
    fn evict_window(&self, index: &Index<'_>, control: &Control, pages: u64) -> Result<bool> {
        let held = Held::of(self.region.inner.state_fd(), control);
        let is_held = |found: &Found| {
            let mut words = control.table().select(found.pages.clone());
            !held.is_none() && words.any(|(word, select)| !held.word(word).and(select).is_empty())
        };
        let age = |found: Found| {
            let age = if is_held(&found) { STAYS } else { self.age(control, &found) };
            (found, age)
        };
        let mut entries: Vec<(Found, Age)> = index.entries().map(age).collect();
        entries.sort_unstable_by_key(|(found, _)| found.pages.start);
        loop {
            let window = match oldest_window(&entries, index.data(), pages) {
                Some((window, age)) if age < STAYS => window,
                _ => return Ok(false),
            };
            let mut all = true;
            for (found, age) in &mut entries[window] {
                if self.evict(index, control, found)? {
                    index.count(Counter::Evicted, 1);
                } else {
                    (all, *age) = (false, STAYS);
                }
            }
            if all {
                return Ok(true);
            }
        }
    }

    /// In which order entries go: those that are purged, then those that were used longest ago.
    fn age(&self, control: &Control, found: &Found) -> Age {
        let page = found.pages.start;
        let (word, page) = ((page / PAGES_PER_WORD) as usize, (page % PAGES_PER_WORD) as u32);
        (!self.is_purged(control, found), control.table().stamp_of(word, page, true))
    }

    fn is_purged(&self, control: &Control, found: &Found) -> bool {
        let counts = control.table().counts(found.pages.clone(), &|_| None);
        counts.is_ok_and(|counts| counts.purged > 0)
    }

    /// Takes pages away; false when some of them stay because they are held or pinned.
    fn make_purged(&self, control: &Control, pages: &std::ops::Range<u64>) -> Result<bool> {
        let inner = &*self.region.inner;
        let all_purged = || -> Result<bool> {
            Ok(control.table().counts(pages.clone(), &|_| None)?.purged == pages.end - pages.start)
        };
        if all_purged()? {
            return Ok(true);
        }
        let mut freed = Freed::default();
        purger::purge(inner, control, pages.clone(), u64::MAX, &|_| true, LOCK_PATIENCE, &mut freed)?;
        all_purged()
    }

    /// Makes room for `found` in the budget, and allocates its memory so that it counts from now on.
    ///
    /// The caller has claimed and holds the entry.
    pub(super) fn reserve(&self, index: &Index<'_>, control: &Control, found: &Found) -> Result<()> {
        if self.budget.is_none() {
            return Ok(());
        }
        let inner = &self.region.inner;
        let (start, len) =
            (found.pages.start * page_size(), (found.pages.end - found.pages.start) * page_size());
        let mut tries = Tries::default();
        loop {
            let lock = inner.claim(LOCK, self.patience)?;
            // Of an entry that was purged in part, the rest is there.
            let there = presence::resident(inner, std::slice::from_ref(&found.pages))?;
            if self.make_room(index, control, len.saturating_sub(there))? {
                return memfd::populate(inner.fd(), start, len)
                    .map_err(Error::system("allocate cache entry"));
            }
            drop(lock);
            if !tries.again(true) {
                return Err(Error::CacheFull { len: found.len });
            }
        }
    }

    /// Purges the oldest entries until the budget has room for `bytes` more; false when those that are left are in use.
    ///
    /// The caller has the cache's lock: nobody else allocates anything.
    fn make_room(&self, index: &Index<'_>, control: &Control, bytes: u64) -> Result<bool> {
        let Some(budget) = self.budget else { return Ok(true) };
        let inner = &self.region.inner;
        let excess = || -> Result<u64> { Ok((inner.resident()? + bytes).saturating_sub(budget)) };
        if excess()? > 0 {
            // What somebody left who died while he built is nobody's.
            self.sweep(index, control);
        }
        loop {
            let excess = excess()?;
            if excess == 0 {
                return Ok(true);
            }
            // And some more, so that not every entry from now on has to look for the oldest.
            if Reclaimer::reclaim_from(inner, excess + budget / MARGIN).pages == 0 {
                return Ok(false);
            }
        }
    }

    /// Frees the memory of entries that are purged, and that nobody builds.
    fn sweep(&self, index: &Index<'_>, control: &Control) {
        let inner = &self.region.inner;
        let mut purged: Vec<Found> = index.entries().filter(|found| self.is_purged(control, found)).collect();
        purged.sort_by_key(|found| found.pages.start);
        // Hardly any has memory, and looking at them all at once is cheaper than punching them all.
        let runs: Vec<_> = purged.iter().map(|found| found.pages.clone()).collect();
        let mut resident = vec![false; runs.len()];
        if presence::each_resident(inner, &runs, |run, _| resident[run] = true).is_err() {
            resident.fill(true);
        }
        for (found, _) in purged.iter().zip(resident).filter(|(_, is_resident)| *is_resident) {
            let Ok(Some(_claim)) = inner.try_claim(Cache::claim_of(found)) else { continue };
            let mut wait = |_, _| Err(Error::CacheFull { len: 0 });
            let Ok(runs) = control.table().purged_runs(found.pages.clone(), &mut wait) else { continue };
            for run in runs {
                // They are purged whether that works or not.
                let _ =
                    memfd::punch(inner.fd(), run.start * page_size(), (run.end - run.start) * page_size());
            }
        }
    }
}

/// An entry that this very thread is building cannot go; that is no error.
fn none_if_reentered<T>(error: Error) -> Result<Option<T>> {
    match error {
        Error::BuildReentered => Ok(None),
        error => Err(error),
    }
}

/// Of all places of `pages` pages in `data` the one whose youngest entry is the oldest, as the range of the entries in it, and how old that
/// is. The entries are sorted by their place.
fn oldest_window(entries: &[(Found, Age)], data: Range<u64>, pages: u64) -> Option<(Range<usize>, Age)> {
    let starts = std::iter::once(data.start).chain(entries.iter().map(|(found, _)| found.pages.end));
    // The entries in the window that are younger than all behind them in it.
    let mut youngest: VecDeque<usize> = VecDeque::new();
    let (mut next, mut best) = (0, None);
    for (first, start) in starts.enumerate().filter(|(_, start)| start + pages <= data.end) {
        while let Some((_, age)) = entries.get(next).filter(|(found, _)| found.pages.start < start + pages) {
            while youngest.back().is_some_and(|last| entries[*last].1 <= *age) {
                youngest.pop_back();
            }
            youngest.push_back(next);
            next += 1;
        }
        while youngest.front().is_some_and(|place| *place < first) {
            youngest.pop_front();
        }
        let age = youngest.front().map_or((false, 0), |place| entries[*place].1);
        if best.as_ref().is_none_or(|(_, least)| age < *least) {
            // Where entries overlap, which no honest process writes, there may be none.
            best = Some((first.min(next)..next, age));
        }
    }
    best
}
