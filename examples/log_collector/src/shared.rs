//! The region of an app: a header, the control words of all lanes, and their data.
//!
//! ```text
//!   0        4096                       page_align
//!   | header | control of lane 0, 1, .. | data of lane 0 | data of lane 1 | ..
//! ```
//!
//! The header says how many lanes there are. How long they are follows from the region's size, which the kernel keeps; both are looked
//! at once, when the region is made or received.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use ashmem::{Mapping, Region};

use crate::lane::{CONTROL, Lane, RECORD_MAX};
use crate::{Error, Result};

/// Most lanes of a region.
pub(crate) const LANES_MAX: usize = 256;
/// Bytes of the smallest lane, and of the largest; a power of two.
pub(crate) const LANE_SIZE: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 20;
/// Bytes of the largest region.
const SIZE_MAX: u64 = 1 << 30;

const _: () = assert!(2 * RECORD_MAX as u64 * 8 <= *LANE_SIZE.start(), "a record leaves room for another");

/// The first word: what it is, and which version.
const MARK: u64 = u64::from_le_bytes(*b"loglane\x01");
const MARK_AT: u64 = 0;
const NONCE_AT: u64 = 8;
const LANES_AT: u64 = 16;
/// Records of threads that found no lane, ever; and how many of those are in the log.
const HOMELESS_AT: u64 = 128;
const HOMELESS_REPORTED_AT: u64 = 256;

const HEADER: u64 = 4096;
/// Bytes from one lane's control words to the next one's.
const CONTROL_STRIDE: u64 = 512;
const _: () = assert!(CONTROL as u64 * 8 <= CONTROL_STRIDE);

/// Which region, for as long as logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RegionId {
    /// No two regions have the same at a time, whatever their makers do: the kernel's number for the file.
    pub(crate) inode: u64,
    /// What tells it from a region that had the number earlier.
    pub(crate) nonce: u64,
}

/// The mapped region of an app.
#[derive(Debug)]
pub(crate) struct Shared {
    mapping: Mapping,
    region: Region,
    id: RegionId,
    lanes: usize,
    /// Words of all of it.
    words: u64,
    /// Where the data begins, and bytes of each lane.
    data: u64,
    lane_size: u64,
}

fn data_start(lanes: usize) -> u64 {
    (HEADER + lanes as u64 * CONTROL_STRIDE).next_multiple_of(4096)
}

impl Shared {
    pub(crate) fn create(lanes: usize, lane_size: u64) -> Result<Shared> {
        const OPERATION: &str = "make a region for logs";
        if !(1..=LANES_MAX).contains(&lanes) {
            return Err(Error::Options("there must be 1 to 256 lanes"));
        }
        if !LANE_SIZE.contains(&lane_size) || !lane_size.is_power_of_two() {
            return Err(Error::Options("a lane has 64 KiB to 256 MiB, and a power of two"));
        }
        let size = data_start(lanes) + lanes as u64 * lane_size;
        if size > SIZE_MAX {
            return Err(Error::Options("all lanes together have at most 1 GiB"));
        }
        let region = Region::options().never_purgeable().create("log lanes", size);
        let region = region.map_err(Error::region(OPERATION))?;
        let mapping = region.map().map_err(Error::region(OPERATION))?;
        let nonce = RandomState::new().hash_one(std::process::id());
        for (at, value) in [(NONCE_AT, nonce), (LANES_AT, lanes as u64), (MARK_AT, MARK)] {
            let word = mapping.atomic_u64(at).map_err(Error::region(OPERATION))?;
            word.store(value, Ordering::Release);
        }
        Shared::new(region, mapping)
    }

