//! Pin, unpin, purge and what can be asked about them.

use std::ops::{Range, RangeBounds};

use rustix::fs::SealFlags;

use super::{Inner, Region};
use crate::control::Control;
use crate::held::{Held, Locked};
use crate::presence::Presence;
use crate::purger::{self, PinWait};
use crate::state::{self, CHUNK_PAGES, Counts, Walked};
use crate::sys::memfd;
use crate::{Error, Freed, PageRange, Result, page_size};

/// What became of the contents while they were unpinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "purged contents have to be made again"]
pub enum Contents {
    /// Everything is as it was (`ASHMEM_NOT_PURGED`).
    Intact,
    /// At least one page was taken away (`ASHMEM_WAS_PURGED`); such pages read as zeros. Told once: the pages are pinned
    /// now, and the next pin says [`Contents::Intact`].
    Purged,
}

impl Contents {
    pub(super) fn from_purged(purged: bool) -> Contents {
        if purged { Contents::Purged } else { Contents::Intact }
    }

    /// Whether a page was taken away.
    #[must_use]
    pub fn is_purged(self) -> bool {
        self == Contents::Purged
    }
}

/// The answer to [`Region::pin_status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinStatus {
    /// At least one page of the range is unpinned (`ASHMEM_IS_UNPINNED`).
    Unpinned,
    /// Every page of the range is pinned (`ASHMEM_IS_PINNED`).
    Pinned,
}

/// How many pages of a region are in which state, and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pages that nobody may take away.
    pub pinned_pages: u64,
    /// Pages that may be taken away.
    pub unpinned_pages: u64,
    /// Pages that were taken away and not pinned since.
    pub purged_pages: u64,
    /// Bytes of data in memory or swap.
    pub resident_bytes: u64,
}

impl Region {
    /// Pins pages: they stay until they are unpinned. Says whether any of them was purged since it was unpinned.
    ///
    /// The range is in bytes; both ends must be multiples of [`page_size`], or the exact end of the region; `..` is the
    /// whole region and costs a few nanoseconds whatever its size. Pins are flags of the pages, not counts: one
    /// holder's unpin counts for all. Waits for a purge of the same pages that is under way, so that nothing takes them away after
    /// this has returned.
    ///
    /// Stands for `ASHMEM_PIN`, `ashmem_pin_region`.
    ///
    /// # Errors
    /// [`Error::RangeEmpty`], [`Error::RangeOutOfBounds`], [`Error::RangeMisaligned`]; [`Error::ReadOnly`] through a
    /// read-only descriptor, unless the region lost WRITE; [`Error::PurgeStuck`];
    /// [`Error::ControlBlockCorrupt`]. After an error some pages may be pinned and others not.
    #[inline]
    pub fn pin(&self, range: impl RangeBounds<u64>) -> Result<Contents> {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        if let Some(control) = control {
            if PageRange::is_written_whole(&range) && control.area().pin_at_once() {
                return Ok(Contents::Intact);
            }
        }
        let range = PageRange::new(range, self.size())?;
        match control {
            Some(control) => self.inner.pin(control, range),
            None => self.inner.pin_without_writing(range),
        }
    }

