//! The server's side of a window.

use std::fmt;
use std::io::Write;
use std::ops::Deref;
use std::sync::Arc;

use rsbinder::shared_memory::{GET_MEMORY, IMEMORY_DESCRIPTOR};
use rsbinder::{Binder, Interface, Parcel, Remotable, SIBinder, StatusCode, TransactionCode};

use super::Window;
use crate::Result;
use crate::dealer::Block;
use crate::heap::MemoryHeapBase;

/// A part of a heap that this process serves as `android.utils.IMemory`.
///
/// Clones are the same window; it lives until the last of them and the last client's proxy are gone.
///
/// Stands for `MemoryBase`, `BnMemory`.
///
/// # Examples
/// ```
/// use ashmem_binder::{HeapFlags, MemoryBase, MemoryHeapBase};
///
/// let heap = MemoryHeapBase::create("sprites", 4096, HeapFlags::empty())?;
/// let sprite = MemoryBase::new(&heap, 1000, 24)?;
/// sprite.view()?.write_at(0, b"sprite")?;
/// assert_eq!(heap.mapping()?.read_vec(1000, 6)?, b"sprite");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryBase {
    served: Binder<Served>,
}

/// What is behind the binder.
pub(crate) struct Served {
    pub(super) window: Arc<Window>,
    heap: SIBinder,
    /// Goes back to its dealer with the last reference to the binder, here or in a client.
    _block: Option<Block>,
}

impl MemoryBase {
    /// The window of `size` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::OutOfHeap`](crate::Error::OutOfHeap) when it is empty or not inside of the heap.
    pub fn new(heap: &MemoryHeapBase, offset: u64, size: u64) -> Result<MemoryBase> {
        MemoryBase::with_block(heap, offset, size, None)
    }

    pub(crate) fn with_block(
        heap: &MemoryHeapBase,
        offset: u64,
        size: u64,
        block: Option<Block>,
    ) -> Result<MemoryBase> {
        let window = Window::new(Arc::clone(heap.heap()), offset, size, "make window")?;
        let served = Served { window: Arc::new(window), heap: heap.binder(), _block: block };
        Ok(MemoryBase { served: Binder::new(served) })
    }

    /// The binder that clients get.
    #[must_use]
    pub fn binder(&self) -> SIBinder {
        self.served.as_binder()
    }
}

impl Remotable for Served {
    fn descriptor() -> &'static str {
        IMEMORY_DESCRIPTOR
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        _request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            GET_MEMORY => {
                reply.write(&self.heap)?;
                reply.write_i64(self.window.offset() as i64)?;
                reply.write_u64(self.window.size())
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, writer: &mut dyn Write, _arguments: &[String]) -> rsbinder::Result<()> {
        writeln!(writer, "{:?}", self.window).map_err(StatusCode::from)
    }
}

impl Deref for MemoryBase {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.served.window
    }
}

impl fmt::Debug for MemoryBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.served.window.fmt(f)
    }
}
