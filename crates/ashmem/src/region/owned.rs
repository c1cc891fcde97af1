//! Leases and pin guards that borrow nothing: for who cannot keep them beside their region.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range, RangeBounds};

use super::hold::OwnedHold;
use super::{Contents, Region};
use crate::mapping::OwnedView;
use crate::page::page_size;
use crate::{Mapping, Result};

/// A [`Lease`](crate::Lease) that keeps its region itself.
///
/// For leases that are kept elsewhere than the region: behind a handle of a C or Java interface, or in another thread. It
/// counts as a clone of the region, and holds what a [`Lease`](crate::Lease) holds, for as long.
///
/// Made by [`Region::lease_owned`].
///
/// # Examples
/// ```
/// use ashmem::{Contents, OwnedLease, Region};
///
/// fn leased() -> ashmem::Result<OwnedLease> {
///     let region = Region::create("glyphs", 1 << 20)?;
///     region.unpin(..)?;
///     region.lease_owned(..65536)
/// }
///
/// let lease = leased()?;
/// assert_eq!((lease.contents(), lease.range()), (Contents::Intact, 0..65536));
/// assert_eq!(lease.region().stats()?.pinned_pages, 65536 / ashmem::page_size());
/// # Ok::<(), ashmem::Error>(())
/// ```
#[must_use = "a lease ends when it is dropped"]
pub struct OwnedLease {
    /// Ends before the region may go.
    hold: OwnedHold,
    contents: Contents,
    region: Region,
}

/// A [`PinGuard`](crate::PinGuard) that keeps its region itself.
///
/// For guards that are kept elsewhere than the region: behind a handle of a C or Java interface, or in another thread. It
/// counts as a clone of the region, and is a [`PinGuard`](crate::PinGuard) otherwise: it derefs to a [`Mapping`] of its range.
///
/// Made by [`Region::pin_guard_owned`].
///
/// # Examples
/// ```
/// use ashmem::Region;
///
/// let region = Region::create("tiles", 1 << 20)?;
/// let tile = region.pin_guard_owned(4096..12288)?;
/// drop(region);
/// std::thread::spawn(move || tile.write_at(0, b"drawn")).join().expect("no panic")?;
/// # Ok::<(), ashmem::Error>(())
/// ```
#[must_use = "the pages may go when the guard is dropped"]
pub struct OwnedPinGuard {
    /// Ends before the region may go.
    _hold: OwnedHold,
    contents: Contents,
    view: OwnedView,
}

impl Region {
    /// [`Region::lease`], without borrowing the region.
    ///
    /// # Errors
    /// As [`Region::lease`].
    pub fn lease_owned(&self, range: impl RangeBounds<u64>) -> Result<OwnedLease> {
        // Is not dropped: the owned hold ends in its place.
        let lease = ManuallyDrop::new(self.lease(range)?);
        Ok(OwnedLease { hold: lease.hold.to_owned(), contents: lease.contents, region: self.clone() })
    }

    /// [`Region::pin_guard`], without borrowing the region.
    ///
    /// # Errors
    /// As [`Region::pin_guard`].
    pub fn pin_guard_owned(&self, range: impl RangeBounds<u64>) -> Result<OwnedPinGuard> {
        // Is not dropped: the owned hold ends in its place, also when the rest fails.
        let guard = ManuallyDrop::new(self.pin_guard(range)?);
        let hold = guard.hold.to_owned();
        let view = OwnedView::new(self.clone(), guard.range())?;
        Ok(OwnedPinGuard { _hold: hold, contents: guard.contents, view })
    }
}

impl OwnedLease {
    /// Whether the contents were there when the lease was taken; if they were, they are until it ends.
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// The leased pages, in bytes of the region.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let pages = self.hold.pages();
        pages.start * page_size()..pages.end * page_size()
    }

    /// The region, to map it for instance.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl OwnedPinGuard {
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

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        self.view.region()
    }
}

impl Deref for OwnedPinGuard {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.view
    }
}

