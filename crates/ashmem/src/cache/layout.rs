//! Where everything is in a cache's region.

use std::ops::Range;

use super::key::KEY_WORDS;
use crate::page::page_size;
use crate::sync::{AtomicU64, Ordering};
use crate::{Error, Mapping, Result};

/// Indices of the header's words. The counters have a cache line of their own.
const MAGIC: usize = 0;
const SETS: usize = 1;
pub(super) const COUNTERS: usize = 8;
pub(super) const HEADER_WORDS: usize = 16;

/// Records in a set.
pub(super) const WAYS: usize = 16;

/// Words of a record; its hash lies apart.
pub(super) const RECORD_WORDS: usize = 32;

/// A cache, of this layout (the last byte).
const MAGIC_VALUE: u64 = u64::from_le_bytes(*b"ashmemC\x01");

/// The largest cache in pages, index and all: a run of pages is one word, half of it for the first page and half for their
/// number.
const PAGES_MAX: u64 = u32::MAX as u64;

// The layout crosses processes. Sets of hashes and records start at cache lines.
const _: () = assert!(size_of::<AtomicU64>() == 8 && align_of::<AtomicU64>() == 8);
const _: () = assert!(COUNTERS * 8 % 64 == 0 && COUNTERS + super::Counter::ALL.len() <= HEADER_WORDS);
const _: () = assert!(HEADER_WORDS * 8 % 64 == 0 && WAYS * 8 % 64 == 0 && RECORD_WORDS * 8 % 64 == 0);
const _: () = assert!(super::record::KEY + KEY_WORDS == RECORD_WORDS);

/// The sizes of a cache: all that a process has to know to find the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    sets: u64,
    /// Of the whole region.
    pages: u64,
    first_data_page: u64,
}

impl Geometry {
    /// A cache for `capacity` bytes of data, rounded up to pages, and about `entries` entries: 1 at least, and no more than
    /// there are pages of data, because every entry has one.
    ///
    /// # Errors
    /// [`Error::InvalidSize`] when the capacity is 0, or too large.
    pub(crate) fn new(capacity: u64, entries: u64) -> Result<Geometry> {
        let data = capacity.div_ceil(page_size());
        let invalid = || Error::InvalidSize { size: capacity, max: PAGES_MAX * page_size() };
        if data == 0 || data > PAGES_MAX {
            return Err(invalid());
        }
        let sets = (2 * entries.clamp(1, data)).div_ceil(WAYS as u64);
        let first_data_page = first_data_page(sets).ok_or_else(invalid)?;
        let pages = first_data_page + data;
        if pages > PAGES_MAX {
            return Err(invalid());
        }
        Ok(Geometry { sets, pages, first_data_page })
    }

    /// The geometry of the cache in `mapping`, which has to be of the whole region.
    ///
    /// # Errors
    /// [`Error::NotACache`] when there is none; [`Error::ReadOnly`] or [`Error::ProtectionDenied`] when the mapping is not
    /// readable and writable.
    pub(crate) fn read(mapping: &Mapping) -> Result<Geometry> {
        let refuse = |reason| Err(Error::NotACache { reason });
        let (pages, rest) = (mapping.len() / page_size(), mapping.len() % page_size());
        if mapping.offset() != 0 || rest != 0 || pages > PAGES_MAX {
            return refuse("no cache has this size");
        }
        let header = mapping.atomic_u64s(0, HEADER_WORDS as u64)?;
        if header[MAGIC].load(Ordering::Acquire) != MAGIC_VALUE {
            return refuse("it has no magic number, or that of another layout");
        }
        let sets = header[SETS].load(Ordering::Relaxed);
        match first_data_page(sets) {
            Some(first_data_page) if sets > 0 && first_data_page < pages => {
                Ok(Geometry { sets, pages, first_data_page })
            }
            _ => refuse("its table does not fit its size"),
        }
    }

    /// Makes an empty cache of a mapping that is all zeros and has [`Geometry::size`] bytes. Nobody else may use it before.
    ///
    /// # Errors
    /// As [`Geometry::read`].
    pub(crate) fn write(self, mapping: &Mapping) -> Result<()> {
        let header = mapping.atomic_u64s(0, HEADER_WORDS as u64)?;
        header[SETS].store(self.sets, Ordering::Relaxed);
        // Last: a creator that is killed before leaves no cache.
        header[MAGIC].store(MAGIC_VALUE, Ordering::Release);
        if Geometry::read(mapping)? == self {
            Ok(())
        } else {
            Err(Error::NotACache { reason: "its table does not fit its size" })
        }
    }

    /// Size of the region in bytes.
    pub(crate) fn size(self) -> u64 {
        self.pages * page_size()
    }

    /// The pages of the region that entries may have. Those before are the index.
    #[inline]
    pub(crate) fn data(self) -> Range<u64> {
        self.first_data_page..self.pages
    }

    /// How many records there are.
    #[inline]
    pub(super) fn records(self) -> usize {
        self.sets as usize * WAYS
    }

    /// The end of the header and the hashes, in bytes.
    pub(super) fn hashes_end(self) -> u64 {
        ((HEADER_WORDS + self.records()) * size_of::<AtomicU64>()) as u64
    }

