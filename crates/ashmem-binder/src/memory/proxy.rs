//! A client's side of a window.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rsbinder::shared_memory::{GET_MEMORY, IMEMORY_DESCRIPTOR};
use rsbinder::{Binder, SIBinder};

use super::{Served, Window};
use crate::heap::BpMemoryHeap;
use crate::{Error, Result, request};

const OPERATION: &str = "ask for window";

/// A window that some process serves, as its clients see it.
///
/// It asks the server when it is used first, and its heap is mapped once for all windows in it. Clones are the same window.
///
/// Stands for `BpMemory`.
///
/// # Examples
/// ```no_run
/// use ashmem_binder::{BpMemory, ServiceManager};
///
/// let sprite = BpMemory::from_binder(&ServiceManager::new()?.get_service("sprite")?)?;
/// println!("{:?}", sprite.window()?.view()?.read_vec(0, 6)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BpMemory {
    inner: Arc<Inner>,
}

struct Inner {
    binder: SIBinder,
    received: OnceLock<Received>,
}

#[derive(Clone)]
struct Received {
    window: Arc<Window>,
    /// So that the next window of this heap finds it mapped. None for a window of this process's own.
    heap: Option<BpMemoryHeap>,
}

impl BpMemory {
    /// The window behind a binder. Asks nobody yet.
    ///
    /// # Errors
    /// [`Error::WrongInterface`] when the binder is known to be something else.
    pub fn from_binder(binder: &SIBinder) -> Result<BpMemory> {
        let descriptor = binder.descriptor();
        // What comes from a socket is not known before the first transaction.
        if descriptor != IMEMORY_DESCRIPTOR && !(binder.is_remote() && descriptor.is_empty()) {
            return Err(WRONG_INTERFACE);
        }
        let inner = Inner { binder: binder.clone(), received: OnceLock::new() };
        Ok(BpMemory { inner: Arc::new(inner) })
    }

    /// The window itself: a transaction the first time, and one more when its heap is not known yet.
    ///
    /// # Errors
    /// As [`BpMemoryHeap::heap`]; [`Error::OutOfHeap`] when the server says something that is not inside of its heap. The next
    /// call asks again.
    pub fn window(&self) -> Result<&Window> {
        if let Some(received) = self.inner.received.get() {
            return Ok(&received.window);
        }
        // Not under a lock, as with heaps.
        let received = self.inner.ask()?;
        // A child of fork must not find it being set. One that is not needed is dropped afterwards.
        let _section = ashmem::fork_section();
        Ok(&self.inner.received.get_or_init(|| received.clone()).window)
    }

    /// The heap that the window is in, for its binder: as [`BpMemory::window`]. None for a window of this process's own.
    ///
    /// # Errors
    /// As [`BpMemory::window`].
    pub fn heap(&self) -> Result<Option<&BpMemoryHeap>> {
        self.window()?;
        Ok(self.inner.received.get().and_then(|received| received.heap.as_ref()))
    }

    /// The binder that the window is served by.
    #[must_use]
    pub fn binder(&self) -> &SIBinder {
        &self.inner.binder
    }
}

impl Inner {
    fn ask(&self) -> Result<Received> {
        if !self.binder.is_remote() {
            let local = Binder::<Served>::try_from(self.binder.clone()).map_err(|_| WRONG_INTERFACE)?;
            return Ok(Received { window: Arc::clone(&local.window), heap: None });
        }
        let mut reply = request::send(&self.binder, IMEMORY_DESCRIPTOR, GET_MEMORY, OPERATION, |_| Ok(()))?;
        let mut parse = || Ok((reply.read::<SIBinder>()?, reply.read_i64()?, reply.read_u64()?));
        let (binder, offset, size) = parse().map_err(Error::binder(OPERATION))?;
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        let heap = BpMemoryHeap::from_binder(&binder)?;
        let window = Window::new(Arc::clone(heap.shared()?), offset, size, OPERATION)?;
        Ok(Received { window: Arc::new(window), heap: Some(heap) })
    }
}

const WRONG_INTERFACE: Error = Error::WrongInterface { operation: OPERATION, expected: IMEMORY_DESCRIPTOR };

impl fmt::Debug for BpMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.inner.received.get().map(|received| &received.window);
        f.debug_struct("BpMemory").field("window", &window).finish_non_exhaustive()
    }
}
