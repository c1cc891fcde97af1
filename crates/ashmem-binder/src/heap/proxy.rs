//! A client's side of a heap.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rsbinder::shared_memory::{self as wire, BnMemoryHeap};
use rsbinder::{Binder, SIBinder, StatusCode};

use super::{Heap, known};
use crate::{Error, Result};

const OPERATION: &str = "ask for heap";

/// A heap that some process serves, as its clients see it.
///
/// It asks the server when it is used first, maps the memory once and keeps it: after that there is neither a transaction nor a
/// system call, and the memory stays when the server ends. One heap has one `BpMemoryHeap` in a process, however often its
/// binder comes in; when the last clone goes, the mapping goes. (Over sockets: in a session. Service managers with different options
/// have sessions of their own.)
///
/// Stands for `BpMemoryHeap`, `HeapCache`.
///
/// # Examples
/// ```no_run
/// use ashmem_binder::{BpMemoryHeap, ServiceManager};
///
/// let binder = ServiceManager::new()?.get_service("frames")?;
/// let frames = BpMemoryHeap::from_binder(&binder)?;
/// let mut first = [0; 4];
/// frames.heap()?.mapping()?.read_at(0, &mut first)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BpMemoryHeap {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    binder: SIBinder,
    heap: OnceLock<Arc<Heap>>,
}

impl BpMemoryHeap {
    /// The heap behind a binder. Asks nobody yet.
    ///
    /// # Errors
    /// [`Error::WrongInterface`] when the binder is known to be something else.
    pub fn from_binder(binder: &SIBinder) -> Result<BpMemoryHeap> {
        let descriptor = binder.descriptor();
        // What comes from a socket is not known before the first transaction.
        if descriptor != wire::IMEMORY_HEAP_DESCRIPTOR && !(binder.is_remote() && descriptor.is_empty()) {
            return Err(WRONG_INTERFACE);
        }
        Ok(BpMemoryHeap { inner: known::get(binder) })
    }

    /// The heap itself: a transaction and a mapping the first time.
    ///
    /// # Errors
    /// [`Error::Binder`] when the server does not answer, [`Error::is_dead`] when it has ended; [`Error::WrongInterface`] when
    /// it serves something else; [`Error::Memory`] when what it sent is not a region or cannot be mapped; [`Error::OutOfHeap`]
    /// when the heap is not inside of that. The next call asks again.
    pub fn heap(&self) -> Result<&Heap> {
        self.shared().map(|heap| &**heap)
    }

    pub(crate) fn shared(&self) -> Result<&Arc<Heap>> {
        if let Some(heap) = self.inner.heap.get() {
            return Ok(heap);
        }
        // Not under a lock: the server may call back into this process before it answers. Of two threads the first wins.
        let heap = self.inner.ask()?;
        // A child of fork must not find it being set. One that is not needed is dropped afterwards.
        let _section = ashmem::fork_section();
        Ok(self.inner.heap.get_or_init(|| Arc::clone(&heap)))
    }

    /// The binder that the heap is served by, for death notification and for parcels to the process that it came from.
    #[must_use]
    pub fn binder(&self) -> &SIBinder {
        &self.inner.binder
    }

    /// Whether the server was asked already, so that [`heap`](BpMemoryHeap::heap) asks nobody.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.inner.heap.get().is_some()
    }
}

impl Inner {
    pub(super) fn new(binder: SIBinder) -> Inner {
        Inner { binder, heap: OnceLock::new() }
    }

    pub(super) fn binder(&self) -> &SIBinder {
        &self.binder
    }

    fn ask(&self) -> Result<Arc<Heap>> {
        if !self.binder.is_remote() {
            let local = Binder::<BnMemoryHeap<Heap>>::try_from(self.binder.clone());
            return local.map(|local| Arc::clone(&local.0)).map_err(|_| WRONG_INTERFACE);
        }
        let sent = wire::BpMemoryHeap::new(self.binder.clone()).map().map_err(|status| match status {
            StatusCode::BadType => WRONG_INTERFACE,
            status => Error::Binder { operation: OPERATION, status },
        })?;
        Heap::received(sent).map(Arc::new)
    }
}

const WRONG_INTERFACE: Error =
    Error::WrongInterface { operation: OPERATION, expected: wire::IMEMORY_HEAP_DESCRIPTOR };

impl Drop for Inner {
    fn drop(&mut self) {
        known::forget(self);
    }
}

impl fmt::Debug for BpMemoryHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BpMemoryHeap").field("heap", &self.inner.heap.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{HeapFlags, MemoryHeapBase};

    #[test]
    fn a_local_heap_is_found_without_asking_and_forgotten_with_its_last_proxy() {
        let heap = MemoryHeapBase::create("local", 1, HeapFlags::empty()).unwrap();
        let binder = heap.binder();
        let first = BpMemoryHeap::from_binder(&binder).unwrap();
        let second = BpMemoryHeap::from_binder(&heap.binder()).unwrap();
        assert!(Arc::ptr_eq(&first.inner, &second.inner));
        assert!(std::ptr::eq(first.heap().unwrap(), &*heap));
        assert!(known::count() > 0);
        drop(first);
        assert!(second.is_mapped());
    }

    #[test]
    fn proxies_come_and_go_in_many_threads() {
        let heaps: Vec<_> =
            (0..8).map(|_| MemoryHeapBase::create("heap", 1, HeapFlags::empty()).unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let heap = &heaps[round % heaps.len()];
                        let proxy = BpMemoryHeap::from_binder(&heap.binder()).unwrap();
                        assert!(std::ptr::eq(proxy.heap().unwrap(), &**heap));
                    }
                });
            }
        });
    }
}
