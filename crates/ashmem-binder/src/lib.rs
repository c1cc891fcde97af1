//! Android's Binder memory on any Linux: regions that cross processes as `IMemoryHeap` and `IMemory`, and services to hand them out.

mod error;

pub use self::error::{Error, Result};

/// The version of rsbinder whose binders, parcels and statuses this crate takes and gives.
pub use rsbinder;
