//! A heap: the region, or the part of one, that a `MemoryHeapBase` serves and its clients use.

mod base;
mod flags;
mod known;
mod proxy;
mod rebuild;
mod received;

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use ashmem::{Contents, Lease, MapOptions, Mapping, PinStatus, Protection, Region, page_size};
use rsbinder::shared_memory::{IMemoryHeap, MappedHeap, SharedBytes};

pub use self::base::MemoryHeapBase;
pub use self::flags::HeapFlags;
pub use self::proxy::BpMemoryHeap;
use self::received::Received;
use crate::{Error, Result};

/// A heap in this process, whoever made it: the server's behind a [`MemoryHeapBase`], the clients' behind a [`BpMemoryHeap`].
///
/// It is a part of a [`Region`], as a rule all of it, with its mapping. Pins, leases and contents are those of the region, so
/// server and clients see each other's. All ranges are in bytes from the start of the heap, and of whole pages: their ends are multiples of
/// the page size, or the end of the heap.
///
/// Stands for `IMemoryHeap`: `getHeapID` is [`AsFd`], `getBase` is [`Heap::mapping`].
///
/// # Examples
/// ```
/// use ashmem::Contents;
/// use ashmem_binder::{HeapFlags, MemoryHeapBase};
///
/// let heap = MemoryHeapBase::create("tiles", 1 << 20, HeapFlags::empty())?;
/// heap.mapping()?.write_at(0, b"tile").map_err(std::io::Error::from)?;
/// heap.unpin(..)?; // may go from here on
/// if heap.pin(..)? == Contents::Purged {
///     // draw it again
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Heap {
    memory: Memory,
    offset: u64,
    size: u64,
    flags: HeapFlags,
}

enum Memory {
    Made {
        region: Region,
        /// None with `DONT_MAP_LOCALLY`.
        mapping: Option<Mapping>,
        /// What receivers get instead of the region's own descriptor.
        for_receivers: Option<OwnedFd>,
    },
    Received {
        received: Received,
        /// Once it is wanted.
        region: OnceLock<Region>,
    },
}

impl Heap {
    /// The part of `region` from `offset` on, mapped as `flags` say.
    fn made(region: Region, offset: u64, size: u64, flags: HeapFlags, writable: bool) -> Result<Heap> {
        const OPERATION: &str = "map heap";
        if size == 0 || offset.checked_add(size).is_none_or(|end| end > region.size()) {
            return Err(Error::OutOfHeap { operation: OPERATION, offset, size, heap_size: region.size() });
        }
        if offset % page_size() != 0 {
            let (end, page_size) = (offset + size, page_size());
            let source = ashmem::Error::RangeMisaligned { start: offset, end, page_size };
            return Err(Error::Memory { operation: OPERATION, source });
        }
        let mut mapping = None;
        if !flags.contains(HeapFlags::DONT_MAP_LOCALLY) {
            let options = MapOptions::new().range(offset..offset + size);
            let options = if writable { options } else { options.read_only() };
            mapping = Some(options.map(&region).map_err(Error::memory(OPERATION))?);
        }
        let memory = Memory::Made { region, mapping, for_receivers: None };
        Ok(Heap { memory, offset, size, flags })
    }

