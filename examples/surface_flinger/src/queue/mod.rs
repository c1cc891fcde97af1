//! A window's queue of buffers: a producer draws, a consumer composes, in two processes over one region.
//!
//! # States
//!
//! ```text
//!          dequeue               queue               acquire
//!     FREE -------> DEQUEUED ---------------> QUEUED -------> ACQUIRED
//!      ^ ^  cancel      |                                        |
//!      | +--------------+                                        |
//!      +------------------------- release -----------------------+
//! ```
//!
//! As Android's `BufferQueue` has them. Each of the three slots is one word, its state and the number of its frame, and every transition is one
//! compare-and-swap by the only side that may do it: the producer leaves FREE and DEQUEUED, the consumer QUEUED and ACQUIRED. Frames
//! are numbered from 1 without gaps and are acquired in that order. The producer has one buffer to draw in while one waits and one is shown.
//!
//! # Fences
//!
//! Futexes in the region:
//! - The **acquire fence** of a slot is the number of the last frame in it whose pixels are complete. A frame may be queued before it is
//!   drawn; the consumer does not acquire it until its fence says so, and shows the one before meanwhile.
//! - The **release fence** counts buffers that became free. A producer without a free buffer sleeps on it.
//! - The **bell** counts frames and fences of the producer. A consumer that has nothing to show may sleep on it.
//!
//! A sleeper reads the count, then looks at the slots, then sleeps as long as the count is that one, so no wake is lost.
//!
//! # Trust
//!
//! Each side keeps what it has done in memory of its own, and reads a word of the block once. Every value of every word is valid input. One that the peer
//! could not have written if it were honest ends this queue with [`Error::QueueCorrupt`](crate::Error::QueueCorrupt), and nothing
//! else. No wait is without an end.

mod slots;
mod word;

#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod control;
#[cfg(not(loom))]
mod producer;

#[cfg(all(test, not(loom)))]
mod hostile_tests;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;

#[cfg(not(loom))]
pub(crate) use self::{
    consumer::{Consumer, Shown},
    control::Layout,
    producer::{Dequeued, Producer},
};

/// Buffers of a window.
pub const SLOTS: usize = 3;
