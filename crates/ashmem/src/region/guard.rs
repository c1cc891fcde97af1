//! Pin guards: pinned for a scope.

use std::fmt;
use std::ops::{Deref, Range, RangeBounds};

use super::hold::Hold;
use super::{Contents, Region};
use crate::mapping::View;
use crate::page::page_size;
use crate::purger::PinWait;
use crate::state;
use crate::{Mapping, PageRange, Result};

/// Pages that nobody takes away for as long as this lives, and access to them.
///
/// Guards are counted: they may nest and overlap, in one thread or in many, and in several processes. The pages can go when the
/// last guard on them is dropped, or its process dies. Unlike the flags of [`Region::pin`], which everybody can take back, a guard is its
/// owner's: to everybody who asks ([`Region::pin_status`]) its pages are pinned, whatever others unpin meanwhile. The flags themselves are
/// taken back when it is made.
///
/// Made by [`Region::pin_guard`]; [`OwnedPinGuard`](crate::OwnedPinGuard) is one that borrows nothing. It derefs to a [`Mapping`]
/// of its range, so that offsets count from the start of that. In a child of `fork(2)` the parent's guards hold nothing: the
/// child makes its own.
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
#[must_use = "the pages may go when the guard is dropped"]
pub struct PinGuard<'a> {
    pub(super) hold: Hold<'a>,
    pub(super) contents: Contents,
    view: View<'a>,
}

impl Region {
    /// Pins a range for as long as the guard lives, and says whether any of it was purged since it was unpinned.
    ///
    /// The range is as for [`Region::pin`]. The first guard of a region gives it a control block, if it has none, and maps it.
    ///
    /// # Errors
    /// Those of [`Region::pin`] and [`Region::unpin`]; those of [`Region::map`]; those of [`Region::lease`].
    #[inline(always)]
    pub fn pin_guard(&self, range: impl RangeBounds<u64>) -> Result<PinGuard<'_>> {
        if PageRange::is_written_whole(&range) {
            let range = PageRange::all(self.size());
            return match self.inner.hold_at_once(&range) {
                Some((hold, mapping)) => {
                    Ok(PinGuard { hold, contents: Contents::Intact, view: View::of(mapping) })
                }
                None => self.guard_slowly(range),
            };
        }
        self.guard_part(PageRange::new(range, self.size())?)
    }

    #[inline]
    fn guard_part(&self, range: PageRange) -> Result<PinGuard<'_>> {
        let bytes = self.bytes(&range);
        if let Some((hold, mapping)) = self.inner.hold_at_once(&range) {
            if let Some(view) = View::within(mapping, bytes.start, bytes.end - bytes.start) {
                return Ok(PinGuard { hold, contents: Contents::Intact, view });
            }
            hold.end();
        }
        self.guard_slowly(range)
    }

    #[inline]
    fn bytes(&self, range: &PageRange) -> Range<u64> {
        range.first() * page_size()..(range.end() * page_size()).min(self.size())
    }

    /// For the first time, or when something was purged.
    #[cold]
    fn guard_slowly(&self, range: PageRange) -> Result<PinGuard<'_>> {
        let control = self.inner.need_control("pin")?;
        let view = self.inner.own_mapping(self)?.view(self.bytes(&range))?;
        let hold = self.inner.hold(Some(control), range)?.for_use();
        // Ends when the rest fails.
        let mut guard = PinGuard { hold, contents: Contents::Intact, view };
        let mut wait = PinWait::new(&self.inner, control);
        let mut wait = |futex, purged| wait.wait(futex, purged);
        let (table, pages) = (control.table(), range.first()..range.end());
        let purged = table.accept(pages.clone(), state::now(), &mut wait)?;
        // They are held. So nothing is to be done for them when this process dies.
        if range.is_whole() {
            table.unpin_all(state::now())?;
        } else {
            table.unpin(pages, state::now())?;
        }
        guard.contents = Contents::from_purged(purged);
        Ok(guard)
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
        self.hold.end();
    }
}

impl fmt::Debug for PinGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard").field("range", &self.range()).field("contents", &self.contents).finish()
    }
}
