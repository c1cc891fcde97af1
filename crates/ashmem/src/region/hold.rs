//! Holds: what keeps pages from being purged while somebody reads them. Leases and guards are made of them.

use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

use rustix::io::Errno;

use super::Inner;
use crate::control::Control;
use crate::page::page_size;
use crate::state::{Holds, Whole};
use crate::sys::fork;
use crate::{Error, PageRange, Result};

/// Up to so many pages it is quicker to count each than to ask the kernel for a lock.
const COUNTED_PAGES: u64 = 1024;

/// How pages are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The whole region, counted in a slot, for a guard or for a lease.
    Region(usize, Whole),
    /// Each page, counted in a slot.
    Pages(usize),
    /// A read lock on the bytes.
    Lock,
}

/// No purge takes these pages away until its [end](Hold::end), whatever becomes of their pins. When the process dies it ends, too.
///
/// In a forked child it means nothing: it is the parent's.
#[must_use = "who takes it has to end it"]
pub(crate) struct Hold<'a> {
    inner: &'a Inner,
    pages: Range<u64>,
    by: By,
    generation: u32,
}

impl Inner {
    /// Holds pages, the whole region as `whole`. Whether they are there has to be looked at afterwards.
    #[inline(always)]
    pub(crate) fn hold(&self, control: Option<&Control>, range: PageRange, whole: Whole) -> Result<Hold<'_>> {
        let pages = range.first()..range.end();
        let by = match (control.filter(|control| control.is_writable()), self.holder.slot()) {
            (Some(control), Some(slot)) if range.is_whole() => {
                control.holds().hold_all(slot, whole);
                By::Region(slot, whole)
            }
            (Some(control), Some(slot))
                if range.len() <= COUNTED_PAGES && control.holds().hold(slot, pages.clone()) =>
            {
                By::Pages(slot)
            }
            (Some(control), None) => self.hold_for_the_first_time(control, &range, whole)?,
            _ => self.hold_by_lock(&range)?,
        };
        Ok(Hold { inner: self, pages, by, generation: fork::generation() })
    }

    #[cold]
    fn hold_for_the_first_time(&self, control: &Control, range: &PageRange, whole: Whole) -> Result<By> {
        if !range.is_whole() && range.len() > COUNTED_PAGES {
            return self.hold_by_lock(range);
        }
        match self.holder.take_slot(self, control)? {
            Some(slot) if range.is_whole() => {
                control.holds().hold_all(slot, whole);
                Ok(By::Region(slot, whole))
            }
            Some(slot) if control.holds().hold(slot, range.first()..range.end()) => Ok(By::Pages(slot)),
            _ => self.hold_by_lock(range),
        }
    }

    #[cold]
    fn hold_by_lock(&self, range: &PageRange) -> Result<By> {
        let section = fork::section();
        let bytes = range.first() * page_size()..range.end() * page_size();
        let locked = self.holder.kept(&section).lease(self, &bytes)?;
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

    /// Whether it belongs to a parent of this process.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Whether this process has another guard on the whole region.
    #[inline(always)]
    pub(crate) fn is_in_another_guard(&self, holds: &Holds<'_>) -> bool {
        match self.by {
            By::Region(slot, Whole::Guard) => holds.guards(slot) > 1,
            By::Pages(slot) => holds.guards(slot) > 0,
            _ => false,
        }
    }

    /// Whether this process holds the pages in another way, too, as far as that is quickly told.
    #[inline(always)]
    pub(crate) fn is_held_again(&self, holds: &Holds<'_>) -> bool {
        matches!(self.by, By::Pages(slot) if holds.holds_again(slot, &self.pages))
    }

    /// Ends it, once, and says whether it was this process's last guard on the whole region.
    #[inline(always)]
    pub(crate) fn end(&self) -> bool {
        if self.is_inherited() {
            return false;
        }
        match (self.by, self.inner.known_control()) {
            (By::Region(slot, whole), Some(control)) => return control.holds().release_all(slot, whole),
            (By::Pages(slot), Some(control)) => control.holds().release(slot, self.pages.clone()),
            (By::Lock, _) => self.unlock(),
            // What is counted is counted in the control block.
            (_, None) => {}
        }
        false
    }

    #[cold]
    fn unlock(&self) {
        let section = fork::section();
        let bytes = self.pages.start * page_size()..self.pages.end * page_size();
        self.inner.holder.kept(&section).end_lease(&bytes);
    }
}
