//! Regions that are used again: for streams of large buffers.

mod imports;

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use imports::{Import, Imports};

use crate::sys::fork;
use crate::{Contents, MapOptions, Mapping, Region, RegionOptions, Result};

/// Regions of one size that are kept for the next who wants one.
const IDLE: usize = 16;

/// Times that a buffer comes back warm before it pays to move it into huge pages.
const SETTLED: u32 = 2;

/// Mapped regions that come back to it and go out again.
///
/// To allocate, map and touch a large buffer takes longer than to fill it. A buffer that is given back is not freed but
/// unpinned: while memory is plentiful the next [`take`](Pool::take) of that size gets its pages back as they are, touched and mapped;
/// when memory was short, they went to who needed them, and the next one starts with fresh pages.
///
/// A receiver in another process keeps its mappings of the same regions in an [`Imports`].
///
/// Clones share the buffers. Cheap to clone; usable from any thread.
///
/// # Examples
/// ```
/// use ashmem::Pool;
///
/// let pool = Pool::new();
/// for frame in 0..3u8 {
///     let buffer = pool.take(1 << 20)?;
///     buffer.fill(0, 1 << 20, frame)?; // hand `buffer.region()` to a receiver, and wait for its answer
///     assert_eq!(buffer.is_warm(), frame > 0);
/// }
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    options: RegionOptions,
    most_idle: usize,
    huge_pages: AtomicBool,
    /// By size, the one that was given back last at the end.
    idle: Mutex<HashMap<u64, Vec<Mapped>>>,
}

struct Mapped {
    region: Region,
    mapping: Mapping,
    /// How many times in a row its pages were still there when it was taken.
    warm: u32,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl Pool {
    /// A pool that keeps at most 16 idle buffers of each size.
    #[must_use]
    pub fn new() -> Pool {
        Pool::with_options("pool", RegionOptions::new(), IDLE)
    }

    /// A pool of regions with this name and these options that keeps at most `most_idle` idle buffers of each size. Each one costs a
    /// descriptor, also when its memory is gone.
    #[must_use]
    pub fn with_options(name: &str, options: RegionOptions, most_idle: usize) -> Pool {
        // The descriptor of a buffer may be handed on before it is unpinned for the first time.
        let options = options.purgeable();
        Pool {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                options,
                most_idle,
                huge_pages: AtomicBool::new(false),
                idle: Mutex::default(),
            }),
        }
    }

    /// From now on, moves each buffer of 2 MiB or more into huge pages when it is taken for the third time with its pages still there
    /// (`MADV_COLLAPSE` of `madvise(2)`, Linux 6.1 or newer; elsewhere nothing happens).
    ///
    /// That one [`take`](Pool::take) needs some milliseconds for every 10 MiB; all later uses are faster, in the receivers, too. Off
    /// unless asked for, because it does not ask the machine's setting for huge pages (`shmem_enabled`).
    pub fn use_huge_pages(&self) {
        self.shared.huge_pages.store(true, Ordering::Relaxed);
    }

    /// A pinned buffer of `size` bytes. What is in it is whatever was there when a buffer was last given back, or zeros, page by page.
    ///
    /// # Errors
    /// As [`Region::create`] and [`Region::map`]; as [`Region::pin`].
    pub fn take(&self, size: u64) -> Result<Buffer> {
        let idle = self.shared.with_idle(|idle| idle.get_mut(&size).and_then(Vec::pop));
        let (mapped, is_warm) = match idle {
            Some(mut mapped) => {
                let is_warm = mapped.region.pin(..)? == Contents::Intact;
                mapped.warm = if is_warm { mapped.warm.saturating_add(1) } else { 0 };
                if mapped.warm == SETTLED && self.shared.huge_pages.load(Ordering::Relaxed) {
                    // It is as good as before where that fails.
                    let _ = mapped.mapping.collapse();
                }
                (mapped, is_warm)
            }
            None => {
                let region = self.shared.options.create(&self.shared.name, size)?;
                let mapping = MapOptions::new().aligned().map(&region)?;
                (Mapped { region, mapping, warm: 0 }, false)
            }
        };
        Ok(Buffer { mapped: Some(mapped), pool: self.shared.clone(), is_warm })
    }

    /// Frees the buffers that nobody has.
    pub fn clear(&self) {
        // Unmapping takes a while; others need not wait for it.
        let idle = self.shared.with_idle(std::mem::take);
        drop(idle);
    }

    /// How many buffers wait to be used again.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.shared.with_idle(|idle| idle.values().map(Vec::len).sum())
    }
}

impl Shared {
    fn with_idle<T>(&self, action: impl FnOnce(&mut HashMap<u64, Vec<Mapped>>) -> T) -> T {
        // A child of fork must not find it locked.
        let _section = fork::section();
        let mut idle: MutexGuard<'_, _> = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        action(&mut idle)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.name)
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

/// A buffer of a [`Pool`], as a [`Mapping`]. Dropping it gives it back.
///
/// Whoever else has its region must be done with it by then: the next user writes into the same memory.
pub struct Buffer {
    /// None only while it is dropped.
    mapped: Option<Mapped>,
    pool: Arc<Shared>,
    is_warm: bool,
}

impl Buffer {
    /// Whether its pages are there from an earlier use. Else they are allocated when they are touched.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.is_warm
    }

    /// The region, to hand its descriptor to a receiver.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.mapped().region
    }

