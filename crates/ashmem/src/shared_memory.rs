//! `android.os.SharedMemory`: a region behind an object that can be closed.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::sys::fork;
use crate::{Error, MapOptions, Mapping, Protection, Region, Result};

/// The label of what is created without a name, as in libcutils.
pub(crate) const NO_NAME: &str = "none";

const MAP: &str = "map shared memory";

/// Shared memory with a size, a protection that can only be narrowed, and an end of its own: `android.os.SharedMemory`.
///
/// It holds a [`Region`] until it is [closed](SharedMemory::close), which any thread may do at any time. Mappings outlive
/// that; to unmap, drop them. All checks are made in the order in which Android makes them, and every one has a variant of
/// [`Error`]:
///
/// | Java | [`Error`] |
/// |---|---|
/// | `IllegalStateException` | [`Closed`](Error::Closed) |
/// | `IllegalArgumentException` | [`InvalidSize`](Error::InvalidSize), [`ProtectionInvalid`](Error::ProtectionInvalid), [`RangeEmpty`](Error::RangeEmpty), [`RangeOutOfBounds`](Error::RangeOutOfBounds); [`NotARegion`](Error::NotARegion) of a descriptor |
/// | `ErrnoException` | everything else, with [`Error::raw_os_error`] |
///
/// # Examples
/// ```
/// use ashmem::{Protection, SharedMemory};
///
/// let memory = SharedMemory::create("settings", 4096)?;
/// let writable = memory.map_read_write()?;
/// assert!(memory.set_protect(Protection::READ)?);
///
/// // What a receiver of the descriptor can do:
/// let received = SharedMemory::from_fd(memory.try_clone_fd()?)?;
/// assert!(received.map_read_write().is_err());
/// let readable = received.map_read_only()?;
///
/// memory.close();
/// writable.write_at(0, b"still mapped")?;
/// assert_eq!(readable.read_vec(0, 12)?, b"still mapped");
/// # Ok::<(), ashmem::Error>(())
/// ```
pub struct SharedMemory {
    /// None when closed. Locked only inside a fork section, and never while the region is used.
    region: Mutex<Option<Region>>,
}