    /// Words of the index.
    #[inline]
    pub(super) fn words(self) -> u64 {
        (HEADER_WORDS + self.records() * (1 + RECORD_WORDS)) as u64
    }

    /// The records in which a key of this hash may live. The upper half of the product is as even as a remainder, without a
    /// division.
    #[inline]
    pub(super) fn set(self, hash: u64) -> Range<usize> {
        let set = (u128::from(hash) * u128::from(self.sets)) >> 64;
        let first = set as usize * WAYS;
        first..first + WAYS
    }
}

/// The page behind the index, if there can be such an index.
fn first_data_page(sets: u64) -> Option<u64> {
    let words = sets.checked_mul((WAYS * (1 + RECORD_WORDS)) as u64)?.checked_add(HEADER_WORDS as u64)?;
    let pages = words.checked_mul(size_of::<AtomicU64>() as u64)?.div_ceil(page_size());
    (pages <= PAGES_MAX).then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapOptions, Region};

    #[test]
    fn what_was_written_is_read() {
        let p = page_size();
        for (capacity, entries) in [(1, 0), (1, 1), (100 * p, 8), (100 * p, 9), (100 * p + 1, u64::MAX)] {
            let geometry = Geometry::new(capacity, entries).unwrap();
            let region = Region::create("geometry", geometry.size()).unwrap();
            let mapping = region.map().unwrap();
            assert!(matches!(Geometry::read(&mapping), Err(Error::NotACache { .. })));
            geometry.write(&mapping).unwrap();
            assert_eq!(Geometry::read(&mapping).unwrap(), geometry);
            let data = geometry.data();
            assert_eq!(data.end - data.start, capacity.div_ceil(p));
            assert_eq!(data.end * p, geometry.size());
            assert!(geometry.words() * 8 <= data.start * p, "index and data overlap");
        }
    }

    #[test]
    fn twice_as_many_records_as_entries() {
        let records = |pages, entries| Geometry::new(pages * page_size(), entries).unwrap().records();
        assert_eq!(records(1000, 1), 16);
        assert_eq!(records(1000, 8), 16);
        assert_eq!(records(1000, 9), 32);
        assert_eq!(records(1000, 1000), 2000);
        assert_eq!(records(1000, 100_000), 2000, "no more entries than pages");
    }

    #[test]
    fn sizes_that_no_cache_has() {
        let p = page_size();
        for (capacity, entries) in
            [(0, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (PAGES_MAX * p, 1), (PAGES_MAX * p, u64::MAX)]
        {
            assert!(matches!(Geometry::new(capacity, entries), Err(Error::InvalidSize { .. })), "{capacity}");
        }
        let largest = Geometry::new((PAGES_MAX - 2) * p, 1).unwrap();
        assert!(largest.data().end <= PAGES_MAX);
    }

    #[test]
    fn a_set_is_always_inside_the_table() {
        for entries in [1, 9, 1000, 12_345] {
            let geometry = Geometry::new(entries * page_size(), entries).unwrap();
            for hash in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
                assert!(geometry.set(hash).end <= geometry.records());
            }
            assert_eq!(geometry.set(0).start, 0);
            assert_eq!(geometry.set(u64::MAX).end, geometry.records());
        }
    }

    #[test]
    fn forged_headers_are_refused() {
        let geometry = Geometry::new(100 * page_size(), 8).unwrap();
        let region = Region::create("forged", geometry.size()).unwrap();
        let mapping = region.map().unwrap();
        geometry.write(&mapping).unwrap();
        let header = mapping.atomic_u64s(0, HEADER_WORDS as u64).unwrap();
        let per_set = (WAYS * (1 + RECORD_WORDS) * 8) as u64;
        for sets in
            [0, geometry.size() / per_set, 1 << 32, u64::MAX / per_set, u64::MAX / per_set + 2, u64::MAX]
        {
            header[SETS].store(sets, Ordering::Relaxed);
            assert!(matches!(Geometry::read(&mapping), Err(Error::NotACache { .. })), "{sets}");
        }
        header[SETS].store(2, Ordering::Relaxed);
        assert!(Geometry::read(&mapping).is_ok(), "another table that fits");
        header[MAGIC].store(MAGIC_VALUE + (1 << 56), Ordering::Relaxed);
        assert!(matches!(Geometry::read(&mapping), Err(Error::NotACache { .. })), "another layout");
    }

    #[test]
    fn only_a_mapping_of_the_whole_region_will_do() {
        let p = page_size();
        let geometry = Geometry::new(100 * p, 8).unwrap();
        let region = Region::create("part", 2 * geometry.size()).unwrap();
        let part = MapOptions::new().range(geometry.size()..2 * geometry.size()).map(&region).unwrap();
        assert!(matches!(geometry.write(&part), Err(Error::NotACache { .. })));
        assert!(matches!(geometry.write(&region.map().unwrap()), Err(Error::NotACache { .. })));
        assert!(matches!(Geometry::read(&region.map_read_only().unwrap()), Err(Error::ReadOnly { .. })));
        let odd = Region::create("odd", geometry.size() - 1).unwrap();
        assert!(matches!(geometry.write(&odd.map().unwrap()), Err(Error::NotACache { .. })));
    }
}
