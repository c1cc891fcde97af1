//! A lane: records of one thread on their way to the collector. One writes, one reads; no locks, no system calls.
//!
//! # Words
//!
//! A lane is words in shared memory: a few for control, and the data, a power of two of them. **Positions** count the words that
//! were ever written and read; the word at a position is in the data at its remainder. They only grow, and so they
//! number the records as well.
//!
//! ```text
//!   owner   0, or the thread that writes here
//!   write   where the writer is        lost      records that found no room, ever
//!   read    where the collector is     reported  how many of those are in the log
//! ```
//!
//! # Protocol
//!
//! 1. A thread claims a lane by one compare-and-swap of `owner` from 0, and gives it back by storing 0. The acquire of the one and
//!    the release of the other hand over `write` and what was seen of `read`.
//! 2. The writer fills words in `write..read + capacity`, which nobody reads, and then publishes the record by **one release store**
//!    of `write`. A writer that is killed before the store has logged nothing; after it, everything. There is nothing
//!    half written for anybody to meet, and nothing to repair.
//! 3. The reader copies out of `read..write`, and stores `read` when the records are safe elsewhere. A reader that is killed before
//!    the store leaves them to the next one, which has to know whether they are safe already.
//! 4. Each end keeps its own position in memory of its own, and believes only that; of the other's it takes what is within the
//!    capacity. Anything else is [`Corrupt`].
//!
//! All accesses are atomic, of words, or copies by [`Mapping::write_at`](ashmem::Mapping::write_at): a peer that writes where it should not makes wrong records, never undefined behaviour.
//! No record is looked at twice: its head is copied out, checked, and the copy counts.

mod head;
mod reader;
mod writer;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;

pub use self::head::{MESSAGE_MAX, TAG_MAX};
pub(crate) use self::{
    head::{Head, RECORD_MAX},
    reader::Reader,
    writer::Writer,
};

use crate::sync::{AtomicU64, Ordering};

/// Words of control; those that different processes write are two cache lines apart, as processors fetch two at a time.
pub(crate) const CONTROL: usize = 48;
const OWNER: usize = 0;
const WRITE: usize = 16;
const LOST: usize = 17;
const READ: usize = 32;
const REPORTED: usize = 33;

/// What the other end says is impossible: how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Bytes from which on a call of `memcpy` is faster than storing words.
#[cfg(not(loom))]
const LONG: usize = 32;

const OUT_OF_RANGE: Corrupt = Corrupt("the positions are further apart than the lane is long");

/// The words of one lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    control: &'a [AtomicU64],
    data: &'a [AtomicU64],
    /// The same data as bytes, from so many on: long messages are copied at once.
    #[cfg(not(loom))]
    bytes: Option<(&'a ashmem::Mapping, u64)>,
}

impl<'a> Lane<'a> {
    /// `None` unless there are [`CONTROL`] words of control, and a power of two of data in which every record fits.
    #[inline(always)]
    pub(crate) fn new(control: &'a [AtomicU64], data: &'a [AtomicU64]) -> Option<Lane<'a>> {
        let fits = control.len() == CONTROL && data.len().is_power_of_two();
        fits.then_some(Lane {
            control,
            data,
            #[cfg(not(loom))]
            bytes: None,
        })
    }

    /// The lane, with its data as the bytes of a mapping from `offset` on.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn with_bytes(self, mapping: &'a ashmem::Mapping, offset: u64) -> Lane<'a> {
        Lane { bytes: Some((mapping, offset)), ..self }
    }

    /// Puts a long message into the data from a word on, which it does not go beyond the end of; false where that has to be done word
    /// by word.
    #[cfg(not(loom))]
    #[inline(always)]
    fn put_bytes(&self, index: usize, bytes: &[u8]) -> bool {
        let Some((mapping, offset)) = self.bytes.filter(|_| bytes.len() >= LONG) else { return false };
        mapping.write_at(offset + 8 * index as u64, bytes).is_ok()
    }

    #[cfg(loom)]
    fn put_bytes(&self, _: usize, _: &[u8]) -> bool {
        false
    }

    /// Words of data.
    #[inline]
    pub(crate) fn words(&self) -> u64 {
        self.data.len() as u64
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        // No truncation that matters: the length is a power of two.
        position as usize & (self.data.len() - 1)
    }

    /// Takes the lane for the thread, if nobody has it. A thread's number is never 0.
    pub(crate) fn claim(&self, thread: u32) -> bool {
        let claim =
            self.control[OWNER].compare_exchange(0, thread.into(), Ordering::Acquire, Ordering::Relaxed);
        claim.is_ok()
    }

    /// Gives the lane back; by its owner.
    pub(crate) fn give_back(&self) {
        self.control[OWNER].store(0, Ordering::Release);
    }

    /// The thread that has the lane; 0 for none.
    pub(crate) fn owner(&self) -> u32 {
        self.control[OWNER].load(Ordering::Relaxed) as u32
    }

    /// Records that found no room, ever.
    pub(crate) fn lost(&self) -> u64 {
        self.control[LOST].load(Ordering::Acquire)
    }

    /// Counts records that found no room; by the owner.
    pub(crate) fn lose(&self, records: u64) {
        let lost = self.control[LOST].load(Ordering::Relaxed);
        self.control[LOST].store(lost.wrapping_add(records), Ordering::Release);
    }

    /// How many of the lost are in the log; by the collector.
    pub(crate) fn reported(&self) -> u64 {
        self.control[REPORTED].load(Ordering::Acquire)
    }

    /// See [`Lane::reported`].
    pub(crate) fn report(&self, lost: u64) {
        self.control[REPORTED].store(lost, Ordering::Release);
    }

    /// Words that were ever written.
    pub(crate) fn written(&self) -> u64 {
        self.control[WRITE].load(Ordering::Acquire)
    }

    /// Whether everything that was written has been collected.
    pub(crate) fn is_empty(&self) -> bool {
        self.control[READ].load(Ordering::Acquire) == self.control[WRITE].load(Ordering::Acquire)
    }
}
