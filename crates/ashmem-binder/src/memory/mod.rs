//! Windows: parts of heaps, as `IMemory` hands them out.

mod base;
mod proxy;

use std::fmt;
use std::sync::Arc;

use ashmem::{Lease, View, page_size};
use rsbinder::shared_memory::{IMemory, IMemoryHeap};

pub use self::base::MemoryBase;
pub(crate) use self::base::Served;
pub use self::proxy::BpMemory;
use crate::heap::Heap;
use crate::{Error, Result};

/// A part of a [`Heap`] in this process: the server's behind a [`MemoryBase`], the clients' behind a [`BpMemory`].
///
/// Stands for `IMemory`: `pointer` is [`Window::view`].
pub struct Window {
    heap: Arc<Heap>,
    offset: u64,
    size: u64,
}

impl Window {
    fn new(heap: Arc<Heap>, offset: u64, size: u64, operation: &'static str) -> Result<Window> {
        let heap_size = heap.size();
        if size == 0 || offset.checked_add(size).is_none_or(|end| end > heap_size) {
            return Err(Error::OutOfHeap { operation, offset, size, heap_size });
        }
        Ok(Window { heap, offset, size })
    }

    /// The heap that it is a part of.
    #[must_use]
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// Where it starts in the heap, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The memory of the window.
    ///
    /// # Errors
    /// [`Error::NotMapped`] as [`Heap::mapping`].
    pub fn view(&self) -> Result<View<'_>> {
        let view = self.heap.mapping()?.view(self.offset..self.offset + self.size);
        view.map_err(Error::memory("look at window"))
    }

    /// Keeps the pages that the window is on, and says whether their contents are there: [`Heap::lease`].
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Heap::lease`].
    pub fn lease(&self) -> Result<Lease<'_>> {
        // Pages are the region's, and the heap starts at one.
        let start = self.offset - self.offset % page_size();
        let end = (self.offset + self.size).next_multiple_of(page_size());
        let region = self.heap.region()?;
        let (start, end) = (self.heap.offset() + start, (self.heap.offset() + end).min(region.size()));
        region.lease(start..end).map_err(Error::memory("lease window"))
    }
}

impl IMemory for Window {
    fn memory(&self) -> &dyn IMemoryHeap {
        &*self.heap
    }

    fn offset(&self) -> usize {
        self.offset as usize
    }

    fn size(&self) -> usize {
        self.size as usize
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("heap", &self.heap)
            .field("offset", &self.offset)
            .field("size", &self.size)
            .finish()
    }
}