    /// What a server sent.
    fn received(sent: Arc<MappedHeap>) -> Result<Heap> {
        let received = Received::new(sent)?;
        let (offset, size, flags) = (received.offset(), received.len(), received.flags());
        Ok(Heap { memory: Memory::Received { received, region: OnceLock::new() }, offset, size, flags })
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the heap starts in its region, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What its maker asked for.
    #[must_use]
    pub fn flags(&self) -> HeapFlags {
        self.flags
    }

    /// The region that the heap is in, as far as a descriptor tells; of a heap that was received, it is looked at when it is wanted
    /// first.
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Region::from_fd`]; [`Error::System`] when there is no free descriptor.
    pub fn region(&self) -> Result<&Region> {
        match &self.memory {
            Memory::Made { region, .. } => Ok(region),
            Memory::Received { received, region } => match region.get() {
                Some(region) => Ok(region),
                None => {
                    let found = received.region()?;
                    // A child of fork must not find it being set. One that is not needed is dropped afterwards.
                    let _section = ashmem::fork_section();
                    Ok(region.get_or_init(|| found.clone()))
                }
            },
        }
    }

    /// The heap's memory in this process.
    ///
    /// # Errors
    /// [`Error::NotMapped`] in the process that made it with [`HeapFlags::DONT_MAP_LOCALLY`].
    pub fn mapping(&self) -> Result<&Mapping> {
        match &self.memory {
            Memory::Made { mapping, .. } => mapping.as_ref().ok_or(Error::NotMapped),
            Memory::Received { received, .. } => Ok(received),
        }
    }

    /// Pins pages and says whether their contents are still there: [`Region::pin`].
    ///
    /// # Errors
    /// [`Error::OutOfHeap`]; [`Error::Memory`] as [`Region::pin`].
    pub fn pin(&self, range: impl RangeBounds<u64>) -> Result<Contents> {
        let operation = "pin heap";
        self.region()?.pin(self.in_region(&range, operation)?).map_err(Error::memory(operation))
    }

    /// Unpins pages, which may be taken away from then on: [`Region::unpin`].
    ///
    /// # Errors
    /// [`Error::OutOfHeap`]; [`Error::Memory`] as [`Region::unpin`], also for heaps that are never purged.
    pub fn unpin(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let operation = "unpin heap";
        self.region()?.unpin(self.in_region(&range, operation)?).map_err(Error::memory(operation))
    }

    /// Whether pages are pinned, unpinned or purged: [`Region::pin_status`].
    ///
    /// # Errors
    /// [`Error::OutOfHeap`]; [`Error::Memory`] as [`Region::pin_status`].
    pub fn pin_status(&self, range: impl RangeBounds<u64>) -> Result<PinStatus> {
        let operation = "look at pins of heap";
        self.region()?.pin_status(self.in_region(&range, operation)?).map_err(Error::memory(operation))
    }

    /// Keeps pages for as long as the lease lives, whoever unpins them, and says whether their contents are there:
    /// [`Region::lease`]. Works for receivers of read-only heaps, too.
    ///
    /// # Errors
    /// [`Error::OutOfHeap`]; [`Error::Memory`] as [`Region::lease`].
    pub fn lease(&self, range: impl RangeBounds<u64>) -> Result<Lease<'_>> {
        let operation = "lease heap";
        self.region()?.lease(self.in_region(&range, operation)?).map_err(Error::memory(operation))
    }

    /// Whether this process may write to the heap.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.mapping().is_ok_and(|mapping| mapping.protection().contains(Protection::WRITE))
    }

    /// A range of the heap as one of the region.
    fn in_region(&self, range: &impl RangeBounds<u64>, operation: &'static str) -> Result<Range<u64>> {
        let Range { start, end } = self.bytes(range, operation)?;
        let mut end = self.offset + end;
        if end == self.offset + self.size {
            // To the end of the page, for that is a heap's as well.
            end = end.next_multiple_of(page_size()).min(self.region()?.size());
        }
        Ok(self.offset + start..end)
    }

    /// Start and end of a range, which is inside of the heap.
    pub(crate) fn bytes(&self, range: &impl RangeBounds<u64>, operation: &'static str) -> Result<Range<u64>> {
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(self.size),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= self.size => Ok(start..end),
            (start, end) => {
                let offset = start.unwrap_or(u64::MAX);
                let size = end.unwrap_or(u64::MAX).saturating_sub(offset);
                Err(Error::OutOfHeap { operation, offset, size, heap_size: self.size })
            }
        }
    }
}

/// The descriptor that its receivers get or got: `getHeapID`.
impl AsFd for Heap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.memory {
            Memory::Made { for_receivers: Some(fd), .. } => fd.as_fd(),
            Memory::Made { region, .. } => region.as_fd(),
            Memory::Received { received, .. } => received.as_fd(),
        }
    }
}

/// What rsbinder serves a heap by.
impl IMemoryHeap for Heap {
    fn heap_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn size(&self) -> usize {
        self.size as usize
    }

    fn flags(&self) -> u32 {
        self.flags.bits()
    }

    fn offset(&self) -> usize {
        self.offset as usize
    }

    /// None: rsbinder's view of a heap is of its own mappings. This one is at [`Heap::mapping`].
    fn base(&self) -> Option<SharedBytes<'_>> {
        None
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("fd", &self.as_fd())
            .field("offset", &self.offset)
            .field("size", &self.size)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
