//! Holds: what keeps pages from being purged while somebody reads them. Leases and guards are made of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use rustix::io::Errno;

use super::Inner;
use crate::control::Control;
use crate::page::page_size;
use crate::state;
use crate::sys::fork;
use crate::{Error, Mapping, PageRange, Result};

/// Up to so many pages it is quicker to count each than to ask the kernel for a lock.
const COUNTED_PAGES: u64 = 1024;

/// How pages are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The whole region, counted in a slot.
    Region(u16),
    /// Each page, counted in a slot.
    Pages(u16),
    /// A read lock on the bytes.
    Lock,
}

/// No purge takes these pages away until its [end](Hold::end), whatever becomes of their pins. When the process dies it ends, too.
///
/// In a forked child it means nothing: it is the parent's. (Has no destructor, so that guards end in a few instructions.)
#[must_use = "who takes it has to end it"]
pub(crate) struct Hold<'a> {
    inner: &'a Arc<Inner>,
    control: Option<&'a Control>,
    pages: Range<u64>,
    by: By,
    generation: u32,
    is_use: bool,
}

/// A hold that keeps its region itself, and ends when it is dropped.
pub(crate) struct OwnedHold {
    inner: Arc<Inner>,
    pages: Range<u64>,
    by: By,
    generation: u32,
    is_use: bool,
}

impl Inner {
    /// Holds pages for a use, and gives the mapping to use them through, when that takes nothing but counting: this process has
    /// a slot, the pages are unpinned, and nothing is purged in the region.
    #[inline(always)]
    pub(crate) fn hold_at_once(self: &Arc<Self>, range: &PageRange) -> Option<(Hold<'_>, &Mapping)> {
        let control = self.known_control()?;
        let mapping = self.mapping.get()?;
        // Who has a slot has a writable control block.
        let slot = self.holder.slot()?;
        let by = if range.is_whole() {
            control.holds().hold_all(slot);
            By::Region(slot as u16)
        } else {
            hold_pages(control, slot, range)?
        };
        let (pages, generation) = (range.first()..range.end(), fork::generation());
        let mut hold = Hold { inner: self, control: Some(control), pages, by, generation, is_use: true };
        if !is_unpinned(control, range) {
            hold.is_use = false;
            hold.end();
            return None;
        }
        Some((hold, mapping))
    }

    /// Holds pages. Whether they are there has to be looked at afterwards.
    pub(crate) fn hold<'a>(
        self: &'a Arc<Self>,
        control: Option<&'a Control>,
        range: PageRange,
    ) -> Result<Hold<'a>> {
        let by = self.hold_by(control, self.holder.slot(), &range)?;
        let pages = range.first()..range.end();
        Ok(Hold { inner: self, control, pages, by, generation: fork::generation(), is_use: false })
    }

    fn hold_by(
        self: &Arc<Self>,
        control: Option<&Control>,
        slot: Option<usize>,
        range: &PageRange,
    ) -> Result<By> {
        let Some(control) = control.filter(|control| control.is_writable()) else {
            return self.hold_by_lock(range);
        };
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
                Ok(By::Region(slot as u16))
            }
            Some(slot) if control.holds().hold(slot, range.first()..range.end()) => {
                Ok(By::Pages(slot as u16))
            }
            _ => self.hold_by_lock(range),
        }
    }

    #[cold]
    fn hold_by_lock(&self, range: &PageRange) -> Result<By> {
        let section = fork::section();
        let bytes = range.first() * page_size()..range.end() * page_size();
        let locked = self.holder.kept(&section).lease(self, &section, &bytes)?;
        // The lock comes before the look at the states.
        fence(Ordering::SeqCst);
        if locked { Ok(By::Lock) } else { Err(Error::system("lease")(Errno::AGAIN)) }
    }
}

impl Hold<'_> {
    #[inline]
    pub(crate) fn pages(&self) -> Range<u64> {
        self.pages.clone()
    }

    /// A hold that ends a use of the pages: unless this process still holds them, they are young then.
    #[inline]
    pub(crate) fn for_use(mut self) -> Self {
        self.is_use = true;
        self
    }

    /// Takes that back: the pages were of no use.
    pub(crate) fn for_nothing(&mut self) {
        self.is_use = false;
    }

    /// The same hold, for longer than this reference to the region: that one is to end, instead of this.
    pub(crate) fn to_owned(&self) -> OwnedHold {
        let Hold { inner, pages, by, generation, is_use, .. } = self;
        OwnedHold {
            inner: Arc::clone(inner),
            pages: pages.clone(),
            by: *by,
            generation: *generation,
            is_use: *is_use,
        }
    }

    /// Ends it, once.
    #[inline(always)]
    pub(crate) fn end(&self) {
        if self.generation != fork::generation() {
            // A parent's.
            return;
        }
        let (By::Region(slot), Some(control)) = (self.by, self.control) else { return self.end_part() };
        let is_last = control.holds().release_all(slot.into());
        if self.is_use {
            if is_last {
                control.area().stamp.store(state::now(), Ordering::Relaxed);
            }
            // Also before the last: what ends after it may be a lease, which is no use.
            self.inner.look_after();
        }
    }

    /// Ends one that is not of the whole region by its count.
    #[inline]
    fn end_part(&self) {
        let is_last = match (self.by, self.control) {
            (By::Pages(slot), Some(control)) => control.holds().release(slot.into(), self.pages()),
            _ => {
                self.unlock();
                true
            }
        };
        if let (true, Some(control)) = (self.is_use, self.control) {
            if is_last {
                control.table().touch(self.pages(), state::now());
            }
            self.inner.look_after();
        }
    }

    #[cold]
    fn unlock(&self) {
        let section = fork::section();
        let bytes = self.pages.start * page_size()..self.pages.end * page_size();
        self.inner.holder.kept(&section).end_lease(&section, &bytes);
    }
}

impl OwnedHold {
    pub(super) fn pages(&self) -> Range<u64> {
        self.pages.clone()
    }
}

impl Drop for OwnedHold {
    fn drop(&mut self) {
        let OwnedHold { inner, pages, by, generation, is_use } = self;
        let (control, pages) = (inner.known_control(), pages.clone());
        Hold { inner, control, pages, by: *by, generation: *generation, is_use: *is_use }.end();
    }
}

/// Whether nothing of the region is purged, and none of the pages is pinned.
#[inline]
fn is_unpinned(control: &Control, range: &PageRange) -> bool {
    let area = control.area().load();
    if area.may_have_purged() {
        return false;
    }
    area.is_all_unpinned()
        || (!range.is_whole() && control.table().is_none_pinned(range.first()..range.end()))
}

/// Counts pages, if they are few.
#[inline]
fn hold_pages(control: &Control, slot: usize, range: &PageRange) -> Option<By> {
    let counted = range.len() <= COUNTED_PAGES && control.holds().hold(slot, range.first()..range.end());
    counted.then_some(By::Pages(slot as u16))
}