impl fmt::Debug for OwnedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedLease")
            .field("range", &self.range())
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPinGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPinGuard")
            .field("range", &self.range())
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use crate::{Error, PinStatus, Reclaimer};

    const PAGES: u64 = 40;

    fn region() -> Region {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let options = Region::options().reclaimer(&reclaimer);
        let region = options.create("owned", PAGES * page_size()).expect("a region");
        region.map().expect("mapped").fill(0, region.size(), 1).expect("written");
        region
    }

    /// The same region as another process would have it.
    fn peer(region: &Region) -> Region {
        let options = Region::options().reclaimer(&Reclaimer::builder().without_thread().build());
        Region::from_fd_with(region.share_read_write().expect("reopened"), options).expect("a region")
    }

    fn bytes(pages: Range<u64>) -> Range<u64> {
        pages.start * page_size()..pages.end * page_size()
    }

    #[test]
    fn usable_from_any_thread() {
        fn any_thread<T: Send + Sync + fmt::Debug + 'static>() {}
        any_thread::<OwnedLease>();
        any_thread::<OwnedPinGuard>();
    }

    #[test]
    fn leases_outlive_the_handle_that_they_were_made_from() {
        let ours = region();
        ours.unpin(..).expect("unpinned");
        let theirs = peer(&ours);
        let reader = Region::from_fd(ours.share_read_only().expect("reopened")).expect("a region");
        let lease = theirs.lease_owned(bytes(3..13)).expect("leased");
        let locked = reader.lease_owned(bytes(10..20)).expect("leased");
        drop((theirs, reader));
        assert_eq!((lease.contents(), lease.range()), (Contents::Intact, bytes(3..13)));
        assert_eq!(ours.purge().expect("purged"), (PAGES - 17) * page_size());
        let mapping = lease.region().map_read_only().expect("mapped");
        assert_eq!(mapping.read_vec(bytes(3..13).start, 1).expect("read"), [1]);
        drop(lease);
        assert_eq!(ours.purge().expect("purged"), 7 * page_size());
        drop(locked);
        assert_eq!(ours.purge().expect("purged"), 10 * page_size());
        assert_eq!(ours.lease_owned(..).expect("leased").contents(), Contents::Purged);
    }

    #[test]
    fn guards_outlive_the_handle_that_they_were_made_from() {
        let ours = region();
        let theirs = peer(&ours);
        let whole = ours.pin_guard_owned(..).expect("pinned");
        let part = theirs.pin_guard_owned(bytes(30..PAGES)).expect("pinned");
        drop(theirs);
        assert_eq!((whole.contents(), whole.range()), (Contents::Intact, 0..ours.size()));
        part.write_at(5, b"drawn").expect("inside");
        assert!(matches!(part.write_at(part.len(), b"x"), Err(Error::AccessOutOfBounds { .. })));
        ours.unpin(..).expect("unpinned");
        assert_eq!(ours.purge().expect("purged"), 0);
        drop(whole);
        assert_eq!(ours.purge().expect("purged"), 30 * page_size());
        assert_eq!(part.read_vec(5, 5).expect("read"), b"drawn");
        assert_eq!(part.region().pin_status(part.range()).expect("asked"), PinStatus::Pinned);
        drop(part);
        assert_eq!(ours.purge().expect("purged"), 10 * page_size());
        assert!(ours.pin_guard_owned(bytes(2..3)).expect("pinned").contents().is_purged());
    }

    #[test]
    fn the_end_of_a_guard_is_a_use_and_that_of_a_lease_is_none() {
        let region = region();
        region.unpin(..).expect("unpinned");
        let stamp =
            || region.inner.known_control().expect("unpinned once").area().stamp.load(Ordering::Relaxed);
        let unpinned = stamp();
        drop(region.lease_owned(..).expect("leased"));
        assert_eq!(stamp(), unpinned);
        drop(region.pin_guard_owned(..).expect("pinned"));
        assert!(stamp() > unpinned);
    }

    #[test]
    fn they_count_as_clones() {
        let region = region();
        region.unpin(..).expect("unpinned");
        let lease = region.lease_owned(..).expect("leased");
        let error = region.freeze().expect_err("there is a clone");
        assert_eq!(error.source.raw_os_error(), libc::EBUSY);
        // Does not wait for the lease.
        let fd = error.region.into_fd().expect("a duplicate");
        assert_eq!(Region::from_fd(fd).expect("a region").file_id().ok(), lease.region().file_id().ok());
    }
}
