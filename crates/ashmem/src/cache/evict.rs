//! Making room: entries that give way to others, and memory that gives way to a budget.

use std::thread;
use std::time::Duration;

use super::{Cache, Counter, Found, Index, Key, LOCK, Place, Room};
use crate::control::Control;
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
        let full = Error::CacheFull { len };
        let pages = len.div_ceil(page_size()).max(1);
        let data = index.data();
        if pages > data.end - data.start {
            return Err(full);
        }
        let _lock = self.region.inner.claim(LOCK, self.patience)?;
        let mut tries = Tries::default();
        loop {
            let gone = match index.room(key, pages) {
                Room::Place(place) => match self.place(index, control, place, len)? {
                    Some(found) => return Ok(found),
                    None => false,
                },
                Room::Present(found) if found.len == len => return Ok(found),
                Room::Present(found) => self.evict(index, control, &found)?,
                Room::SetFull => self.evict_oldest(index, control, index.candidates(key).collect(), 1)?,
                Room::NoSpace => self.evict_oldest(index, control, index.entries().collect(), pages)?,
            };
            if !tries.again(!gone) {
                return Err(full);
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
        if !self.make_purged(control, &place.pages)? {
            return Ok(None);
        }
        self.make_room(index, control, INDEX_GROWTH * page_size(), len)?;
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
        if !self.make_purged(control, &found.pages)? || !index.remove(found) {
            return Ok(false);
        }
        Ok(true)
    }

    /// Removes entries until `pages` pages are free that were not before: those that are purged already first, then the oldest. False
    /// when there is none that can go.
    fn evict_oldest(
        &self,
        index: &Index<'_>,
        control: &Control,
        mut entries: Vec<Found>,
        pages: u64,
    ) -> Result<bool> {
        entries.sort_by_cached_key(|found| (!self.is_purged(control, found), age(control, found)));
        let mut freed = 0;
        for found in &entries {
            if self.evict(index, control, found)? {
                index.count(Counter::Evicted, 1);
                freed += found.pages.end - found.pages.start;
            }
            if freed >= pages {
                break;
            }
        }
        Ok(freed > 0)
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
        let _lock = inner.claim(LOCK, self.patience)?;
        self.make_room(index, control, len, found.len)?;
        memfd::populate(inner.fd(), start, len).map_err(Error::system("allocate cache entry"))
    }

    /// Purges the oldest entries until the budget has room for `bytes` more, which an entry of `len` bytes needs.
    ///
    /// The caller has the cache's lock: nobody else allocates anything.
    fn make_room(&self, index: &Index<'_>, control: &Control, bytes: u64, len: u64) -> Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        let inner = &self.region.inner;
        let excess = || -> Result<u64> { Ok((inner.resident()? + bytes).saturating_sub(budget)) };
        if excess()? > 0 {
            // What somebody left who died while he built is nobody's.
            self.sweep(index, control);
        }
        let mut tries = Tries::default();
        loop {
            let excess = excess()?;
            if excess == 0 {
                return Ok(());
            }
            if !tries.again(Reclaimer::reclaim_from(inner, excess).pages == 0) {
                return Err(Error::CacheFull { len });
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

/// When an entry was last used.
fn age(control: &Control, found: &Found) -> u64 {
    let page = found.pages.start;
    control.table().stamp_of((page / PAGES_PER_WORD) as usize, (page % PAGES_PER_WORD) as u32, true)
}
