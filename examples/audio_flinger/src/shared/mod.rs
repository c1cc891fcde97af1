//! The region of a track: a control block, and the samples behind it. Both processes map it and write to it.
//!
//! ```text
//! 0     of the client: position, volumes, the bell that the mixer sleeps at, where the sound ends
//! 128   of the mixer: position, the bell that the client sleeps at, state, underruns, timestamp
//! 256   samples: 32-bit floats, channels interleaved
//! ```
//!
//! Either side writes its own words, and the peer's bell. It keeps what it knows about itself in memory of its own and never reads it
//! back from here.

#[cfg(not(loom))]
mod block;
#[cfg(all(test, loom))]
mod loom_tests;
pub(crate) mod positions;
#[cfg(not(loom))]
mod state;
pub(crate) mod sync;
pub(crate) mod timestamp;

#[cfg(not(loom))]
pub(crate) use self::block::{ControlBlock, LARGEST_SAMPLES};
#[cfg(not(loom))]
pub use self::state::{Fault, State};
pub use self::timestamp::Timestamp;