    /// [`pin`](Self::pin) of the whole region, if that takes a few instructions and no system call, and finds everything intact. If not,
    /// nothing was done.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn pin_at_once(&self) -> bool {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        control.is_some_and(|control| control.area().pin_at_once())
    }

    /// [`unpin`](Self::unpin) of the whole region, if that takes a few instructions and no system call. If not, it is to be done, as far as
    /// it was not.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn unpin_at_once(&self) -> bool {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        control.is_some_and(|control| control.area().unpin_at_once(state::now()))
            && self.inner.is_looked_after()
    }

    /// [`pin`](Self::pin), as far as that takes no system call. If it takes one, or fails, it is still to be done, and this says
    /// whether a page that is pinned now had been purged.
    #[doc(hidden)]
    #[inline]
    pub fn pin_part_at_once(&self, range: impl RangeBounds<u64>) -> Result<Contents, bool> {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        let (Some(control), Ok(range)) = (control, PageRange::new(range, self.size())) else {
            return Err(false);
        };
        if range.is_whole() {
            return if control.area().pin_at_once() { Ok(Contents::Intact) } else { Err(false) };
        }
        let mut before = false;
        let mut wait = |_, purged| {
            before = purged;
            Err(Error::PurgeStuck { seconds: 0, purged })
        };
        let pinned = control.table().pin(range.first()..range.end(), &mut wait);
        pinned.map(Contents::from_purged).map_err(|_| before)
    }

    /// [`unpin`](Self::unpin), if that takes no system call. If not, it is still to be done.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn unpin_part_at_once(&self, range: impl RangeBounds<u64>) -> bool {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        let (Some(control), Ok(range)) = (control, PageRange::new(range, self.size())) else { return false };
        let (pages, now) = (range.first()..range.end(), state::now());
        let unpinned = if range.is_whole() {
            control.area().unpin_at_once(now)
        } else {
            control.table().unpin(pages, now).is_ok()
        };
        unpinned && self.inner.is_looked_after()
    }

    /// Unpins pages: they could be made again, so they may be taken away when memory runs short, those that were unpinned longest ago
    /// first. The first unpin gives the region a control block, if it has none.
    ///
    /// Frees nothing by itself. Unpinning what is unpinned changes nothing, also not its age; but unpinning a whole region whose
    /// pages were not all unpinned by one call makes all of it as young as this one.
    ///
    /// Stands for `ASHMEM_UNPIN`, `ashmem_unpin_region`.
    ///
    /// # Errors
    /// As [`pin`](Region::pin) for the range; [`Error::NotPurgeable`] when there can be no control block;
    /// [`Error::ReadOnly`] through a read-only descriptor; [`Error::System`].
    #[inline]
    pub fn unpin(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let control = self.inner.known_control().filter(|control| control.is_writable());
        let at_once = match control {
            Some(control) if PageRange::is_written_whole(&range) => {
                control.area().unpin_at_once(state::now())
            }
            _ => false,
        };
        if !at_once {
            let range = PageRange::new(range, self.size())?;
            let control = self.inner.need_control("unpin")?;
            self.inner.unpin(control, range)?;
        }
        self.inner.look_after();
        Ok(())
    }

    /// Whether all pages of a range are pinned, or held by leases or guards: whether none of them can go now.
    ///
    /// Stands for `ASHMEM_GET_PIN_STATUS`.
    ///
    /// # Errors
    /// As [`pin`](Region::pin) for the range; [`Error::ControlBlockCorrupt`]; [`Error::System`].
    pub fn pin_status(&self, range: impl RangeBounds<u64>) -> Result<PinStatus> {
        let range = PageRange::new(range, self.size())?;
        let Some(control) = self.inner.control()? else { return Ok(PinStatus::Pinned) };
        let unpinned = self.inner.is_unpinned(control, range.first()..range.end())?;
        Ok(if unpinned { PinStatus::Unpinned } else { PinStatus::Pinned })
    }

    /// Counts pages and resident bytes.
    ///
    /// # Errors
    /// [`Error::ControlBlockCorrupt`], [`Error::System`].
    pub fn stats(&self) -> Result<Stats> {
        let resident_bytes = self.resident()?;
        let pages = self.size().div_ceil(page_size());
        let Some(control) = self.inner.control()? else {
            return Ok(Stats { pinned_pages: pages, resident_bytes, ..Stats::default() });
        };
        let counts = self.inner.counts(control, 0..pages)?;
        Ok(Stats {
            pinned_pages: counts.pinned,
            unpinned_pages: counts.unpinned + counts.purging,
            purged_pages: counts.purged,
            resident_bytes,
        })
    }

    /// Takes all unpinned pages of this region away now that nobody holds by a [lease](Region::lease) or a
    /// [guard](Region::pin_guard), and returns how many bytes that are.
    ///
    /// # Errors
    /// [`Error::PurgeLocked`] when another process keeps the purge lock; [`Error::ReadOnly`] through a read-only
    /// descriptor; [`Error::System`], with EPERM when the region lost WRITE.
    pub fn purge(&self) -> Result<u64> {
        Ok(self.purge_counted()?.pages * page_size())
    }

    /// [`purge`](Self::purge), and how many bytes of memory that freed.
    #[doc(hidden)]
    pub fn purge_counted(&self) -> Result<Freed> {
        let Some(control) = self.inner.control()? else { return Ok(Freed::default()) };
        let pages = 0..control.layout().pages();
        let mut freed = Freed::default();
        purger::purge(&self.inner, control, pages, u64::MAX, &|_| true, purger::LOCK_PATIENCE, &mut freed)?;
        freed.bytes += purger::sweep(&self.inner, control);
        Ok(freed)
    }

    /// Takes those of the unpinned pages in a range away that nobody holds, whenever they were unpinned: [`purge`](Self::purge) of a part.
    /// The range is as for [`pin`](Self::pin).
    ///
    /// # Errors
    /// As [`pin`](Self::pin) for the range, and as [`purge`](Self::purge). What was taken away before an error is purged, but not counted.
    #[doc(hidden)]
    pub fn purge_range(&self, range: impl RangeBounds<u64>) -> Result<Freed> {
        let range = PageRange::new(range, self.size())?;
        let mut freed = Freed::default();
        if let Some(control) = self.inner.control()? {
            let pages = range.first()..range.end();
            purger::purge(
                &self.inner,
                control,
                pages,
                u64::MAX,
                &|_| true,
                purger::LOCK_PATIENCE,
                &mut freed,
            )?;
        }
        Ok(freed)
    }
}

