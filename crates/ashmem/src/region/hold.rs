//! Holds: what keeps pages from being purged while somebody reads them. Leases and guards are made of them.

use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

use super::Inner;
use crate::control::Control;
use crate::page::page_size;
use crate::sys::fork;
use crate::sys::lock::{self, Kind};
use crate::{Error, PageRange, Result};

/// Up to so many pages it is quicker to count each than to ask the kernel for a lock.
const COUNTED_PAGES: u64 = 1024;

/// How pages are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The whole region, counted in a slot.
    Region(usize),
    /// Each page, counted in a slot.
    Pages(usize),
    /// A read lock on the bytes.
    Lock,
}

/// No purge takes these pages away until it is dropped, whatever becomes of their pins. When the process dies it ends, too.
///
/// In a forked child it means nothing: it is the parent's.
pub(crate) struct Hold<'a> {
    inner: &'a Inner,
    pages: Range<u64>,
    by: By,
    generation: u32,
}

impl Inner {
    /// Holds pages. Whether they are there has to be looked at afterwards.
    #[inline]
    pub(crate) fn hold(&self, control: Option<&Control>, range: PageRange) -> Result<Hold<'_>> {
        let by = match control.filter(|control| control.is_writable()) {
            Some(control) => match self.holder.slot() {
                Some(slot) if range.is_whole() => {
                    control.holds().hold_all(slot);
                    By::Region(slot)
                }
                slot => self.hold_by(control, slot, &range)?,
            },
            None => self.hold_by_lock(&range)?,
        };
        let pages = range.first()..range.end();
        Ok(Hold { inner: self, pages, by, generation: fork::generation() })
    }

    /// Holds pages that are no whole region, or for the first time.
    fn hold_by(&self, control: &Control, slot: Option<usize>, range: &PageRange) -> Result<By> {
        if !range.is_whole() && range.len() > COUNTED_PAGES {
            return self.hold_by_lock(range);
        }
        let slot = match slot {
            Some(slot) => Some(slot),
            None => self.holder.take_slot(self, control)?,
        };
        match slot {
            Some(slot) if range.is_whole() => {
                control.holds().hold_all(slot);
                Ok(By::Region(slot))
            }
            Some(slot) if control.holds().hold(slot, range.first()..range.end()) => Ok(By::Pages(slot)),
            _ => self.hold_by_lock(range),
        }
    }

    #[cold]
    fn hold_by_lock(&self, range: &PageRange) -> Result<By> {
        let section = fork::section();
        let mut kept = self.holder.kept(&section);
        let bytes = range.first() * page_size()..range.end() * page_size();
        let fresh = kept.leased.add(&bytes);
        let locked = kept.file(self).and_then(|file| {
            for part in &fresh {
                let locked = lock::try_set(file, Kind::Read, part.start, part.end);
                if !locked.map_err(Error::system("lease"))? {
                    return Err(Error::system("lease")(rustix::io::Errno::AGAIN));
                }
            }
            Ok(())
        });
        if locked.is_err() {
            let bare = kept.leased.remove(&bytes);
            kept.unlock(self, &bare);
        }
        // The lock comes before the look at the states.
        fence(Ordering::SeqCst);
        locked.map(|()| By::Lock)
    }
}

impl Hold<'_> {
    pub(crate) fn pages(&self) -> Range<u64> {
        self.pages.clone()
    }

    /// Whether it belongs to a parent of this process.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    #[inline]
    fn end(&self) {
        let holds = || self.inner.known_control().map(Control::holds);
        match self.by {
            By::Region(slot) => drop(holds().map(|holds| holds.release_all(slot))),
            By::Pages(slot) => drop(holds().map(|holds| holds.release(slot, self.pages.clone()))),
            By::Lock => self.unlock(),
        }
    }

    #[cold]
    fn unlock(&self) {
        let section = fork::section();
        let mut kept = self.inner.holder.kept(&section);
        // A fork since the question whether it is inherited would have emptied that.
        let bytes = self.pages.start * page_size()..self.pages.end * page_size();
        let bare = kept.leased.remove(&bytes);
        kept.unlock(self.inner, &bare);
    }
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_inherited() {
            self.end();
        }
    }
}
