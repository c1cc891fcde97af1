//! Regions that are used again: for streams of large buffers.

mod imports;
mod options;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

pub use imports::{Import, Imports};
pub use options::PoolOptions;

use crate::sys::fork;
use crate::{Contents, MapOptions, Mapping, Region, Result};

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
/// Clones share the buffers. Cheap to clone; usable from any thread. A child of `fork(2)` starts with none: those of its parent stay the
/// parent's.
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
    options: PoolOptions,
    idle: Mutex<Idle>,
}

/// The buffers that nobody has.
#[derive(Default)]
struct Idle {
    /// Of the process that they are for, by [`fork::generation`].
    generation: u32,
    /// The one that was given back last at the end.
    buffers: Vec<Mapped>,
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
    /// A pool that keeps at most 16 idle buffers.
    #[must_use]
    pub fn new() -> Pool {
        Pool::options().build()
    }

    /// Options for making a pool: how many buffers it keeps, how its regions are made, huge pages.
    pub fn options() -> PoolOptions {
        PoolOptions::new()
    }

    /// A pinned buffer of `size` bytes. What is in it is whatever was there when a buffer was last given back, or zeros, page by page.
    ///
    /// # Errors
    /// As [`Region::create`] and [`Region::map`]; as [`Region::pin`].
    pub fn take(&self, size: u64) -> Result<Buffer> {
        let idle = self.shared.with_idle(|idle| {
            let place = idle.iter().rposition(|mapped| mapped.mapping.len() == size)?;
            Some(idle.remove(place))
        });
        let options = &self.shared.options;
        let (mapped, is_warm) = match idle {
            Some(mut mapped) => {
                let is_warm = mapped.region.pin(..)? == Contents::Intact;
                mapped.warm = if is_warm { mapped.warm.saturating_add(1) } else { 0 };
                if mapped.warm == SETTLED && options.huge_pages {
                    // It is as good as before where that fails.
                    let _ = mapped.mapping.collapse();
                }
                (mapped, is_warm)
            }
            None => {
                let region = options.region.create(&options.name, size)?;
                let mapping = MapOptions::new().aligned().map(&region)?;
                (Mapped { region, mapping, warm: 0 }, false)
            }
        };
        let generation = fork::generation();
        Ok(Buffer { mapped: Some(mapped), pool: self.shared.clone(), generation, is_warm })
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
        self.shared.with_idle(|idle| idle.len())
    }
}

impl Shared {
    fn with_idle<T>(&self, action: impl FnOnce(&mut Vec<Mapped>) -> T) -> T {
        let (answer, inherited) = {
            // A child of fork must not find it locked. And only once a section was opened, generations differ.
            let _section = fork::section();
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let mut inherited = Vec::new();
            if idle.generation != fork::generation() {
                idle.generation = fork::generation();
                inherited = std::mem::take(&mut idle.buffers);
            }
            (action(&mut idle.buffers), inherited)
        };
        // Unmapping takes a while, and needs neither the lock nor the section.
        drop(inherited);
        answer
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.options.name)
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

/// A buffer of a [`Pool`], as a [`Mapping`]. Dropping it gives it back.
///
/// Whoever else has its region must be done with it by then: the next user writes into the same memory.
///
/// In a child of `fork(2)`, a buffer of the parent's is one more mapping of it: dropping it there neither unpins it nor gives it back.
pub struct Buffer {
    /// None only while it is dropped.
    mapped: Option<Mapped>,
    pool: Arc<Shared>,
    /// Of the process that took it, by [`fork::generation`].
    generation: u32,
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
        // In a child it is still the parent's, who may be using it. What cannot be unpinned would stay for ever: better freed.
        if self.generation != fork::generation() || mapped.region.unpin(..).is_err() {
            return;
        }
        let most = self.pool.options.idle;
        let surplus = self.pool.with_idle(|idle| {
            idle.push(mapped);
            (idle.len() > most).then(|| idle.remove(0))
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

    fn options(most_idle: usize) -> (PoolOptions, Reclaimer) {
        let reclaimer = Reclaimer::builder().without_thread().build();
        (Pool::options().region(Region::options().reclaimer(&reclaimer)).idle(most_idle), reclaimer)
    }

    fn pool(most_idle: usize) -> (Pool, Reclaimer) {
        let (options, reclaimer) = options(most_idle);
        (options.build(), reclaimer)
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
        let (options, reclaimer) = options(4);
        let pool = options.huge_pages().build();
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
        let nothing = options(0).0.build();
        drop(nothing.take(4096).unwrap());
        assert_eq!(nothing.idle(), 0);
    }

    #[test]
    fn the_bound_is_for_all_sizes_and_the_oldest_goes() {
        let (pool, _) = pool(3);
        let file_id = |buffer: &Buffer| buffer.region().file_id().unwrap();
        let buffers: Vec<Buffer> = (1..=5).map(|pages| pool.take(pages * 4096).unwrap()).collect();
        let ids: Vec<_> = buffers.iter().map(file_id).collect();
        // Given back in this order: the first two of them go.
        for buffer in buffers {
            drop(buffer);
            assert!(pool.idle() <= 3);
        }
        let again: Vec<Buffer> = (1..=5).map(|pages| pool.take(pages * 4096).unwrap()).collect();
        assert_eq!(again.iter().map(Buffer::is_warm).collect::<Vec<_>>(), [false, false, true, true, true]);
        assert_eq!(again[2..].iter().map(file_id).collect::<Vec<_>>(), ids[2..]);
        assert_eq!(pool.idle(), 0);
    }

    #[test]
    fn regions_are_made_as_wished_for() {
        let (options, _) = options(1);
        let buffer = options.clone().name("frames").build().take(4096).unwrap();
        assert_eq!(buffer.region().name().unwrap(), "frames");
        let never = options.region(Region::options().never_purgeable()).build();
        drop(never.take(4096).unwrap());
        assert_eq!(never.idle(), 1, "purgeable in any case");
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
