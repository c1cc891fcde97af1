//! A ring in a region: one process writes bytes or messages, another reads them, without a system call or a lock while both
//! are awake. The shape of what an audio client and the mixer share.
//!
//! # The region
//!
//! ```text
//!   0                       page                                page + capacity
//!   | header                | data                              |
//! ```
//!
//! The capacity is a power of two, and at least a page. Nothing in the header says it: the region's size does, which the
//! kernel keeps. The header has a mark, and for each end:
//!
//! - its **position**: how many bytes it has committed since the ring was made (written, for the producer; read, for the
//!   consumer). It wraps with the integer, and the byte at a position is in the data at its remainder by the capacity;
//! - its **bell**, a futex: up while the end sleeps; and the peer's position that it waits for. They are in the cache line of the
//!   peer's position, so that a commit needs no other;
//! - whether it was ever **claimed**.
//!
//! # Protocol
//!
//! 1. An end belongs to who holds an open file description lock on its byte of the header, through a description opened for
//!    that alone. The kernel takes the lock away from a process that dies. Whoever claims the end next finds its position
//!    where it was committed last.
//! 2. Each end writes its own position only, and keeps a private record of it that counts for all it does. The producer writes
//!    data in `write..read + capacity`, then commits by one store of its position; the consumer copies out of
//!    `read..write`, then commits. So a producer that is killed leaves a whole commit or nothing of it, and what a
//!    consumer had not committed is read again.
//! 3. An end that has nothing to do looks for a moment, then puts up its bell, looks once more, and sleeps. The other looks at
//!    the bell after each commit, and if it is up and the commit is enough, takes it down and wakes. Of an end that
//!    goes to sleep and an end that commits, one at least sees what the other stored.
//! 4. Nobody sleeps longer than a tenth of a second without looking at the peer's lock. When its end was claimed once, is not any
//!    more, and what it left is not enough, waiting ends with [`Error::RingPeerGone`](crate::Error::RingPeerGone). An end that
//!    is not killed but dropped says so in the header, lets go of the lock, and rings: it is noticed at once.
//!
//! # Messages
//!
//! A message is its length in eight bytes, its bytes, and zeros or anything up to a multiple of eight: one commit. Use a ring
//! for messages or for bytes, not for both.
//!
//! # A hostile peer
//!
//! It may write anything anywhere at any time. A position that is further away than the capacity, one that goes back
//! behind what an end is about to read or write, or a message longer than what is committed, is [`Error::RingCorrupt`](crate::Error::RingCorrupt); a bell or a wanted position that lies wakes or does not wake its owner, who
//! looks again after a nap. Data is what it is: copied once, and checked by who knows what it means.
//!
//! # Fork
//!
//! The claims are the parent's: a child of `fork(2)` must not use the ends that it inherits, and does not keep their claims.

mod positions;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod end;
#[cfg(not(loom))]
mod patience;
#[cfg(not(loom))]
mod producer;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod window;

#[cfg(not(loom))]
pub use self::{
    consumer::{Consumer, Message},
    producer::{Producer, Reservation},
    region::Ring,
    window::Window,
};

/// Bytes of a message's length, and what messages are aligned to.
#[cfg(not(loom))]
const PREFIX: u64 = 8;

/// Bytes that a message of `len` bytes takes; no sum overflows for what fits into a ring.
#[cfg(not(loom))]
fn framed(len: u64) -> Option<u64> {
    len.checked_add(PREFIX)?.checked_next_multiple_of(PREFIX)
}
