//! Pin guards: pinned for a scope.

use std::fmt;
use std::ops::{Deref, Range, RangeBounds};

use super::hold::Hold;
use super::{Contents, Inner, Region};
use crate::control::Control;
use crate::mapping::View;
use crate::page::page_size;
use crate::purger::PinWait;
use crate::state::{self, States, Whole};
use crate::{Mapping, PageRange, Result};

/// Pages that are pinned for as long as this lives, and access to them.
///
/// Guards are counted: they may nest and overlap, in one thread or in many, and in several processes. The pages can go again when the
/// last guard on them is dropped: each unpins its pages, and they stay while another holds them. Until then nobody takes them away, also when somebody else unpins them
/// meanwhile ([`Region::pin`] is a flag that everybody can take back). The guards of a process that dies end with it.
///
/// Made by [`Region::pin_guard`]. It derefs to a [`Mapping`] of its range, so that offsets count from the start of that. In a
/// child of `fork(2)` the parent's guards hold nothing: the child makes its own.
///
/// # Examples
/// ```
/// use ashmem::{Contents, Region};
///
/// let region = Region::create("tiles", 1 << 20)?;
/// {
///     let tile = region.pin_guard(4096..12288)?;
///     tile.write_at(0, b"drawn")?;
///     assert!(tile.write_at(8192, b"outside").is_err());
/// } // may go from here on
/// let tile = region.pin_guard(4096..12288)?;
/// if tile.contents() == Contents::Purged {
///     tile.write_at(0, b"drawn")?;
/// }
/// assert_eq!(tile.read_vec(0, 5)?, b"drawn");
/// # Ok::<(), ashmem::Error>(())
/// ```
#[must_use = "the pages are unpinned when the guard is dropped"]
pub struct PinGuard<'a> {
    hold: Hold<'a>,
    region: &'a Region,
    contents: Contents,
    view: View<'a>,
}

impl Region {
    /// Pins a range for as long as the guard lives, and says whether any of it was purged since it was unpinned.
    ///
    /// The range is as for [`Region::pin`]. The first guard of a region gives it a control block, if it has none, and maps it.
    ///
    /// # Errors
    /// Those of [`Region::pin`] and [`Region::unpin`]; those of [`Region::map`]; those of [`Region::lease`].
    #[inline]
    pub fn pin_guard(&self, range: impl RangeBounds<u64>) -> Result<PinGuard<'_>> {
        let range = PageRange::new(range, self.size())?;
        let inner = &*self.inner;
        let control = match inner.known_control().filter(|control| control.is_writable()) {
            Some(control) => control,
            None => inner.need_control("pin")?,
        };
        let mapping = inner.own_mapping(self)?;
        let view = match range.is_whole() {
            true => mapping.view(..)?,
            false => {
                mapping.view(range.first() * page_size()..(range.end() * page_size()).min(self.size()))?
            }
        };
        let hold = inner.hold(Some(control), range, Whole::Guard)?;
        let purged = match inner.accept(control, range.first()..range.end()) {
            Ok(purged) => purged,
            Err(error) => {
                hold.end();
                return Err(error);
            }
        };
        Ok(PinGuard { hold, region: self, contents: Contents::from_purged(purged), view })
    }
}

impl Inner {
    /// Takes note of purged pages that are held.
    #[inline(always)]
    pub(crate) fn accept(&self, control: &Control, pages: Range<u64>) -> Result<bool> {
        if !control.area().load().may_have_purged() {
            return Ok(false);
        }
        self.accept_purged(control, pages)
    }

    #[cold]
    fn accept_purged(&self, control: &Control, pages: Range<u64>) -> Result<bool> {
        let mut wait = PinWait::new(self, control);
        let mut wait = |futex, purged| wait.wait(futex, purged);
        control.table().accept(pages, state::now(), &mut wait)
    }
}

impl Region {
    /// Ends a guard's hold, after which its pages may go.
    #[inline(always)]
    fn let_go(&self, hold: &Hold<'_>) {
        let Some(control) = self.inner.known_control().filter(|_| !hold.is_inherited()) else { return };
        let holds = control.holds();
        if hold.is_in_another_guard(&holds) {
            // That one unpins them, unless it has ended in the meantime.
            if hold.end() {
                self.unpin_after(control, hold, true);
            }
        } else if hold.is_held_again(&holds) {
            // What is held goes on being used, so they do not get younger yet.
            if control.table().unpin_late(hold.pages(), state::now) == Ok(true) {
                self.inner.look_after();
            }
            hold.end();
        } else {
            self.unpin_after(control, hold, false);
        }
    }

    fn unpin_after(&self, control: &Control, hold: &Hold<'_>, ended: bool) {
        let (pages, table, stamp) = (hold.pages(), control.table(), state::now());
        // They are as old as the end of their last use, and may go from the end of the hold on.
        table.touch(pages.clone(), stamp);
        if !ended {
            hold.end();
        }
        // Also where others hold them: leases unpin nothing when they end.
        if !table.is_base(States::UNPINNED) {
            let whole = pages.start == 0 && pages.end == table.pages;
            // Corrupt words are for the next pin to tell.
            let _ = if whole { table.unpin_all(stamp).map(drop) } else { table.unpin(pages, stamp) };
        }
        self.inner.look_after();
    }
}

impl PinGuard<'_> {
    /// Whether everything is as it was, or a page was taken away and reads as zeros. Told once: the next guard says
    /// [`Contents::Intact`].
    #[inline]
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// The pinned pages, in bytes of the region.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let start = self.view.offset();
        start..start + self.view.len()
    }
}

impl Deref for PinGuard<'_> {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.view
    }
}

impl Drop for PinGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.region.let_go(&self.hold);
    }
}

impl fmt::Debug for PinGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard").field("range", &self.range()).field("contents", &self.contents).finish()
    }
}
