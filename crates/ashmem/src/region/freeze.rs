//! Regions that nobody can change any more.
#![allow(unsafe_code, reason = "sealed memory may be a slice")]

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::Region;
use crate::control::{Control, too_large};
use crate::sys::map::RawMap;
use crate::sys::memfd;
use crate::{Contents, Error, Result};

/// How long the driver daemon may take to let go of a region, and how often to look.
const DRIVER_PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(100);

/// A region whose contents cannot change, in any process, ever again: sealed by the kernel against writing, growing and
/// shrinking, mapped, and readable as a slice.
///
/// It can be handed to processes that need not trust this one: [`Frozen::from_fd`] checks the seals.
///
/// # Examples
/// ```
/// use ashmem::{Frozen, Region};
///
/// let region = Region::create("index", 5)?;
/// region.map()?.write_at(0, b"index")?;
/// let frozen = region.freeze()?;
/// assert_eq!(&frozen[..], b"index");
///
/// let received = Frozen::from_fd(frozen.into_fd())?;
/// assert_eq!(&received[..], b"index");
/// # Ok::<(), ashmem::Error>(())
/// ```
pub struct Frozen {
    fd: OwnedFd,
    map: RawMap,
    len: usize,
}

/// A region that could not be frozen, and why. The region is as it was, and pinned.
#[derive(Debug, thiserror::Error)]
#[error("freeze region: {source}")]
pub struct FreezeError {
    /// The region.
    pub region: Region,
    /// What is in the way.
    pub source: Error,
}

impl From<FreezeError> for Error {
    fn from(error: FreezeError) -> Error {
        error.source
    }
}

impl Region {
    /// Pins everything, seals the contents for good and maps them.
    /// Waits, for a second at most, until a driver daemon has let go of the region.
    ///
    /// # Errors
    /// [`FreezeError`], which gives the region back: with EBUSY when a writable shared mapping of it exists in any process,
    /// also that of its control block by another process that unpinned it; when a page was purged and is zeros now
    /// ([`Error::NotPurgeable`] says so: write the contents again and freeze then); when other clones of the region are left.
    pub fn freeze(self) -> Result<Frozen, FreezeError> {
        let fail = |region, source| Err(FreezeError { region, source });
        match self.pin(..) {
            Ok(Contents::Intact) => {}
            Ok(Contents::Purged) => {
                return fail(
                    self,
                    Error::NotPurgeable { reason: "its contents were purged before it was frozen" },
                );
            }
            Err(source) => return fail(self, source),
        }
        // A descriptor that cannot read could be sealed, but not mapped.
        match self.is_writable() {
            Ok(true) => {}
            Ok(false) => return fail(self, Error::ReadOnly { operation: "freeze region" }),
            Err(source) => return fail(self, source),
        }
        if let Err(source) = self.seal_against_shrinking() {
            return fail(self, source);
        }
        let mut inner = match self.into_inner() {
            Ok(inner) => inner,
            Err(region) => {
                let busy = Error::system("freeze region with other clones")(Errno::BUSY);
                return fail(region, busy);
            }
        };
        // The mappings of the control block would be in the way: our own, and that of the daemon, which lets go of it now.
        inner.control.take();
        inner.mapping.take();
        let patience = if inner.registration.is_served() { DRIVER_PATIENCE } else { Duration::ZERO };
        inner.registration = inner.registration.renewed();
        let sealed = seal(inner.fd(), patience).map_err(Error::system("seal region against writing"));
        let mapped = sealed.and_then(|()| map(inner.fd(), inner.size));
        match mapped {
            Ok((map, len)) => Ok(Frozen { fd: inner.fd, map, len }),
            Err(source) => {
                inner.watched.store(false, Ordering::SeqCst);
                fail(Region::handle(Arc::new(inner)), source)
            }
        }
    }
}

/// Seals the contents, and waits for who is about to let go of the region.
fn seal(fd: BorrowedFd<'_>, patience: Duration) -> Result<(), Errno> {
    let since = Instant::now();
    loop {
        let sealed = memfd::add_seals(fd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK);
        if sealed != Err(Errno::BUSY) || since.elapsed() >= patience {
            return sealed;
        }
        std::thread::sleep(PAUSE);
    }
}

impl Frozen {
    /// Takes a frozen region that was received.
    ///
    /// # Errors
    /// [`Error::NotARegion`] when it is not a memfd that is sealed against writing and shrinking; else as
    /// [`Region::from_fd`].
    pub fn from_fd(fd: OwnedFd) -> Result<Frozen> {
        let region = Region::from_fd(fd)?;
        let seals = memfd::seals(region.as_fd()).map_err(Error::system("read seals"))?;
        if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(Error::NotARegion { reason: "it is not frozen" });
        }
        let purged = match region.inner.control()? {
            Some(control) => purged(&region, control)?,
            None => false,
        };
        if purged {
            return Err(Error::NotARegion { reason: "its contents were purged before it was frozen" });
        }
        let (map, len) = map(region.as_fd(), region.size())?;
        Ok(Frozen { fd: region.into_fd()?, map, len })
    }

    /// The descriptor, to hand on.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

fn purged(region: &Region, control: &Control) -> Result<bool> {
    let counts = region.inner.counts(control, 0..control.layout().pages())?;
    Ok(counts.purged + counts.purging > 0)
}

fn map(fd: BorrowedFd<'_>, size: u64) -> Result<(RawMap, usize)> {
    let len = usize::try_from(size).map_err(|_| too_large(size))?;
    // Private, because the kernel takes a shared mapping of a writable descriptor for one that might become writable.
    let map = RawMap::new(fd, 0, len, ProtFlags::READ, MapFlags::PRIVATE);
    Ok((map.map_err(Error::system("map frozen region"))?, len))
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped readable for as long as `self`; the seals WRITE and SHRINK, which no one can take off,
        // exclude writable mappings, `write(2)`, holes and truncation in every process.
        unsafe { std::slice::from_raw_parts(self.map.start(), self.len) }
    }
}

impl AsFd for Frozen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("fd", &self.fd).field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writable_mapping_is_in_the_way_and_the_region_comes_back() {
        let region = Region::create("freeze", 8192).expect("a region");
        let mapping = region.map().expect("mapped");
        mapping.write_at(0, b"data").expect("written");
        let error = region.freeze().expect_err("a writable mapping exists");
        assert_eq!(error.source.raw_os_error(), libc::EBUSY);
        drop(mapping);
        let frozen = error.region.freeze().expect("nothing is in the way");
        assert_eq!(&frozen[..4], b"data");
        assert!(memfd::punch(frozen.as_fd(), 0, 4096).is_err());
    }

    #[test]
    fn after_unpinning_and_purging() {
        let region = Region::create("freeze", 8192).expect("a region");
        region.map().expect("mapped").write_at(0, b"data").expect("written");
        region.unpin(..).expect("unpinned");
        region.purge().expect("purged");
        let error = region.freeze().expect_err("the contents are gone");
        let region = error.region;
        region.map().expect("mapped").write_at(0, b"again").expect("written");
        region.unpin(..).expect("unpinned");
        let frozen = region.freeze().expect("intact");
        assert_eq!(&frozen[..5], b"again");
        assert_eq!(frozen.len(), 8192);
    }

    #[test]
    fn what_is_not_frozen_is_not_taken_for_it() {
        let region = Region::create("freeze", 8192).expect("a region");
        let fd = region.into_fd().expect("the descriptor");
        assert!(matches!(Frozen::from_fd(fd), Err(Error::NotARegion { .. })));
    }
}
