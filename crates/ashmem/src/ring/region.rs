//! The region that a ring is in.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::positions::{Pair, Side, Words};
use super::{Consumer, Producer};
use crate::page::page_size;
use crate::{Error, Mapping, Region, Result};

/// The largest capacity in bytes.
const CAPACITY_MAX: u64 = 1 << 39;

/// The first word of a ring's header: what it is, and which version.
const MARK: u64 = u64::from_ne_bytes(*b"ring\x01\0\0\0");

const TOO_SHORT: Error = Error::RingCorrupt { reason: "the header is too short" };

/// Where each end has its line, as words of eight bytes. A line is a pair of cache lines: processors fetch two at a time.
///
/// It holds the end's position, and what it looks at after moving that: the other's wanted position and bell. So a commit
/// touches one line, and a sleeper that was woken reads one.
const LINE: [usize; 2] = [16, 32];
const CLAIMED: [usize; 2] = [48, 49];
const WORDS: u64 = 64;

const _: () = assert!(WORDS * 8 <= 4096, "the header fits into the smallest page");

impl Side {
    /// The byte of the file whose lock is the claim to this end.
    pub(super) fn lock(self) -> u64 {
        self as u64
    }
}

/// A ring of bytes or messages between two processes, or two threads. One takes the [`Producer`], the other the
/// [`Consumer`], each from a `Ring` of its own or from one that they share.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// use ashmem::Ring;
/// use std::os::fd::AsFd;
///
/// let ring = Ring::create("commands", 64 << 10)?;
/// let mut producer = ring.producer()?;
///
/// // What arrives in the other process, however it was passed:
/// # let system = |source| ashmem::Error::System { operation: "duplicate", source };
/// let fd = ring.as_fd().try_clone_to_owned().map_err(system)?;
/// let mut consumer = Ring::from_fd(fd)?.consumer()?;
///
/// producer.send(b"draw")?;
/// producer.send(b"flush")?;
/// let mut message = Vec::new();
/// consumer.receive(&mut message)?;
/// assert_eq!(message, b"draw");
/// consumer.receive(&mut message)?;
/// assert_eq!(message, b"flush");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Ring {
    region: Region,
    memory: Arc<Memory>,
}

/// The mapped region of a ring.
#[derive(Debug)]
pub(super) struct Memory {
    mapping: Mapping,
    data: u64,
    capacity: u64,
}

impl Ring {
    /// Makes a ring for `capacity` bytes, rounded up to a power of two and to a page. A message takes eight bytes more than it has,
    /// rounded up to eight.
    ///
    /// # Errors
    /// Those of [`Region::create`] and [`Region::map`].
    pub fn create(name: impl AsRef<OsStr>, capacity: u64) -> Result<Ring> {
        if capacity == 0 || capacity > CAPACITY_MAX {
            return Err(Error::InvalidSize { size: capacity, max: CAPACITY_MAX });
        }
        let capacity = capacity.next_power_of_two().max(page_size());
        let region = Region::options().never_purgeable().create(name, page_size() + capacity)?;
        let ring = Ring { memory: Memory::new(&region)?, region };
        ring.memory.words()?[0].store(MARK, Ordering::SeqCst);
        Ok(ring)
    }

    /// Takes a ring of a descriptor that was received; it must read and write.
    ///
    /// A message may be as long as [`Ring::capacity`], which whoever made the ring has chosen.
    ///
    /// # Errors
    /// Those of [`Region::from_fd`] and [`Region::map`]; [`Error::RingCorrupt`] when the region has no ring in it. The descriptor is closed
    /// in any case; pass a duplicate to keep it.
    pub fn from_fd(fd: OwnedFd) -> Result<Ring> {
        let region = Region::from_fd(fd)?;
        let ring = Ring { memory: Memory::new(&region)?, region };
        if ring.memory.words()?[0].load(Ordering::SeqCst) != MARK {
            return Err(Error::RingCorrupt { reason: "the region has no ring in it" });
        }
        Ok(ring)
    }

    /// Bytes that fit.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.memory.capacity
    }

    /// Claims the end that writes.
    ///
    /// It starts where the last producer's commits ended. It stays claimed until it is dropped or the process is gone,
    /// however it dies.
    ///
    /// # Errors
    /// [`Error::RingEndTaken`] when somebody has it; [`Error::RingCorrupt`]; [`Error::System`]: no `/proc`, no free
    /// descriptor, no permission to open the region again.
    pub fn producer(&self) -> Result<Producer> {
        Producer::claim(self)
    }

    /// Claims the end that reads: see [`Ring::producer`].
    ///
    /// # Errors
    /// As [`Ring::producer`].
    pub fn consumer(&self) -> Result<Consumer> {
        Consumer::claim(self)
    }

    /// The descriptor of the ring's region.
    ///
    /// # Errors
    /// As [`Region::into_fd`].
    pub fn into_fd(self) -> Result<OwnedFd> {
        self.region.into_fd()
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.region.as_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl Memory {
    fn new(region: &Region) -> Result<Arc<Memory>> {
        let data = page_size();
        let capacity = region.size().saturating_sub(data);
        if !capacity.is_power_of_two() || capacity < data || capacity > CAPACITY_MAX {
            return Err(Error::RingCorrupt { reason: "no ring has this size" });
        }
        Ok(Arc::new(Memory { mapping: region.map()?, data, capacity }))
    }

    #[inline]
    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Where in the mapping the data starts.
    #[inline]
    pub(super) fn data(&self) -> u64 {
        self.data
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    fn words(&self) -> Result<&[AtomicU64; WORDS as usize]> {
        let words = self.mapping.atomic_u64s(0, WORDS)?;
        words.try_into().map_err(|_| TOO_SHORT)
    }

    /// The words of both ends, seen from `side`.
    #[inline]
    pub(super) fn pair(&self, side: Side) -> Result<Pair<'_>> {
        let words = self.words()?;
        let halves: &[AtomicU32; 2 * WORDS as usize] =
            self.mapping.atomic_u32s(0, 2 * WORDS)?.try_into().map_err(|_| TOO_SHORT)?;
        let (mine, theirs) = (LINE[side as usize], LINE[side.peer() as usize]);
        let end = |own: usize, other: usize| Words {
            position: &words[own],
            wanted: &words[other + 1],
            bell: &halves[2 * (other + 2)],
        };
        Ok(Pair { mine: end(mine, theirs), theirs: end(theirs, mine) })
    }

    /// Whether anybody ever claimed an end, as a word that is not 0, and whether the last one left of its own accord.
    pub(super) fn claimed(&self, side: Side) -> Result<&AtomicU64> {
        Ok(&self.words()?[CLAIMED[side as usize]])
    }
}