impl SharedMemory {
    /// Makes shared memory of `size` bytes, all zeros, with every protection bit. The name is a label, and may be `None`.
    ///
    /// Stands for `SharedMemory.create`. A [`Region`] made with other options becomes one with `SharedMemory::from`.
    ///
    /// # Errors
    /// As [`Region::create`].
    pub fn create<'a>(name: impl Into<Option<&'a str>>, size: u64) -> Result<SharedMemory> {
        Region::create(name.into().unwrap_or(NO_NAME), size).map(SharedMemory::from)
    }

    /// Takes a descriptor that was received.
    ///
    /// Stands for `SharedMemory.fromFileDescriptor`. As there, the descriptor is gone also after an error.
    ///
    /// # Errors
    /// As [`Region::from_fd`].
    pub fn from_fd(fd: OwnedFd) -> Result<SharedMemory> {
        Region::from_fd(fd).map(SharedMemory::from)
    }

    /// Narrows the protection of later mappings, in all processes and for good, to `protection`. False when that was refused:
    /// because it has a bit that the protection in force has not, or because this holder may not.
    /// [`Region::set_protection`] does the same and says why it refuses.
    ///
    /// Stands for `SharedMemory.setProtect`.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::ProtectionInvalid`] for bits other than the three
    /// ([`Protection::from_bits_retain`] can make such).
    pub fn set_protect(&self, protection: Protection) -> Result<bool> {
        let region = self.open("set protection of shared memory")?;
        require_known(protection)?;
        Ok(region.set_protection(protection).is_ok())
    }

    /// Maps `length` bytes from `offset` on, shared, for what `protection` says.
    ///
    /// Stands for `SharedMemory.map`. The offset must be a multiple of [`page_size`](crate::page_size), as `mmap(2)` wants it
    /// and so Android; the length may be any.
    ///
    /// # Errors
    /// In this order: [`Error::Closed`]; [`Error::ProtectionInvalid`]; [`Error::RangeEmpty`] for length 0;
    /// [`Error::RangeOutOfBounds`], also when the sum overflows; [`Error::RangeMisaligned`] (EINVAL);
    /// [`Error::ProtectionDenied`] (EPERM); [`Error::ReadOnly`] (EACCES) for writing through a read-only descriptor;
    /// else as [`MapOptions::map`].
    pub fn map(&self, protection: Protection, offset: u64, length: u64) -> Result<Mapping> {
        let region = self.open(MAP)?;
        require_known(protection)?;
        if length == 0 {
            return Err(Error::RangeEmpty { start: offset, end: offset });
        }
        let end = offset.checked_add(length).ok_or(Error::RangeOutOfBounds {
            start: offset,
            end: u64::MAX,
            size: region.size(),
        })?;
        MapOptions::new().protection(protection).range(offset..end).map(&region)
    }

    /// Maps everything for reading. Stands for `SharedMemory.mapReadOnly`.
    ///
    /// # Errors
    /// As [`SharedMemory::map`].
    pub fn map_read_only(&self) -> Result<Mapping> {
        MapOptions::new().read_only().map(&self.open(MAP)?)
    }

    /// Maps everything for reading and writing. Stands for `SharedMemory.mapReadWrite`.
    ///
    /// # Errors
    /// As [`SharedMemory::map`].
    pub fn map_read_write(&self) -> Result<Mapping> {
        MapOptions::new().map(&self.open(MAP)?)
    }

    /// Size in bytes, exactly as it was asked for. Stands for `SharedMemory.getSize`.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn size(&self) -> Result<u64> {
        self.open("get size of shared memory").map(|region| region.size())
    }

    /// The number of the descriptor, which stays this object's; `None` when it is closed, where Java's `getFd` is -1.
    ///
    /// It may be closed, and the number used again, at any moment; [`SharedMemory::try_clone_fd`] gives one that stays.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.with(|region| region.as_ref().map(|region| region.as_fd().as_raw_fd()))
    }

    /// A duplicate of the descriptor, to send. Stands for `writeToParcel` and `getFdDup`.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::System`] when there is no free descriptor.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        duplicate(&self.open("duplicate descriptor of shared memory")?)
    }

    /// The descriptor, for who wants only that.
    ///
    /// # Errors
    /// As [`SharedMemory::try_clone_fd`].
    pub fn into_fd(self) -> Result<OwnedFd> {
        let region = self.with(Option::take);
        region.ok_or(Error::Closed { operation: "take descriptor of shared memory" })?.into_fd()
    }

    /// The region: a clone, which stays open when this is closed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn region(&self) -> Result<Region> {
        self.open("get region of shared memory")
    }

    /// Closes the descriptor, once no thread is using it any more; closing again does nothing. Mappings stay.
    ///
    /// Stands for `SharedMemory.close`.
    pub fn close(&self) {
        let region = self.with(Option::take);
        // Not in the fork section any more.
        drop(region);
    }

    fn open(&self, operation: &'static str) -> Result<Region> {
        self.with(|region| region.clone()).ok_or(Error::Closed { operation })
    }

    fn with<T>(&self, action: impl FnOnce(&mut Option<Region>) -> T) -> T {
        let _section = fork::section();
        action(&mut self.region.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Region> for SharedMemory {
    fn from(region: Region) -> SharedMemory {
        SharedMemory { region: Mutex::new(Some(region)) }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("region", &self.region().ok()).finish()
    }
}

pub(crate) fn duplicate(region: &Region) -> Result<OwnedFd> {
    let fd = region.as_fd().try_clone_to_owned();
    fd.map_err(|source| Error::System { operation: "duplicate descriptor", source })
}

fn require_known(protection: Protection) -> Result<()> {
    let bits = protection.bits();
    if Protection::from_bits(bits).is_none() { Err(Error::ProtectionInvalid { bits }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_size;

    const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

    fn memory(size: u64) -> SharedMemory {
        SharedMemory::create(None, size).unwrap()
    }

    #[test]
    fn usable_from_any_thread() {
        fn any_thread<T: Send + Sync + fmt::Debug>() {}
        any_thread::<SharedMemory>();
    }

    #[test]
    fn created_with_a_name_or_without() {
        let named = SharedMemory::create("label", 1).unwrap();
        assert_eq!(named.region().unwrap().name().unwrap(), "label");
        assert_eq!(memory(1).region().unwrap().name().unwrap(), "none");
        assert_eq!(memory(1).size().unwrap(), 1);
        assert!(matches!(SharedMemory::create("x", 0), Err(Error::InvalidSize { size: 0, .. })));
        assert!(matches!(SharedMemory::create("x", u64::MAX), Err(Error::InvalidSize { .. })));
        assert!(matches!(SharedMemory::create("a\0b", 1), Err(Error::NameHasNul)));
    }

    #[test]
    fn protection_only_shrinks() {
        let memory = memory(1);
        assert!(memory.set_protect(Protection::READ).unwrap());
        assert!(memory.set_protect(Protection::READ).unwrap());
        assert!(!memory.set_protect(READ_WRITE).unwrap());
        assert!(memory.set_protect(Protection::empty()).unwrap());
        assert!(!memory.set_protect(Protection::READ).unwrap());
        assert_eq!(memory.region().unwrap().protection().unwrap(), Protection::empty());
    }

    #[test]
    fn a_holder_that_may_not_is_told_false() {
        let memory = memory(1);
        let reader = SharedMemory::from_fd(memory.region().unwrap().share_read_only().unwrap()).unwrap();
        assert!(!reader.set_protect(Protection::READ).unwrap());
        assert_eq!(memory.region().unwrap().protection().unwrap(), Protection::all());
        let refused = reader.map_read_write().unwrap_err();
        assert!(matches!(refused, Error::ReadOnly { .. }), "{refused:?}");
        assert_eq!(refused.raw_os_error(), libc::EACCES);
    }

    #[test]
    fn unknown_protection_bits_are_refused() {
        let memory = memory(1);
        for bits in [u32::MAX, 8, 1 << 31, 9] {
            let protection = Protection::from_bits_retain(bits);
            assert!(
                matches!(memory.set_protect(protection), Err(Error::ProtectionInvalid { bits: b }) if b == bits)
            );
            assert!(matches!(memory.map(protection, 0, 1), Err(Error::ProtectionInvalid { .. })));
        }
        assert_eq!(memory.region().unwrap().protection().unwrap(), Protection::all());
    }

    #[test]
    fn what_the_protection_refuses_is_eperm() {
        let memory = memory(1);
        let older = memory.map_read_write().unwrap();
        assert!(memory.set_protect(Protection::READ).unwrap());
        let refused = memory.map_read_write().unwrap_err();
        assert!(matches!(refused, Error::ProtectionDenied { .. }), "{refused:?}");
        assert_eq!(refused.raw_os_error(), libc::EPERM);
        let readable = memory.map_read_only().unwrap();
        assert_eq!(readable.protection(), Protection::READ);
        assert!(matches!(readable.write_at(0, &[0]), Err(Error::ReadOnly { .. })));
        older.write_at(0, &[20]).unwrap();
        assert_eq!(readable.read_vec(0, 1).unwrap(), [20]);
        assert!(memory.set_protect(Protection::empty()).unwrap());
        assert_eq!(memory.map_read_only().unwrap_err().raw_os_error(), libc::EPERM);
    }

    #[test]
    fn maps_parts() {
        let p = page_size();
        let memory = memory(3 * p);
        let whole = memory.map_read_write().unwrap();
        whole.write_at(p + 3, b"part").unwrap();
        let part = memory.map(READ_WRITE, p, 7).unwrap();
        assert_eq!((part.offset(), part.len()), (p, 7));
        assert_eq!(part.read_vec(3, 4).unwrap(), b"part");
        assert_eq!(memory.map(Protection::empty(), 0, 1).unwrap().protection(), Protection::empty());
        assert_eq!(memory.map(READ_WRITE, 0, 3 * p).unwrap().len(), 3 * p);
    }

    /// Each call fails more than one check, and the first counts.
    #[test]
    fn checks_come_in_androids_order() {
        let p = page_size();
        let memory = memory(2 * p);
        let bad = Protection::from_bits_retain(u32::MAX);
        let map = |protection, offset, length| memory.map(protection, offset, length).unwrap_err();
        assert!(matches!(map(bad, 1, 0), Error::ProtectionInvalid { .. }));
        assert!(matches!(map(Protection::READ, u64::MAX, 0), Error::RangeEmpty { .. }));
        assert!(matches!(map(Protection::READ, 1, 2 * p), Error::RangeOutOfBounds { .. }));
        assert!(matches!(map(Protection::READ, 1, u64::MAX), Error::RangeOutOfBounds { .. }));
        assert!(matches!(map(Protection::READ, 2 * p, 1), Error::RangeOutOfBounds { .. }));
        assert!(memory.set_protect(Protection::empty()).unwrap());
        let misaligned = map(Protection::READ, 1, 1);
        assert!(matches!(misaligned, Error::RangeMisaligned { .. }));
        assert_eq!(misaligned.raw_os_error(), libc::EINVAL);
        assert!(matches!(map(Protection::READ, p, 1), Error::ProtectionDenied { .. }));
        memory.close();
        assert!(matches!(map(bad, 1, 0), Error::Closed { .. }));
        assert!(matches!(memory.set_protect(bad), Err(Error::Closed { .. })));
    }

    #[test]
    fn closed_once_and_for_all() {
        let memory = memory(8192);
        let mapping = memory.map_read_write().unwrap();
        let number = memory.fd().unwrap();
        assert_eq!(number, memory.region().unwrap().as_fd().as_raw_fd());
        let twin = SharedMemory::from_fd(memory.try_clone_fd().unwrap()).unwrap();
        memory.close();
        memory.close();
        assert_eq!(memory.fd(), None);
        let refusals = [
            memory.size().map(drop),
            memory.map_read_only().map(drop),
            memory.map_read_write().map(drop),
            memory.map(Protection::READ, 0, 1).map(drop),
            memory.set_protect(Protection::READ).map(drop),
            memory.try_clone_fd().map(drop),
            memory.region().map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::Closed { .. })), "{refusal:?}");
        }
        assert!(format!("{memory:?}").contains("None"));
        assert!(matches!(memory.into_fd(), Err(Error::Closed { .. })));
        mapping.write_at(0, b"mapped").unwrap();
        assert_eq!(twin.map_read_only().unwrap().read_vec(0, 6).unwrap(), b"mapped");
    }

    #[test]
    fn close_closes_the_descriptor() {
        let memory = memory(1);
        let inode = memory.region().unwrap().file_id().unwrap();
        let path = format!("/proc/self/fd/{}", memory.fd().unwrap());
        let is_ours = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(&path).is_ok_and(|file| file.ino() == inode)
        };
        assert!(is_ours());
        memory.close();
        assert!(!is_ours(), "closed, or used again by another test");
    }

    #[test]
    fn takes_over_descriptors() {
        let memory = memory(5000);
        let fd = memory.try_clone_fd().unwrap();
        let number = fd.as_raw_fd();
        let received = SharedMemory::from_fd(fd).unwrap();
        assert_eq!((received.fd(), received.size().unwrap()), (Some(number), 5000));
        assert_eq!(received.into_fd().unwrap().as_raw_fd(), number);
        let pipe = std::io::pipe().unwrap().0;
        assert!(matches!(SharedMemory::from_fd(pipe.into()), Err(Error::NotARegion { .. })));
    }

    #[test]
    fn close_races_with_everything() {
        for _ in 0..200 {
            let memory = memory(8192);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while let Ok(mapping) = memory.map_read_write() {
                            mapping.write_at(8191, &[1]).unwrap();
                        }
                        assert!(matches!(memory.size(), Err(Error::Closed { .. })));
                    });
                }
                scope.spawn(|| {
                    std::thread::yield_now();
                    memory.close();
                });
            });
        }
    }
}
