//! The server's side of a heap.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ashmem::{Protection, Region, page_size};
use rsbinder::shared_memory::BnMemoryHeap;
use rsbinder::{Binder, Interface, SIBinder};
use rustix::fs::SealFlags;

use super::{Heap, HeapFlags, Memory};
use crate::{Error, Result};

const OPERATION: &str = "make heap";

/// Shared memory that this process serves as `android.utils.IMemoryHeap`.
///
/// Whoever gets its [`binder`](MemoryHeapBase::binder), from a service or in a parcel, has the memory, with
/// [`BpMemoryHeap`](super::BpMemoryHeap) here and with `BpMemoryHeap` of libbinder on Android. Clones are the same heap; it
/// lives until the last of them and the last client's proxy are gone.
///
/// Heaps of [`create`](MemoryHeapBase::create) can neither grow nor shrink; others cannot shrink, nor grow once their region has a
/// control block or is sealed. Heaps that are not `READ_ONLY` are purgeable: server and clients may unpin their pages.
///
/// Stands for `MemoryHeapBase`, `BnMemoryHeap`.
///
/// # Examples
/// ```
/// use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryHeapBase};
///
/// let heap = MemoryHeapBase::create("frames", 1 << 20, HeapFlags::empty())?;
/// heap.mapping()?.fill(0, 1 << 20, 0x7f).map_err(std::io::Error::from)?;
///
/// // What a client does with the binder that it was given; in the same process it finds the heap itself.
/// let received = BpMemoryHeap::from_binder(&heap.binder())?;
/// assert_eq!(received.heap()?.size(), 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryHeapBase {
    /// Each clone of it is the same binder.
    served: Binder<BnMemoryHeap<Heap>>,
}

impl MemoryHeapBase {
    /// A heap of `size` bytes, rounded up to whole pages, in a region called `name`.
    ///
    /// With [`HeapFlags::READ_ONLY`] its file is sealed against new writable mappings (`F_SEAL_FUTURE_WRITE`) once this process has
    /// mapped it for writing; what is sealed so is never purged.
    ///
    /// Stands for `MemoryHeapBase(size, flags, name)`.
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Region::create`] and [`Region::map`]; [`Error::System`] when the file cannot be sealed.
    pub fn create(name: &str, size: u64, flags: HeapFlags) -> Result<MemoryHeapBase> {
        let size = size.checked_next_multiple_of(page_size()).unwrap_or(size);
        let mut options = Region::options();
        if flags.contains(HeapFlags::READ_ONLY) {
            options = options.never_purgeable();
        } else {
            options = options.purgeable();
            if !flags.contains(HeapFlags::MEMFD_ALLOW_SEALING) {
                options = options.no_further_seals();
            }
        }
        let region = options.create(name, size).map_err(Error::memory(OPERATION))?;
        let heap = MemoryHeapBase::from_region(region, flags)?;
        if flags.contains(HeapFlags::READ_ONLY) && !flags.contains(HeapFlags::MEMFD_ALLOW_SEALING) {
            // Only now, for that was a seal as well.
            rustix::fs::fcntl_add_seals(heap.as_fd(), SealFlags::SEAL).map_err(Error::system("seal heap"))?;
        }
        Ok(heap)
    }

    /// Serves all of a region.
    ///
    /// With [`HeapFlags::READ_ONLY`] a region that can be purged stays so, and receivers get a descriptor that only reads: that
    /// stops mistakes and other users, while a process of the same user can open the file anew. WRITE is taken away from any other
    /// region, for good and for everybody ([`Region::set_protection`]). The seals stay as they are otherwise.
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Region::map`], [`Region::share_read_only`] and [`Region::set_protection`].
    pub fn from_region(region: Region, flags: HeapFlags) -> Result<MemoryHeapBase> {
        let size = region.size();
        MemoryHeapBase::from_part(region, 0, size, flags)
    }

    /// Serves `size` bytes from `offset` on of the region behind a descriptor; size 0 is all of the rest. The offset must be a
    /// multiple of the page size.
    ///
    /// Receivers get the whole descriptor, and with it the whole region. With [`HeapFlags::READ_ONLY`] as [`MemoryHeapBase::from_region`].
    ///
    /// Stands for `MemoryHeapBase(fd, size, flags, offset)`.
    ///
    /// # Errors
    /// [`Error::OutOfHeap`] when there is no such part; [`Error::Memory`] as [`Region::from_fd`] and [`MemoryHeapBase::from_region`].
    /// The descriptor is closed in any case.
    pub fn from_fd(fd: OwnedFd, size: u64, flags: HeapFlags, offset: u64) -> Result<MemoryHeapBase> {
        let region = Region::from_fd(fd).map_err(Error::memory(OPERATION))?;
        let size = if size == 0 { region.size().saturating_sub(offset) } else { size };
        MemoryHeapBase::from_part(region, offset, size, flags)
    }

    fn from_part(region: Region, offset: u64, size: u64, flags: HeapFlags) -> Result<MemoryHeapBase> {
        let protection = region.protection().map_err(Error::memory(OPERATION))?;
        // The server's own mapping may write, whatever receivers may do. It comes before the seal.
        let writable = protection.contains(Protection::WRITE);
        let mut heap = Heap::made(region, offset, size, flags, writable)?;
        if let (Memory::Made { region, for_receivers, .. }, true) =
            (&mut heap.memory, flags.contains(HeapFlags::READ_ONLY))
        {
            if region.has_control_block() {
                *for_receivers =
                    Some(region.share_read_only().map_err(Error::memory("share heap read-only"))?);
            } else if writable {
                let rest = protection.difference(Protection::WRITE);
                region.set_protection(rest).map_err(Error::memory("make heap read-only"))?;
            }
        }
        Ok(MemoryHeapBase { served: Binder::new(BnMemoryHeap(Arc::new(heap))) })
    }

    /// The binder that clients get: to register as a service, or to write to a parcel.
    #[must_use]
    pub fn binder(&self) -> SIBinder {
        self.served.as_binder()
    }

    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.served.0
    }
}

