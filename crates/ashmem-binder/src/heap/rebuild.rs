//! Heaps whose server builds again what was purged, when a reader asks.

use std::fmt;
use std::ops::{Range, RangeBounds};

use rsbinder::rpc::RpcProxy;
use rsbinder::shared_memory::IMEMORY_HEAP_DESCRIPTOR;
use rsbinder::{
    Binder, EXTENSION_TRANSACTION, FIRST_CALL_TRANSACTION, Interface, Parcel, Remotable, SIBinder,
    StatusCode, TransactionCode,
};

use super::{BpMemoryHeap, MemoryHeapBase};
use crate::{Error, Result, request};

/// The interface of a heap's extension that builds its contents again. Ours alone: Android's heaps have none.
const DESCRIPTOR: &str = "ashmem.IRebuild";

/// `void rebuild(long offset, long size)`, in bytes of the heap. The reply is an empty text, or why not.
const REBUILD: TransactionCode = FIRST_CALL_TRANSACTION;

const OPERATION: &str = "ask for heap to be built again";

/// The longest reason in characters that goes to a client.
const LONGEST_REASON: usize = 1000;

type Builder = Box<dyn Fn(Range<u64>) -> std::result::Result<(), String> + Send + Sync>;

struct Served {
    size: u64,
    build: Builder,
}

impl MemoryHeapBase {
    /// What builds contents of the heap again that were purged: it is called with the bytes of the heap that a client
    /// [asks for](BpMemoryHeap::rebuild), in any thread that serves clients, and in several at once. What it says when it
    /// fails is for the client's user.
    ///
    /// It must not own a clone of the heap: neither would ever be freed. Clients find it as the extension of the heap's binder, which must not have another one.
    ///
    /// # Examples
    /// ```
    /// use ashmem::{Error, Purgeable, View};
    /// use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryHeapBase};
    ///
    /// let tiles = Purgeable::<Error>::options()
    ///     .parts(1 << 20)
    ///     .create("tiles", 4 << 20, |part: &View<'_>| part.fill(0, part.len(), 7))?;
    /// let heap = MemoryHeapBase::from_region(tiles.region().clone(), HeapFlags::empty())?;
    /// heap.set_rebuild(move |range| tiles.build(range).map(drop).map_err(|error| error.to_string()))?;
    ///
    /// let received = BpMemoryHeap::from_binder(&heap.binder())?;
    /// let lease = received.heap()?.lease(..1 << 20)?;
    /// assert!(lease.contents().is_purged());
    /// received.rebuild(..1 << 20)?;
    /// assert!(!received.heap()?.lease(..1 << 20)?.contents().is_purged());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Binder`] when the binder takes no extension.
    pub fn set_rebuild(
        &self,
        build: impl Fn(Range<u64>) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Result<()> {
        let served = Binder::new(Served { size: self.size(), build: Box::new(build) });
        self.binder().set_extension(&served.as_binder()).map_err(Error::binder("set builder of heap"))
    }
}

impl BpMemoryHeap {
    /// Has the server build again what is gone of a range, in bytes of the heap. Take a lease on the range before, so that what was
    /// built is there when this returns, and another one afterwards, which says so.
    ///
    /// # Errors
    /// [`Error::NotRebuilt`] when the server cannot, or the heap has no [builder](MemoryHeapBase::set_rebuild); [`Error::OutOfHeap`];
    /// as [`BpMemoryHeap::heap`].
    pub fn rebuild(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let range = self.heap()?.bytes(&range, OPERATION)?;
        let extension = extension(self.binder())?
            .ok_or_else(|| Error::NotRebuilt { reason: "its server has no builder for it".to_owned() })?;
        if !extension.is_remote() {
            let local = Binder::<Served>::try_from(extension).map_err(|_| WRONG_INTERFACE)?;
            return local.rebuild(range.start, range.end - range.start).map_err(not_rebuilt);
        }
        let mut reply = request::send(&extension, DESCRIPTOR, REBUILD, OPERATION, |request| {
            request.write_u64(range.start)?;
            request.write_u64(range.end - range.start)
        })?;
        let reason = reply.read::<String>().map_err(Error::binder(OPERATION))?;
        if reason.is_empty() { Ok(()) } else { Err(not_rebuilt(reason)) }
    }
}

const WRONG_INTERFACE: Error = Error::WrongInterface { operation: OPERATION, expected: DESCRIPTOR };

fn not_rebuilt(reason: String) -> Error {
    Error::NotRebuilt { reason: reason.chars().take(LONGEST_REASON).collect() }
}

/// The extension of a heap's binder.
fn extension(heap: &SIBinder) -> Result<Option<SIBinder>> {
    if heap.as_any().downcast_ref::<RpcProxy>().is_none() {
        return heap.get_extension().map_err(Error::binder(OPERATION));
    }
    // Those of sockets say that they have none.
    match request::send(heap, IMEMORY_HEAP_DESCRIPTOR, EXTENSION_TRANSACTION, OPERATION, |_| Ok(())) {
        Ok(mut reply) => reply.read().map_err(Error::binder(OPERATION)),
        Err(Error::Binder { status: StatusCode::UnknownTransaction, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Served {
    fn rebuild(&self, offset: u64, size: u64) -> std::result::Result<(), String> {
        match offset.checked_add(size) {
            Some(end) if size > 0 && end <= self.size => (self.build)(offset..end),
            _ => Err(format!("{size} bytes at {offset} are not inside of the heap")),
        }
    }
}

impl Remotable for Served {
    fn descriptor() -> &'static str {
        DESCRIPTOR
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        if code != REBUILD {
            return Err(StatusCode::UnknownTransaction);
        }
        let (offset, size) = (request.read_u64()?, request.read_u64()?);
        let reason = match self.rebuild(offset, size) {
            Ok(()) => String::new(),
            Err(reason) if reason.is_empty() => "the builder failed".to_owned(),
            Err(reason) => reason.chars().take(LONGEST_REASON).collect(),
        };
        reply.write(&reason)
    }

    fn on_dump(&self, _writer: &mut dyn std::io::Write, _arguments: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ashmem::page_size;

    use super::*;
    use crate::HeapFlags;

    #[test]
    fn only_ranges_of_the_heap_reach_the_builder() {
        let heap = MemoryHeapBase::create("heap", page_size(), HeapFlags::empty()).unwrap();
        heap.set_rebuild(|range| Err(format!("{range:?}"))).unwrap();
        let received = BpMemoryHeap::from_binder(&heap.binder()).unwrap();
        let reason = |range: Range<u64>| match received.rebuild(range) {
            Err(Error::NotRebuilt { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(5..page_size()), format!("5..{}", page_size()));
        assert!(matches!(received.rebuild(..=page_size()), Err(Error::OutOfHeap { .. })));
        assert!(reason(5..5).contains("not inside"));
        let served = Served { size: 10, build: Box::new(|_| Ok(())) };
        for (offset, size) in [(0, 11), (10, 1), (u64::MAX, 1), (1, u64::MAX), (0, 0)] {
            assert!(served.rebuild(offset, size).is_err());
        }
        served.rebuild(9, 1).unwrap();
    }

    #[test]
    fn a_heap_without_a_builder_says_so() {
        let heap = MemoryHeapBase::create("heap", 1, HeapFlags::empty()).unwrap();
        let received = BpMemoryHeap::from_binder(&heap.binder()).unwrap();
        assert!(matches!(received.rebuild(..), Err(Error::NotRebuilt { .. })));
    }
}
