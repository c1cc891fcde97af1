//! How a pool is made.

use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex};

use super::{Idle, Pool, Shared};
use crate::RegionOptions;

/// Buffers that are kept for the next who wants one, where nothing else is said.
const IDLE: usize = 16;

/// Options for making a [`Pool`].
///
/// # Examples
/// ```
/// use ashmem::Pool;
///
/// let pool = Pool::options().name("frames").idle(4).huge_pages().build();
/// drop(pool.take(8 << 20)?);
/// assert_eq!(pool.idle(), 1);
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `build`"]
pub struct PoolOptions {
    pub(super) name: OsString,
    pub(super) region: RegionOptions,
    pub(super) idle: usize,
    pub(super) huge_pages: bool,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions::new()
    }
}

impl PoolOptions {
    /// The defaults: at most 16 idle buffers, pages of the usual size.
    pub fn new() -> PoolOptions {
        PoolOptions { name: "pool".into(), region: RegionOptions::new(), idle: IDLE, huge_pages: false }
    }

    /// The name of each of its regions.
    pub fn name(mut self, name: impl AsRef<OsStr>) -> PoolOptions {
        self.name = name.as_ref().to_owned();
        self
    }

    /// How its regions are made: their reclaimer, for one. They are purgeable from the start in any case.
    pub fn region(mut self, options: RegionOptions) -> PoolOptions {
        self.region = options;
        self
    }

    /// Keeps at most `most` idle buffers, of all sizes together; the one that was given back longest ago goes first. Each one costs a
    /// descriptor and a mapping, also when its memory is gone.
    pub fn idle(mut self, most: usize) -> PoolOptions {
        self.idle = most;
        self
    }

    /// Moves each buffer of 2 MiB or more into huge pages when it is taken for the third time with its pages still there
    /// (`MADV_COLLAPSE` of `madvise(2)`, Linux 6.1 or newer; elsewhere nothing happens).
    ///
    /// That one [`take`](Pool::take) needs some milliseconds for every 10 MiB; all later uses are faster, in the receivers, too. Off
    /// unless asked for, because it does not ask the machine's setting for huge pages (`shmem_enabled`).
    pub fn huge_pages(mut self) -> PoolOptions {
        self.huge_pages = true;
        self
    }

    /// Makes an empty pool. Whether its regions can be made as they are wished for turns out at the first [`take`](Pool::take).
    #[must_use]
    pub fn build(mut self) -> Pool {
        // The descriptor of a buffer may be handed on before it is unpinned for the first time.
        self.region = self.region.purgeable();
        Pool { shared: Arc::new(Shared { options: self, idle: Mutex::new(Idle::default()) }) }
    }
}
