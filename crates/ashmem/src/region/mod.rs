//! The region: a memfd with a label, a size, and pages that can be unpinned.

mod apart;
mod claim;
mod descriptor;
mod freeze;
mod guard;
mod hold;
mod holder;
mod lease;
mod look;
mod options;
mod owned;
mod pins;
mod protection;

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;

pub use freeze::{FreezeError, Frozen};
pub use guard::PinGuard;
pub use lease::Lease;
pub use look::{PageRun, PageState};
pub use options::RegionOptions;
pub use owned::{OwnedLease, OwnedPinGuard};
pub use pins::{Contents, PinStatus, Stats};

pub(crate) use claim::{BUILDING, claims};
pub(crate) use hold::{Hold, OwnedHold};
pub(crate) use holder::live_slots;

use self::apart::Apart;
use self::holder::Holder;
use crate::control::{Control, Layout};
use crate::page::{page_align, page_size};
use crate::presence::Presence;
use crate::reclaim::{Reclaimer, Registration};
use crate::sys::{fork, memfd};
use crate::{Error, MapOptions, Mapping, Result, reclaim};

/// Longest name of a region in bytes (`memfd_create(2)`).
pub const NAME_MAX: usize = 249;

/// Anonymous shared memory, addressed by a descriptor.
///
/// A region has a fixed size in bytes and a name that is only a label. It is shared by handing its descriptor to
/// another process, in any way that passes descriptors; [`Region::from_fd`] makes a region of what arrives. Its pages
/// start *pinned*. [`unpin`](Region::unpin) says that they could be rebuilt and may be taken away when memory runs
/// short; [`pin`](Region::pin) takes them back and says whether they survived. (This has nothing to do with
/// [`std::pin`].)
///
/// Cloning is cheap and gives the same region; it lives, in this process, until the last clone is dropped. Mappings made
/// before stay valid, but nobody in this process reclaims its unpinned pages any more.
///
/// Stands for a descriptor of `/dev/ashmem`, or of `ashmem_create_region` in libcutils.
///
/// # Examples
/// ```
/// use ashmem::{Contents, Region};
///
/// let region = Region::create("thumbnails", 1 << 20)?;
/// let mapping = region.map()?;
/// mapping.write_at(0, b"decoded image")?;
///
/// region.unpin(..)?;
/// // From here on, the contents may go whenever the system is short of memory.
/// match region.pin(..)? {
///     Contents::Intact => assert_eq!(mapping.read_vec(0, 7)?, b"decoded"[..]),
///     Contents::Purged => mapping.write_at(0, b"decoded again")?,
/// }
/// # Ok::<(), ashmem::Error>(())
/// ```
pub struct Region {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a region, and the reclaimer that watches it, have in common.
pub(crate) struct Inner {
    fd: OwnedFd,
    /// Where the pin state is, if it is not behind the data.
    apart: Option<Apart>,
    /// Clones that the program has. A reclaimer that looks at the region holds the allocation, too.
    handles: AtomicUsize,
    pub(crate) size: u64,
    name: OnceLock<Vec<u8>>,
    control: OnceLock<Control>,
    sealed_against_shrinking: AtomicBool,
    /// The kernel will never let a hole be punched again: it lost WRITE.
    unpurgeable: AtomicBool,
    /// A reclaimer knows this region and its thread is running. See [`crate::reclaim`].
    pub(crate) watched: AtomicBool,
    pub(crate) holder: Holder,
    /// All of it, for guards.
    mapping: OnceLock<Mapping>,
    pub(crate) registration: Registration,
}

impl Region {
    /// Makes a region of `size` bytes, all zeros and pinned. No memory is used until it is touched.
    ///
    /// The name is a label for people (`/proc/PID/maps`); two regions may have the same. It may be any bytes but NUL,
    /// at most [`NAME_MAX`] of them. The descriptor is closed on exec.
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::NameHasNul`], [`Error::InvalidSize`]; [`Error::System`] when the process or the
    /// system has no more descriptors (EMFILE, ENFILE) or memory, or refuses memfds.
    pub fn create(name: impl AsRef<OsStr>, size: u64) -> Result<Region> {
        RegionOptions::new().create(name, size)
    }

    /// Options for a region: purgeable from the start, populated, sealed.
    #[must_use]
    pub fn options() -> RegionOptions {
        RegionOptions::new()
    }

    fn new(fd: OwnedFd, size: u64, name: Option<Vec<u8>>, reclaimer: Option<Reclaimer>) -> Region {
        Region::new_of(fd, None, size, name, reclaimer)
    }

    fn new_of(
        fd: OwnedFd,
        apart: Option<Apart>,
        size: u64,
        name: Option<Vec<u8>>,
        reclaimer: Option<Reclaimer>,
    ) -> Region {
        let inner = Inner {
            fd,
            apart,
            handles: AtomicUsize::new(0),
            size,
            name: name.map_or_else(OnceLock::new, OnceLock::from),
            control: OnceLock::new(),
            sealed_against_shrinking: AtomicBool::new(false),
            unpurgeable: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            holder: Holder::default(),
            mapping: OnceLock::new(),
            registration: Registration::new(reclaimer),
        };
        Region::handle(Arc::new(inner))
    }

    /// Size in bytes, exactly as it was asked for.
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// The name that the region was made with.
    ///
    /// # Errors
    /// [`Error::System`] for a region that was received, in a process without `/proc`.
    pub fn name(&self) -> Result<&OsStr> {
        if let Some(name) = self.inner.name.get() {
            return Ok(OsStr::from_bytes(name));
        }
        let name = memfd::name(self.as_fd()).map_err(Error::system("read region name"))?;
        // A child of fork must not find it being set.
        let _section = fork::section();
        Ok(OsStr::from_bytes(self.inner.name.get_or_init(|| name)))
    }

    /// Whether the region has a control block by now, so that pages of it can be unpinned or may have been, by any of its holders.
    #[must_use]
    pub fn has_control_block(&self) -> bool {
        self.inner.control().is_ok_and(|control| control.is_some())
    }

    /// The inode number: the same for all descriptors of one region, different for any two regions that live at the same
    /// time. Stands for `ASHMEM_GET_FILE_ID`.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn file_id(&self) -> Result<u64> {
        Ok(self.inner.status()?.inode)
    }

    /// Maps the whole region, shared, for reading and writing.
    ///
    /// # Errors
    /// See [`MapOptions::map`].
    pub fn map(&self) -> Result<Mapping> {
        MapOptions::new().map(self)
    }

    /// Maps the whole region, shared, for reading.
    ///
    /// # Errors
    /// See [`MapOptions::map`].
    pub fn map_read_only(&self) -> Result<Mapping> {
        MapOptions::new().read_only().map(self)
    }

    /// Bytes of the region's data that take up memory or swap.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn resident(&self) -> Result<u64> {
        self.inner.resident()
    }

    /// The descriptor, for who wants only that. When other clones of the region are left, it is a duplicate.
    ///
    /// # Errors
    /// [`Error::System`] when there is no free descriptor for a duplicate.
    pub fn into_fd(self) -> Result<OwnedFd> {
        match self.into_inner() {
            Ok(inner) => Ok(inner.fd),
            Err(shared) => shared
                .inner
                .fd
                .try_clone()
                .map_err(|source| Error::System { operation: "duplicate descriptor", source }),
        }
    }

    /// A handle for the program on what a reclaimer or a clone holds.
    pub(crate) fn handle(inner: Arc<Inner>) -> Region {
        inner.handles.fetch_add(1, Ordering::Relaxed);
        Region { inner }
    }

    /// The insides, if this is the last handle. Waits for a reclaimer that is looking at the region just now.
    fn into_inner(self) -> Result<Inner, Region> {
        if self.inner.handles.load(Ordering::Acquire) > 1 {
            return Err(self);
        }
        let mut inner = self.inner.clone();
        drop(self);
        loop {
            match Arc::try_unwrap(inner) {
                Ok(inner) => return Ok(inner),
                // A listener of the reclaimer may have taken a handle in the meantime.
                Err(shared) if shared.handles.load(Ordering::Acquire) > 0 => {
                    return Err(Region::handle(shared));
                }
                Err(shared) => inner = shared,
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Clone for Region {
    fn clone(&self) -> Region {
        Region::handle(self.inner.clone())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.inner.handles.fetch_sub(1, Ordering::Release);
    }
}

impl Inner {
    /// The file of the data, which is that of the pin state, too, unless that is kept apart.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The file of the pin state, and of the locks that belong to it.
    pub(crate) fn state_fd(&self) -> BorrowedFd<'_> {
        self.apart.as_ref().map_or(self.fd(), Apart::state)
    }

    /// Set when the pin state is in a file of its own.
    pub(crate) fn apart(&self) -> Option<&Apart> {
        self.apart.as_ref()
    }

    /// Whether the program still has it. If not, what is left of it is held by those that are looking at it just now.
    pub(crate) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.size)
    }

    pub(crate) fn status(&self) -> Result<memfd::Status> {
        memfd::status(self.fd()).map_err(Error::system("look at region"))
    }

    /// The control block, if this process has met it. Never asks the kernel.
    #[inline]
    pub(crate) fn known_control(&self) -> Option<&Control> {
        self.control.get()
    }

    /// The control block, if there is one by now.
    pub(crate) fn control(&self) -> Result<Option<&Control>> {
        if let Some(control) = self.control.get() {
            return Ok(Some(control));
        }
        let opened = match (Control::open(self.state_fd(), self.size)?, self.apart()) {
            (Some(opened), None) => {
                self.mark_sealed_against_shrinking();
                opened
            }
            (Some(opened), Some(_)) => opened,
            (None, None) => return Ok(None),
            // It was there when the region was made: the descriptor is another file's by now.
            (None, Some(_)) => return Err(Error::system("look at region")(Errno::BADF)),
        };
        // A child of fork must not find it being set.
        let _section = fork::section();
        Ok(Some(self.control.get_or_init(|| opened)))
    }

    /// The mapping that guards give access through.
    #[inline]
    pub(crate) fn own_mapping(&self, region: &Region) -> Result<&Mapping> {
        match self.mapping.get() {
            Some(mapping) => Ok(mapping),
            None => self.map_for_guards(region),
        }
    }

    #[cold]
    fn map_for_guards(&self, region: &Region) -> Result<&Mapping> {
        let mapping = region.map()?;
        // A child of fork must not find it being set.
        let _section = fork::section();
        Ok(self.mapping.get_or_init(|| mapping))
    }

    /// After an unpin: sees to it that a reclaimer watches the region.
    #[inline]
    pub(crate) fn look_after(self: &Arc<Self>) {
        if !self.is_looked_after() {
            reclaim::watch(self);
        }
    }

    #[inline]
    pub(crate) fn is_looked_after(&self) -> bool {
        // Sequentially consistent, as is the unpin: see `reclaim::engine::Shared::unwatch`.
        self.watched.load(Ordering::SeqCst)
    }

    pub(crate) fn resident(&self) -> Result<u64> {
        // First: what is allocated for the control block meanwhile must not count as data.
        let allocated = self.status()?.allocated;
        if self.apart.is_some() {
            return Ok(allocated.min(page_align(self.size)));
        }
        // Without `/proc` it counts as if all of a small block were there.
        let control = self.control()?.map_or(0, |control| {
            let length = control.layout().control_len();
            Presence::of(self, control).bytes().unwrap_or(page_size().min(length))
        });
        let data = allocated.saturating_sub(control);
        Ok(data.min(page_align(self.size)))
    }

    pub(crate) fn is_unpurgeable(&self) -> bool {
        self.unpurgeable.load(Ordering::Relaxed)
    }

    /// Remembers a failure that every later purge would meet, too.
    pub(crate) fn note_purge_failure(&self, error: &Error) {
        if error.raw_os_error() == libc::EPERM {
            self.unpurgeable.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn mark_sealed_against_shrinking(&self) {
        self.sealed_against_shrinking.store(true, Ordering::Relaxed);
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("fd", &self.inner.fd)
            .field("name", &self.name().ok())
            .field("size", &self.inner.size)
            .finish_non_exhaustive()
    }
}
