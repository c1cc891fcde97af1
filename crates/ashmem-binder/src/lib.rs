//! Android's Binder memory on any Linux: regions that cross processes as `IMemoryHeap` and `IMemory`, and services to hand them out.

mod about;
mod dealer;
mod error;
mod heap;
mod memory;
mod parcel;
mod request;
mod service;

pub use self::about::{interface_of, process_of};
pub use self::dealer::{DealerUsage, MemoryDealer};
pub use self::error::{Error, Result};
pub use self::heap::{BpMemoryHeap, Heap, HeapFlags, MemoryHeapBase};
pub use self::memory::{BpMemory, MemoryBase, Window};
pub use self::parcel::{ParcelableSharedMemory, memory_file_descriptor, memory_file_from};
pub use self::service::{ServiceManager, ServiceManagerOptions};

/// The version of rsbinder whose binders, parcels and statuses this crate takes and gives.
pub use rsbinder;
pub use rsbinder::ParcelFileDescriptor;