    fn mapped(&self) -> &Mapped {
        match &self.mapped {
            Some(mapped) => mapped,
            None => unreachable!("taken out only by `drop`"),
        }
    }
}

impl Deref for Buffer {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.mapped().mapping
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(mapped) = self.mapped.take() else { return };
        // What cannot be unpinned would stay for ever: better freed.
        if mapped.region.unpin(..).is_err() {
            return;
        }
        let most = self.pool.most_idle;
        let surplus = self.pool.with_idle(|idle| {
            let same = idle.entry(mapped.mapping.len()).or_default();
            same.push(mapped);
            (same.len() > most).then(|| same.remove(0))
        });
        drop(surplus);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("region", self.region())
            .field("is_warm", &self.is_warm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reclaimer;

    fn pool(most_idle: usize) -> (Pool, Reclaimer) {
        let reclaimer = Reclaimer::builder().without_thread().build();
        (Pool::with_options("pool", Region::options().reclaimer(&reclaimer), most_idle), reclaimer)
    }

    #[test]
    fn what_is_given_back_is_used_again() {
        let (pool, _) = pool(4);
        let (first, second) = (pool.take(100_000).unwrap(), pool.take(100_000).unwrap());
        first.fill(0, 100_000, 7).unwrap();
        let (first_id, second_id) = (first.region().file_id().unwrap(), second.region().file_id().unwrap());
        assert_ne!(first_id, second_id);
        drop(second);
        drop(first);
        let again = pool.take(100_000).unwrap();
        assert_eq!(again.region().file_id().unwrap(), first_id, "the warmest one");
        assert!(again.is_warm());
        assert_eq!(again.read_vec(99_999, 1).unwrap(), [7]);
        let other = pool.take(100_001).unwrap();
        assert!(!other.is_warm());
        assert_eq!(pool.idle(), 1);
        pool.clone().clear();
        assert_eq!(pool.idle(), 0);
    }

    #[test]
    fn idle_buffers_give_way_and_taken_ones_do_not() {
        let (pool, reclaimer) = pool(4);
        let (taken, idle) = (pool.take(1 << 20).unwrap(), pool.take(1 << 20).unwrap());
        taken.fill(0, 1 << 20, 1).unwrap();
        idle.fill(0, 1 << 20, 2).unwrap();
        let id = idle.region().file_id().unwrap();
        drop(idle);
        assert_eq!(reclaimer.purge_all().bytes, 1 << 20);
        assert_eq!(taken.read_vec((1 << 20) - 1, 1).unwrap(), [1]);
        let fresh = pool.take(1 << 20).unwrap();
        assert_eq!(fresh.region().file_id().unwrap(), id, "its region is kept");
        assert!(!fresh.is_warm());
        assert_eq!(fresh.read_vec(0, 1).unwrap(), [0]);
        assert_eq!(reclaimer.purge_all().pages, 0);
    }

    #[test]
    fn huge_pages_change_no_byte() {
        const SIZE: u64 = (4 << 20) + 5000;
        let (pool, reclaimer) = pool(4);
        pool.use_huge_pages();
        let imports = Imports::new(1);
        for round in 0..6u8 {
            let buffer = pool.take(SIZE).unwrap();
            assert_eq!(buffer.as_ptr().addr() % (2 << 20), 0);
            if buffer.is_warm() {
                assert_eq!(buffer.read_vec(0, SIZE).unwrap(), vec![round - 1; SIZE as usize]);
            }
            buffer.fill(0, SIZE, round).unwrap();
            let received = imports.open(buffer.region().share_read_only().unwrap()).unwrap();
            assert_eq!(received.read_vec(0, SIZE).unwrap(), vec![round; SIZE as usize]);
        }
        assert_eq!(reclaimer.purge_all().bytes, SIZE.next_multiple_of(crate::page_size()));
        let again = pool.take(SIZE).unwrap();
        assert!(!again.is_warm());
        assert_eq!(again.region().resident().unwrap(), 0);
        assert_eq!(again.read_vec(SIZE - 1, 1).unwrap(), [0]);
    }

    #[test]
    fn not_more_are_kept_than_wanted() {
        let (pool, _) = pool(2);
        let buffers: Vec<Buffer> = (0..5).map(|_| pool.take(4096).unwrap()).collect();
        drop(buffers);
        assert_eq!(pool.idle(), 2);
    }

    #[test]
    fn threads_share_it() {
        let (pool, reclaimer) = pool(3);
        std::thread::scope(|scope| {
            for number in 1..4u8 {
                let pool = pool.clone();
                scope.spawn(move || {
                    for _ in 0..500 {
                        let buffer = pool.take(50_000).unwrap();
                        buffer.fill(0, 50_000, number).unwrap();
                        assert!(buffer.read_vec(0, 50_000).unwrap().iter().all(|byte| *byte == number));
                    }
                });
            }
            scope.spawn(|| (0..200).map(|_| reclaimer.purge_all().pages).sum::<u64>());
        });
        assert!(pool.idle() <= 3);
    }
}
