//! Windows of any size from one heap.

mod free;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashmem::fork_section;

use self::free::{FreeRuns, GRANULE, Run};
use crate::heap::{HeapFlags, MemoryHeapBase};
use crate::memory::MemoryBase;
use crate::{Error, Result};

/// Deals out windows of one heap, so that clients map memory once for all of them.
///
/// A window is free again when the last reference to its binder goes: clones of the [`MemoryBase`] here, or proxies in clients,
/// those of processes that ended included. The heap lives as long as the dealer or any window. Clones are the same dealer.
///
/// Whoever has one window has the heap's descriptor, and can look at all of it, at windows that were freed, too; in a heap that
/// is not [`READ_ONLY`](HeapFlags::READ_ONLY) it can also write there. So one dealer is for clients that may see each other's. The memory of a
/// window is not cleared: it has what the one before left there.
///
/// Each window starts at a multiple of 32 bytes, in the smallest free part that has room for it. Allocating and freeing take
/// O(log n) for n free parts, also when aligned: only the first request for an alignment that was never asked for looks at all parts.
///
/// Stands for `MemoryDealer`, `SimpleBestFitAllocator`.
///
/// # Examples
/// ```
/// use ashmem_binder::{HeapFlags, MemoryDealer};
///
/// let dealer = MemoryDealer::new("sprites", 1 << 20, HeapFlags::empty())?;
/// let sprite = dealer.allocate(1000)?;
/// sprite.view()?.write_at(0, b"sprite")?;
/// let frame = dealer.allocate_aligned(1000, 4096)?;
/// assert_eq!(frame.offset() % 4096, 0);
///
/// drop((sprite, frame));
/// assert_eq!(dealer.usage().largest_free, 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryDealer {
    heap: MemoryHeapBase,
    allocator: Arc<Allocator>,
}

/// What is free, and what is not. Windows that are not freed yet keep it, too.
struct Allocator {
    state: Mutex<State>,
}

struct State {
    runs: FreeRuns,
    windows: usize,
}

/// What of a dealer's heap is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DealerUsage {
    /// Windows that are not freed yet.
    pub windows: usize,
    /// Bytes that are free, in all.
    pub free: u64,
    /// Bytes of the largest free part: the largest window that could be had.
    pub largest_free: u64,
    /// Number of free parts; neighbours are one.
    pub free_parts: usize,
}

/// A part of a dealer's heap, which goes back to it on drop.
pub(crate) struct Block {
    allocator: Arc<Allocator>,
    run: Run,
}

impl MemoryDealer {
    /// A dealer with a heap of its own, as [`MemoryHeapBase::create`] makes it.
    ///
    /// Stands for `MemoryDealer(size, name, flags)`.
    ///
    /// # Errors
    /// As [`MemoryHeapBase::create`].
    pub fn new(name: &str, size: u64, flags: HeapFlags) -> Result<MemoryDealer> {
        MemoryHeapBase::create(name, size, flags).map(MemoryDealer::over)
    }

    /// A dealer with a heap that there is already. All of it is taken to be free: it should have one dealer only.
    #[must_use]
    pub fn over(heap: MemoryHeapBase) -> MemoryDealer {
        let state = State { runs: FreeRuns::new(heap.size()), windows: 0 };
        MemoryDealer { heap, allocator: Arc::new(Allocator { state: Mutex::new(state) }) }
    }

    /// A window of `size` bytes.
    ///
    /// Stands for `MemoryDealer::allocate`.
    ///
    /// # Errors
    /// [`Error::InvalidAllocation`] for size 0; [`Error::HeapFull`].
    pub fn allocate(&self, size: u64) -> Result<MemoryBase> {
        self.allocate_aligned(size, GRANULE)
    }

    /// A window of `size` bytes that starts at a multiple of `align` in the heap: a power of two, up to the heap's size.
    ///
    /// In a process the window is at a multiple of that up to the page size, as mappings start at a page.
    ///
    /// # Errors
    /// [`Error::InvalidAllocation`] for size 0 and any other alignment; [`Error::HeapFull`] with the largest size that could be
    /// had with this alignment.
    pub fn allocate_aligned(&self, size: u64, align: u64) -> Result<MemoryBase> {
        if size == 0 || !align.is_power_of_two() || align > self.heap.size() {
            return Err(Error::InvalidAllocation { size, align, heap_size: self.heap.size() });
        }
        let full = |largest| Error::HeapFull { size, largest };
        let block = self.allocator.take(size, align.max(GRANULE)).map_err(full)?;
        let offset = block.run.offset;
        MemoryBase::with_block(&self.heap, offset, size, Some(block))
    }

    /// The heap that the windows are in. Stands for `MemoryDealer::getMemoryHeap`.
    #[must_use]
    pub fn heap(&self) -> &MemoryHeapBase {
        &self.heap
    }

    /// What is in use, and what is free. Stands for `MemoryDealer::dump`.
    #[must_use]
    pub fn usage(&self) -> DealerUsage {
        let _section = fork_section();
        let State { runs, windows } = &*self.allocator.lock();
        DealerUsage {
            windows: *windows,
            free: runs.free(),
            largest_free: runs.largest(),
            free_parts: runs.count_runs(),
        }
    }
}