impl Deref for MemoryHeapBase {
    type Target = Heap;

    fn deref(&self) -> &Heap {
        self.heap()
    }
}

impl fmt::Debug for MemoryHeapBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heap().fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ashmem::Contents;

    use super::*;

    fn seals(heap: &MemoryHeapBase) -> SealFlags {
        rustix::fs::fcntl_get_seals(heap.as_fd()).unwrap() - SealFlags::from_bits_retain(0x20)
    }

    #[test]
    fn files_are_sealed_as_their_flags_say() {
        let fixed = SealFlags::GROW | SealFlags::SHRINK;
        for (flags, expected) in [
            (HeapFlags::empty(), fixed | SealFlags::SEAL),
            (HeapFlags::FORCE_MEMFD, fixed | SealFlags::SEAL),
            (HeapFlags::MEMFD_ALLOW_SEALING, fixed),
            (HeapFlags::READ_ONLY, fixed | SealFlags::FUTURE_WRITE | SealFlags::SEAL),
            (HeapFlags::READ_ONLY | HeapFlags::MEMFD_ALLOW_SEALING, fixed | SealFlags::FUTURE_WRITE),
            (HeapFlags::DONT_MAP_LOCALLY | HeapFlags::NO_CACHING, fixed | SealFlags::SEAL),
        ] {
            let heap = MemoryHeapBase::create("sealed", 8192, flags).unwrap();
            assert_eq!(seals(&heap), expected, "{flags:?}");
            rustix::fs::ftruncate(&*heap, 4096).unwrap_err();
            rustix::fs::ftruncate(&*heap, 1 << 20).unwrap_err();
            assert_eq!(heap.mapping().is_ok(), !flags.contains(HeapFlags::DONT_MAP_LOCALLY));
        }
    }

    #[test]
    fn a_part_must_be_inside_and_start_at_a_page() {
        let region = || Region::create("whole", 4 * page_size()).unwrap().into_fd().unwrap();
        for flags in [HeapFlags::empty(), HeapFlags::DONT_MAP_LOCALLY] {
            let part = |size, offset| MemoryHeapBase::from_fd(region(), size, flags, offset);
            assert_eq!(part(0, page_size()).unwrap().size(), 3 * page_size());
            assert_eq!(part(10, page_size()).unwrap().size(), 10);
            for (size, offset) in [(0, 4 * page_size()), (1, 4 * page_size()), (1, u64::MAX), (u64::MAX, 0)] {
                let error = part(size, offset).unwrap_err();
                assert!(matches!(error, Error::OutOfHeap { .. }), "{error}");
            }
            assert!(matches!(part(1, 100).unwrap_err(), Error::Memory { .. }));
        }
        let pipe = rustix::pipe::pipe().unwrap().0;
        assert!(matches!(MemoryHeapBase::from_fd(pipe, 0, HeapFlags::empty(), 0), Err(Error::Memory { .. })));
    }

    #[test]
    fn a_heap_that_ends_within_a_page_has_that_page() {
        let region = Region::options().purgeable().create("whole", 4 * page_size()).unwrap();
        let fd = region.as_fd().try_clone_to_owned().unwrap();
        let heap = MemoryHeapBase::from_fd(fd, page_size() + 10, HeapFlags::empty(), page_size()).unwrap();
        heap.unpin(..).unwrap();
        assert_eq!(region.stats().unwrap().unpinned_pages, 2);
        assert_eq!(heap.lease(page_size()..).unwrap().contents(), Contents::Intact);
        assert_eq!(heap.pin(page_size()..page_size() + 10).unwrap(), Contents::Intact);
        assert!(matches!(heap.pin(..page_size() + 1), Err(Error::Memory { .. })));
        assert_eq!(region.stats().unwrap().unpinned_pages, 1);
    }

    #[test]
    fn a_purgeable_region_stays_so_when_receivers_may_only_read() {
        let region = Region::options().purgeable().create("purgeable", 8192).unwrap();
        let heap = MemoryHeapBase::from_region(region, HeapFlags::READ_ONLY).unwrap();
        heap.mapping().unwrap().write_at(0, b"x").unwrap();
        let received = Region::from_fd(heap.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(matches!(received.map(), Err(ashmem::Error::ReadOnly { .. })));
        heap.unpin(..).unwrap();
        assert_ne!(heap.region().unwrap().purge().unwrap(), 0);
        assert!(heap.pin(..).unwrap().is_purged());
    }
}