    /// Of a descriptor that was received. It must read and write.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<Shared> {
        const OPERATION: &str = "receive a region of logs";
        let region = Region::from_fd(fd).map_err(Error::region(OPERATION))?;
        if region.size() > SIZE_MAX {
            return Err(Error::Options("the region is too large for logs"));
        }
        let mapping = region.map().map_err(Error::region(OPERATION))?;
        Shared::new(region, mapping)
    }

    fn new(region: Region, mapping: Mapping) -> Result<Shared> {
        const OPERATION: &str = "look at a region of logs";
        const NOT_OF_LOGS: Error = Error::Options("the region has no logs in it");
        let word = |at| mapping.load_u64(at).map_err(Error::region(OPERATION));
        if mapping.len() < HEADER || word(MARK_AT)? != MARK {
            return Err(NOT_OF_LOGS);
        }
        let lanes = usize::try_from(word(LANES_AT)?).ok().filter(|lanes| (1..=LANES_MAX).contains(lanes));
        let lanes = lanes.ok_or(NOT_OF_LOGS)?;
        let data = data_start(lanes);
        let lane_size = mapping.len().saturating_sub(data) / lanes as u64;
        let is_whole = data + lane_size * lanes as u64 == mapping.len();
        if !is_whole || !LANE_SIZE.contains(&lane_size) || !lane_size.is_power_of_two() {
            return Err(NOT_OF_LOGS);
        }
        let inode = region.file_id().map_err(Error::region(OPERATION))?;
        let id = RegionId { inode, nonce: word(NONCE_AT)? };
        let words = mapping.len() / 8;
        Ok(Shared { mapping, region, id, lanes, words, data, lane_size })
    }

    pub(crate) fn id(&self) -> RegionId {
        self.id
    }

    /// For handing the region over.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// The lane with that number, which is less than [`Shared::lanes`].
    #[inline]
    pub(crate) fn lane(&self, index: usize) -> Result<Lane<'_>> {
        self.find_lane(index).ok_or(Error::Options("there is no such lane"))
    }

    /// [`Shared::lane`] without an error: a few nanoseconds less than moving one that is not there.
    #[inline(always)]
    pub(crate) fn find_lane(&self, index: usize) -> Option<Lane<'_>> {
        let words = self.mapping.atomic_u64s(0, self.words).ok()?;
        let data_at = self.data + index as u64 * self.lane_size;
        let control = (HEADER + index as u64 * CONTROL_STRIDE) as usize / 8;
        let control = words.get(control..control.checked_add(CONTROL)?)?;
        let (data, len) = (data_at as usize / 8, self.lane_size as usize / 8);
        let lane = Lane::new(control, words.get(data..data.checked_add(len)?)?)?;
        Some(lane.with_bytes(&self.mapping, data_at))
    }

    /// Records of threads that found no lane, ever.
    pub(crate) fn homeless(&self) -> Result<&AtomicU64> {
        self.mapping.atomic_u64(HOMELESS_AT).map_err(Error::region("count a lost record"))
    }

    /// How many of those are in the log.
    pub(crate) fn homeless_reported(&self) -> Result<&AtomicU64> {
        self.mapping.atomic_u64(HOMELESS_REPORTED_AT).map_err(Error::region("report lost records"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_found_as_it_was_made() {
        let made = Shared::create(3, 64 << 10).unwrap();
        let found = Shared::from_fd(made.region().share_read_write().unwrap()).unwrap();
        assert_eq!((found.id(), found.lanes()), (made.id(), 3));
        assert!(made.lane(2).unwrap().claim(7));
        assert!(!found.lane(2).unwrap().claim(8), "it is the same lane");
        assert!(found.lane(1).unwrap().claim(8));
        assert!(found.lane(3).is_err());
    }

    #[test]
    fn other_regions_are_refused() {
        let wrong = |size: u64, header: &[u64]| {
            let region = Region::create("wrong", size).unwrap();
            let mapping = region.map().unwrap();
            for (at, word) in header.iter().enumerate() {
                mapping.write_at(8 * at as u64, &word.to_ne_bytes()).unwrap();
            }
            Shared::from_fd(region.into_fd().unwrap()).is_err()
        };
        let size = data_start(2) + 2 * (64 << 10);
        assert!(!wrong(size, &[MARK, 0, 2]), "this one is right");
        assert!(wrong(8, &[MARK]));
        assert!(wrong(size, &[MARK ^ 1, 0, 2]));
        for lanes in [0, 3, 257, 1 << 32, u64::MAX] {
            assert!(wrong(size, &[MARK, 0, lanes]), "{lanes}");
        }
        assert!(wrong(size + 8, &[MARK, 0, 2]));
        assert!(wrong(SIZE_MAX + 4096, &[MARK, 0, 2]));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(Shared::from_fd(reader.into()).is_err());
        let read_only = Shared::create(1, 64 << 10).unwrap().region().share_read_only().unwrap();
        assert!(Shared::from_fd(read_only).is_err());
    }

    #[test]
    fn sizes_that_are_not_possible() {
        for (lanes, size) in
            [(0, 64 << 10), (257, 64 << 10), (1, 32 << 10), (1, 100_000), (1, 512 << 20), (8, 256 << 20)]
        {
            assert!(matches!(Shared::create(lanes, size), Err(Error::Options(_))), "{lanes} {size}");
        }
    }
}