impl Allocator {
    fn take(self: &Arc<Self>, size: u64, align: u64) -> Result<Block, u64> {
        let _section = fork_section();
        let mut state = self.lock();
        let run = state.runs.take(size, align)?;
        state.windows += 1;
        Ok(Block { allocator: Arc::clone(self), run })
    }

    /// Inside a section alone, or a child of `fork(2)` may find it locked for ever.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _section = fork_section();
        let mut state = self.allocator.lock();
        state.runs.give_back(self.run);
        state.windows -= 1;
    }
}

impl fmt::Debug for MemoryDealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDealer").field("heap", &self.heap).field("usage", &self.usage()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ashmem::page_size;

    use super::*;
    use crate::BpMemory;

    fn dealer(size: u64) -> MemoryDealer {
        MemoryDealer::new("dealer", size, HeapFlags::empty()).unwrap()
    }

    #[test]
    fn windows_have_exactly_the_size_that_was_asked_for() {
        let dealer = dealer(1);
        let size = dealer.heap().size();
        assert_eq!(size, page_size());
        let windows: Vec<_> = [1, 33, 32, 100].map(|size| dealer.allocate(size).unwrap()).into();
        let places: Vec<_> = windows.iter().map(|window| (window.offset(), window.size())).collect();
        assert_eq!(places, [(0, 1), (32, 33), (96, 32), (128, 100)]);
        assert!(windows[1].view().unwrap().write_at(32, b"ab").is_err());
        let expected = DealerUsage { windows: 4, free: size - 256, largest_free: size - 256, free_parts: 1 };
        assert_eq!(dealer.usage(), expected);
        drop(windows);
        assert_eq!(dealer.allocate(size).unwrap().size(), size);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let dealer = dealer(2 * page_size());
        let size = dealer.heap().size();
        for (size, align) in [(0, 1), (1, 0), (1, 3), (1, 2 * size), (1, u64::MAX), (0, 0)] {
            let refusal = dealer.allocate_aligned(size, align).unwrap_err();
            assert!(matches!(refusal, Error::InvalidAllocation { .. }), "{refusal}");
        }
        let first = dealer.allocate_aligned(1, 1).unwrap();
        let full = |answer: Result<MemoryBase>| match answer {
            Err(Error::HeapFull { size, largest }) => (size, largest),
            answer => panic!("{answer:?}"),
        };
        assert_eq!(full(dealer.allocate(size)), (size, size - 32));
        assert_eq!(full(dealer.allocate(u64::MAX)), (u64::MAX, size - 32));
        assert_eq!(full(dealer.allocate_aligned(size, size)), (size, 0));
        assert_eq!(full(dealer.allocate_aligned(size, size / 2)), (size, size / 2));
        drop(first);
        assert_eq!(dealer.allocate_aligned(size, size).unwrap().offset(), 0);
    }

    #[test]
    fn a_window_is_freed_with_its_last_reference() {
        let dealer = dealer(page_size());
        let window = dealer.allocate(10).unwrap();
        let clone = window.clone();
        let binder = window.binder();
        let proxy = BpMemory::from_binder(&binder).unwrap();
        proxy.window().unwrap().view().unwrap().write_at(0, b"still").unwrap();
        let other = dealer.clone();
        drop(dealer);
        for reference in [Box::new(window) as Box<dyn std::any::Any>, Box::new(binder), Box::new(clone)] {
            drop(reference);
            assert_eq!(other.usage().windows, 1);
        }
        drop(proxy);
        assert_eq!((other.usage().windows, other.usage().free), (0, page_size()));
    }

    #[test]
    fn windows_outlive_their_dealer() {
        let dealer = dealer(page_size());
        let window = dealer.allocate(10).unwrap();
        drop(dealer);
        window.view().unwrap().write_at(0, b"ten bytes!").unwrap();
        assert_eq!(window.view().unwrap().read_vec(0, 10).unwrap(), b"ten bytes!");
    }

    #[test]
    fn threads_share_a_dealer() {
        let dealer = dealer(64 * page_size());
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let dealer = dealer.clone();
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..500 {
                        let window = dealer.allocate_aligned(1 + round % 300, 1 << (round % 9)).unwrap();
                        window.view().unwrap().fill(0, window.size(), thread).unwrap();
                        kept.push(window);
                        if kept.len() > 20 {
                            let window = kept.swap_remove(round as usize % 20);
                            let bytes = window.view().unwrap().read_vec(0, window.size()).unwrap();
                            assert!(bytes.iter().all(|byte| *byte == thread));
                        }
                    }
                });
            }
        });
        let size = dealer.heap().size();
        let nothing = DealerUsage { windows: 0, free: size, largest_free: size, free_parts: 1 };
        assert_eq!(dealer.usage(), nothing);
    }

    #[test]
    fn a_heap_of_no_whole_granules_is_dealt_out_too() {
        let region = ashmem::Region::create("odd", 100).unwrap();
        let dealer = MemoryDealer::over(MemoryHeapBase::from_region(region, HeapFlags::empty()).unwrap());
        assert_eq!(dealer.usage().free, 96);
        assert_eq!(dealer.allocate(96).unwrap().size(), 96);
        assert!(matches!(dealer.allocate(97), Err(Error::HeapFull { size: 97, largest: 96 })));
    }
}