impl Inner {
    fn pin(&self, control: &Control, range: PageRange) -> Result<Contents> {
        let table = control.table();
        let mut wait = PinWait::new(self, control);
        let mut wait = |futex, purged| wait.wait(futex, purged);
        if !range.is_whole() {
            return Ok(Contents::from_purged(table.pin(range.first()..range.end(), &mut wait)?));
        }
        let walked = table.pin_all(&mut wait)?;
        self.after_walk(control, walked);
        Ok(Contents::from_purged(walked.purged))
    }

    fn unpin(&self, control: &Control, range: PageRange) -> Result<()> {
        let table = control.table();
        if !range.is_whole() {
            return Ok(table.unpin(range.first()..range.end(), state::now())?);
        }
        let walked = table.unpin_all(state::now())?;
        self.after_walk(control, walked);
        Ok(())
    }

    /// Counts states. Unpinned pages that somebody holds count as pinned.
    pub(crate) fn counts(&self, control: &Control, pages: Range<u64>) -> Result<Counts> {
        let table = control.table();
        let mut counts = if table.area.load().is_dirty() {
            let present = Presence::of(self, control);
            table.counts(pages.clone(), &|word| present.absent_words(word))?
        } else {
            table.counts(pages.clone(), &|_| None)?
        };
        if counts.unpinned == 0 {
            return Ok(counts);
        }
        let (held, locked) = (Held::of(self.state_fd(), control), Locked::of(self.state_fd(), pages.clone()));
        if !held.is_none() || !locked.is_none() {
            let mut spared = 0;
            for (index, select) in table.select(pages) {
                let held = held.word(index).or(locked.word(index)).and(select);
                if !held.is_empty() {
                    spared += u64::from(table.read_word(index)?.2.unpinned().and(held).len());
                }
            }
            let spared = spared.min(counts.unpinned);
            counts.unpinned -= spared;
            counts.pinned += spared;
        }
        Ok(counts)
    }

    fn is_unpinned(&self, control: &Control, pages: Range<u64>) -> Result<bool> {
        let table = control.table();
        // A few words are cheaper to read than to ask about.
        let unpinned = if pages.end - pages.start <= CHUNK_PAGES || !table.area.load().is_dirty() {
            table.is_unpinned(pages.clone(), &|_| None)?
        } else {
            let present = Presence::of(self, control);
            table.is_unpinned(pages.clone(), &|word| present.absent_words(word))?
        };
        let is_any_held = || {
            !Held::of(self.state_fd(), control).is_none()
                || !Locked::of(self.state_fd(), pages.clone()).is_none()
        };
        if !unpinned || !is_any_held() {
            return Ok(unpinned);
        }
        let counts = self.counts(control, pages)?;
        Ok(counts.unpinned + counts.purging + counts.purged > 0)
    }

    /// A purger that died left its mark, which makes whole-region operations slow until somebody clears it.
    fn after_walk(&self, control: &Control, walked: Walked) {
        if walked.purging {
            purger::recover(self, control, false);
        }
    }

    /// Pinning where there was no control block when this process last looked, or where it cannot be written.
    #[cold]
    fn pin_without_writing(&self, range: PageRange) -> Result<Contents> {
        let Some(control) = self.control()? else { return Ok(Contents::Intact) };
        if control.is_writable() {
            return self.pin(control, range);
        }
        let seals = memfd::seals(self.fd()).map_err(Error::system("read seals"))?;
        if !seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
            return Err(Error::ReadOnly { operation: "pin" });
        }
        // Holes cannot be punched any more: what is there stays. Of pages that somebody was purging when it was sealed nobody knows.
        let counts = self.counts(control, range.first()..range.end())?;
        Ok(Contents::from_purged(counts.purged + counts.purging > 0))
    }

    /// The control block, writable; appended if there is none.
    #[inline]
    pub(crate) fn need_control(&self, operation: &'static str) -> Result<&Control> {
        match self.known_control().filter(|control| control.is_writable()) {
            Some(control) => Ok(control),
            None => self.make_control(operation),
        }
    }

    #[cold]
    fn make_control(&self, operation: &'static str) -> Result<&Control> {
        if !memfd::is_writable(self.state_fd()).map_err(Error::system("look at descriptor"))? {
            return Err(Error::ReadOnly { operation });
        }
        let control = match self.control()? {
            Some(control) => control,
            None => {
                purger::append(self)?;

                self.control()?.ok_or(Error::NotARegion { reason: "the control block went away" })?
            }
        };
        if !control.is_writable() {
            return Err(Error::ReadOnly { operation });
        }
        control.initialise();
        Ok(control)
    }
}
