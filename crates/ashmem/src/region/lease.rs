//! Leases: pages that nobody purges while they are read.

use std::fmt;
use std::ops::{Range, RangeBounds};

use super::hold::Hold;
use super::{Contents, Region};
use crate::page::page_size;
use crate::purger::PinWait;
use crate::{PageRange, Result};

/// Pages that no purge takes away, in any process, for as long as this lives.
///
/// A lease is not a pin: it changes no flag that others could change back, it is counted, and when its process dies it ends.
/// So it is what readers of shared data take, and who has only a read-only descriptor. It does not keep the contents from being
/// written.
///
/// Made by [`Region::lease`]; [`OwnedLease`](crate::OwnedLease) is one that borrows nothing. In a child of `fork(2)` the parent's leases hold nothing: the child takes its own.
///
/// # Examples
/// ```
/// use ashmem::{Contents, Region};
///
/// let region = Region::create("glyphs", 1 << 20)?;
/// let mapping = region.map()?;
/// mapping.write_at(0, b"glyph")?;
/// region.unpin(..)?;
///
/// let reader = Region::from_fd(region.share_read_only()?)?;
/// let lease = reader.lease(..65536)?;
/// assert_eq!(lease.contents(), Contents::Intact);
/// region.purge()?; // takes the rest
/// assert_eq!(reader.map_read_only()?.read_vec(0, 5)?, b"glyph");
/// # Ok::<(), ashmem::Error>(())
/// ```
#[must_use = "a lease ends when it is dropped"]
pub struct Lease<'a> {
    pub(super) hold: Hold<'a>,
    pub(super) contents: Contents,
}

impl Region {
    /// Takes a lease on a range and says whether its contents are there.
    ///
    /// The range is in bytes; both ends must be multiples of [`page_size`](fn@crate::page_size), or the exact end of the region. Through a writable
    /// descriptor of a region that was unpinned before, the whole region and ranges up to 4 MiB take some nanoseconds; all other
    /// leases are read locks (`F_OFD_SETLK`, `fcntl(2)`), which take about a microsecond unless this process has leased the same range already.
    ///
    /// Of what is [built again](crate::Purgeable) when a part of it is gone, lease the whole, or whole parts: the builder writes
    /// all of a part, also pages of it that are leased.
    ///
    /// A lease on purged pages keeps nothing, and their owner may build them again while it lives; drop it then and take another one.
    ///
    /// # Errors
    /// As [`Region::pin`] for the range; [`Error::PurgeStuck`](crate::Error::PurgeStuck),
    /// [`Error::ControlBlockCorrupt`](crate::Error::ControlBlockCorrupt); [`Error::System`](crate::Error::System): no `/proc`, no free
    /// descriptor (a process keeps a second one for each region that it leases), or EAGAIN when somebody has locked the bytes for writing.
    pub fn lease(&self, range: impl RangeBounds<u64>) -> Result<Lease<'_>> {
        let range = PageRange::new(range, self.size())?;
        // Ends when the rest fails.
        let mut lease =
            Lease { contents: Contents::Intact, hold: self.inner.hold(self.inner.control()?, range)? };
        // What is purged from here on is not leased, or the lease was seen.
        if let Some(control) = self.inner.control()? {
            let mut wait = PinWait::new(&self.inner, control);
            let mut wait = |futex, purged| wait.wait(futex, purged);
            let purged = control.table().is_any_purged(range.first()..range.end(), &mut wait)?;
            lease.contents = Contents::from_purged(purged);
        }
        Ok(lease)
    }
}

impl Lease<'_> {
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
}

impl Drop for Lease<'_> {
    #[inline]
    fn drop(&mut self) {
        self.hold.end();
    }
}

impl fmt::Debug for Lease<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("range", &self.range()).field("contents", &self.contents).finish()
    }
}
