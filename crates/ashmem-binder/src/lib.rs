//! Android's Binder memory on any Linux: regions that cross processes as `IMemoryHeap` and `IMemory`, and services to hand them
//! out.
//!
//! A [`MemoryHeapBase`] is shared memory with a binder. Whoever gets the binder has the memory: a [`BpMemoryHeap`] asks its
//! server once, maps it once, and after that needs neither a transaction nor the server. Pins, leases and purges are those of
//! [`ashmem::Region`], across all of them. A [`MemoryDealer`] hands out small windows of one heap. The [`ServiceManager`] finds
//! services by name: over Unix sockets, with nothing to install and nothing to start, or over the kernel's binder.
//!
//! ```
//! use ashmem_binder::{BpMemoryHeap, HeapFlags, MemoryHeapBase, ServiceManager};
//!
//! # let directory = tempfile::tempdir()?;
//! # let address = format!("unix://{}/services", directory.path().display());
//! // One process; `ServiceManager::new()` has the user's own services.
//! let services = ServiceManager::at(&address)?;
//! let heap = MemoryHeapBase::create("frames", 1 << 20, HeapFlags::READ_ONLY)?;
//! heap.mapping()?.write_at(0, b"frame")?;
//! services.add_service("frames", &heap.binder())?;
//!
//! // Another one.
//! let frames = BpMemoryHeap::from_binder(&services.get_service("frames")?)?;
//! assert_eq!(frames.heap()?.mapping()?.read_vec(0, 5)?, b"frame");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Parcels, transactions and both transports are [`rsbinder`]'s; transactions and replies are those of AOSP.

mod about;
mod dealer;
mod error;
mod heap;
mod interface;
mod memory;
mod parcel;
mod request;
mod service;

pub use self::about::{interface_of, process_of};
pub use self::dealer::{DealerUsage, MemoryDealer};
pub use self::error::{Error, Result};
pub use self::heap::{BpMemoryHeap, Heap, HeapFlags, MemoryHeapBase};
pub use self::interface::{answer, call};
pub use self::memory::{BpMemory, MemoryBase, Window};
pub use self::parcel::{ParcelableSharedMemory, memory_file_descriptor, memory_file_from};
pub use self::service::{ServiceManager, ServiceManagerOptions};

/// The version of rsbinder whose binders, parcels and statuses this crate takes and gives.
pub use rsbinder;
pub use rsbinder::ParcelFileDescriptor;

/// All of the code there, that of the core crate included.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
