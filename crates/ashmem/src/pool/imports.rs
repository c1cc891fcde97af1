//! Regions that arrive again and again, mapped once.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::{fork, memfd};
use crate::{Error, MapOptions, Mapping, Region, Result};

/// Regions received from others, each mapped once however often its descriptor arrives.
///
/// The receiving side of a [`Pool`](crate::Pool): to map a large region and fault its pages in takes longer than to read them. Keeps the
/// regions that arrived last, and with them their memory, until others take their place or it is dropped.
///
/// # Examples
/// ```
/// use ashmem::{Imports, Pool};
///
/// let (pool, imports) = (Pool::new(), Imports::new(4));
/// for frame in 1..4u8 {
///     let buffer = pool.take(1 << 20)?;
///     buffer.fill(0, 1 << 20, frame)?;
///     let received = imports.open(buffer.region().share_read_write()?)?; // in the other process
///     assert_eq!(received.read_vec(0, 1)?, [frame]);
/// }
/// assert_eq!(imports.len(), 1);
/// # Ok::<(), ashmem::Error>(())
/// ```
pub struct Imports {
    most: usize,
    /// The one that arrived last at the end.
    kept: Mutex<Vec<(u64, Import)>>,
}

/// A region that was received, as a read-only [`Mapping`].
#[derive(Clone)]
pub struct Import {
    shared: Arc<(Region, Mapping)>,
}

impl Imports {
    /// Keeps at most `most` regions.
    #[must_use]
    pub fn new(most: usize) -> Imports {
        Imports { most, kept: Mutex::default() }
    }

    /// The region behind a descriptor that was received, mapped for reading.
    ///
    /// # Errors
    /// As [`Region::from_fd`] and [`Region::map_read_only`].
    pub fn open(&self, fd: OwnedFd) -> Result<Import> {
        let status = memfd::status(fd.as_fd()).map_err(Error::system("look at descriptor"))?;
        if !status.is_memfd().map_err(Error::system("look at descriptor"))? {
            return Err(Error::NotARegion { reason: "the descriptor is not a memfd" });
        }
        if let Some(known) = self.with_kept(|kept| find(kept, status.inode)) {
            return Ok(known);
        }
        let region = Region::from_fd(fd)?;
        let mapping = MapOptions::new().read_only().aligned().map(&region)?;
        let import = Import { shared: Arc::new((region, mapping)) };
        let (kept, surplus) = self.with_kept(|kept| {
            // Another thread may have opened it meanwhile.
            if let Some(known) = find(kept, status.inode) {
                return (known, None);
            }
            kept.push((status.inode, import.clone()));
            (import.clone(), (kept.len() > self.most).then(|| kept.remove(0)))
        });
        // Unmapping takes a while; others need not wait for it.
        drop((import, surplus));
        Ok(kept)
    }

    /// Lets go of the regions that are kept. An [`Import`] in use stays as it is.
    pub fn clear(&self) {
        let kept = self.with_kept(std::mem::take);
        drop(kept);
    }

    /// How many regions are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with_kept(|kept| kept.len())
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with_kept<T>(&self, action: impl FnOnce(&mut Vec<(u64, Import)>) -> T) -> T {
        // A child of fork must not find it locked.
        let _section = fork::section();
        action(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Finds the region with this inode, which now is the one that arrived last. (A kept region keeps its inode from being used again.)
fn find(kept: &mut [(u64, Import)], inode: u64) -> Option<Import> {
    let place = kept.iter().position(|(known, _)| *known == inode)?;
    kept[place..].rotate_left(1);
    kept.last().map(|(_, import)| import.clone())
}

impl fmt::Debug for Imports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imports").field("len", &self.len()).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Import {
    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.shared.0
    }
}

impl Deref for Import {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.shared.1
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("region", self.region()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(region: &Region) -> OwnedFd {
        region.share_read_only().expect("reopened")
    }

    #[test]
    fn each_region_is_mapped_once() {
        let regions: Vec<Region> = (0..3).map(|_| Region::create("import", 8192).unwrap()).collect();
        let imports = Imports::new(2);
        let first = imports.open(again(&regions[0])).unwrap();
        let address = first.as_ptr();
        assert_eq!(imports.open(again(&regions[0])).unwrap().as_ptr(), address);
        regions[0].map().unwrap().write_at(0, b"seen").unwrap();
        assert_eq!(first.read_vec(0, 4).unwrap(), b"seen");
        drop(imports.open(again(&regions[1])).unwrap());
        assert_eq!(imports.open(again(&regions[0])).unwrap().as_ptr(), address);
        drop(imports.open(again(&regions[2])).unwrap());
        assert_eq!(imports.len(), 2);
        assert_eq!(imports.open(again(&regions[0])).unwrap().as_ptr(), address, "not the oldest");
        assert!(!imports.is_empty());
        imports.clear();
        assert!(imports.is_empty());
        assert_eq!(first.read_vec(0, 4).unwrap(), b"seen", "in use");
        assert_ne!(imports.open(again(&regions[0])).unwrap().as_ptr(), address);
    }

    #[test]
    fn threads_that_open_a_region_at_the_same_time_get_one_mapping() {
        const THREADS: usize = 4;
        let (imports, start) = (Imports::new(8), std::sync::Barrier::new(THREADS));
        for round in 0..200 {
            let region = Region::create("import", 8192).unwrap();
            let opened: Vec<Import> = std::thread::scope(|scope| {
                let open = || {
                    let fd = again(&region);
                    start.wait();
                    imports.open(fd).unwrap()
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(opened.iter().all(|import| import.as_ptr() == opened[0].as_ptr()), "round {round}");
            assert_eq!(imports.len(), 1, "round {round}");
            imports.clear();
        }
    }

    #[test]
    fn only_regions_are_imported() {
        let imports = Imports::new(2);
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(matches!(imports.open(file.into()), Err(Error::NotARegion { .. })));
        assert!(imports.is_empty());
    }
}
