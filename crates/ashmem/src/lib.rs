//! Android's ashmem for a stock Linux kernel: anonymous shared memory, addressed by a descriptor, whose pages can be *unpinned*
//! so that the oldest go when memory runs short, and *pinned* again, learning whether they survived.
//!
//! A [`Region`] is a memfd. Its pin state travels in the same file, so whoever receives the descriptor has everything;
//! pin and unpin are a compare-and-swap in shared memory, without a system call, a lock or a server. A [`Reclaimer`]
//! thread, in each process that unpins something, watches memory pressure and punches the pages that were unpinned longest
//! ago out of the file, before the OOM killer comes.
//!
//! ```
//! use ashmem::{Contents, Region};
//!
//! let region = Region::create("decoded image", 8 << 20)?;
//! let pixels = region.map()?;
//! pixels.fill(0, 8 << 20, 0x7f)?;
//! region.unpin(..)?; // may go from here on
//! if region.pin(..)? == Contents::Purged {
//!     pixels.fill(0, 8 << 20, 0x7f)?; // decode again
//! }
//! # Ok::<(), ashmem::Error>(())
//! ```
//!
//! Most programs need not do that by hand: a [`Purgeable`] builds its contents again when they are gone, a [`Cache`] keeps many of
//! them for several processes, a [`Pool`] recycles large buffers. [`PinGuard`] and [`Lease`] keep pages for a scope.
//!
//! "Pin" has its meaning from the ashmem driver here; it has nothing to do with [`std::pin`].

#[cfg(not(target_os = "linux"))]
compile_error!("ashmem needs Linux");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("ashmem needs a 64-bit system");

#[cfg_attr(loom, allow(dead_code, unused_imports, reason = "loom runs the positions alone"))]
pub mod ring;
#[cfg_attr(loom, allow(dead_code, unused_imports, reason = "loom runs the pin state alone"))]
mod state;
mod sync;

#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod control;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod driver;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod held;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod memory_file;
#[cfg(not(loom))]
mod page;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod presence;
#[cfg(not(loom))]
mod protection;
#[cfg(not(loom))]
mod purgeable;
#[cfg(not(loom))]
mod purger;
#[cfg(not(loom))]
mod reclaim;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod shared_memory;
#[cfg(not(loom))]
mod sys;

#[cfg(not(loom))]
pub use self::{
    cache::{Cache, CacheEntry, CacheOptions, CacheStats, Lookup},
    error::{Error, Result},
    mapping::{MapOptions, Mapping, MappingCursor, TypedView, View},
    memory_file::{MemoryFile, MemoryInputStream, MemoryOutputStream},
    page::{PageRange, page_size},
    pool::{Buffer, Import, Imports, Pool, PoolOptions},
    protection::Protection,
    purgeable::{BuildError, Purgeable, PurgeableGuard, PurgeableOptions},
    reclaim::pressure,
    reclaim::{
        Clock, Freed, ListenerId, Metrics, Policy, PurgeEvent, Reclaimer, ReclaimerBuilder, SystemClock,
    },
    region::{
        Contents, FreezeError, Frozen, Lease, NAME_MAX, OwnedLease, OwnedPinGuard, PageRun, PageState,
        PinGuard, PinStatus, Region, RegionOptions, Stats,
    },
    ring::Ring,
    shared_memory::SharedMemory,
};

/// While one is open, no other thread is inside `fork(2)`: for libraries that lock a mutex, which a child would find locked for
/// ever. Never one inside another, and nothing of this crate is called meanwhile.
#[cfg(not(loom))]
#[doc(hidden)]
pub fn fork_section() -> impl Sized {
    sys::fork::section()
}

/// Lets the calling thread run soon after it wakes, as far as it is allowed: for who reclaims in a thread of its own.
#[cfg(not(loom))]
#[doc(hidden)]
pub fn be_prompt() {
    sys::thread::be_prompt();
}

#[cfg(not(loom))]
#[doc(hidden)]
pub use reclaim::Progress;

/// Copies bytes out of or into memory that others may write meanwhile.
#[cfg(not(loom))]
#[doc(hidden)]
pub use sys::copy::copy as copy_bytes;

/// The version of bytemuck whose traits say which types can be read from a [`Mapping`] and written to it.
#[cfg(not(loom))]
pub use bytemuck;
