//! When a frame is due at the output: three words that the mixer writes and the client reads as one.

use super::sync::{AtomicU64, Ordering, fence};

/// Looks of a reader that always meets a writer. An honest mixer writes once in each period.
const LOOKS: u32 = 16;

/// Which frame of a track leaves the mixer at which time, as `AudioTrack.getTimestamp` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// The frame, counted from the start of the track.
    pub position: u64,
    /// When it is due at the output, in nanoseconds of `CLOCK_MONOTONIC`.
    pub nanoseconds: u64,
}

/// A sequence lock without a lock: the sequence is odd while the words are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimestampWords<'a> {
    pub(crate) sequence: &'a AtomicU64,
    pub(crate) position: &'a AtomicU64,
    pub(crate) nanoseconds: &'a AtomicU64,
}

impl TimestampWords<'_> {
    /// For the one writer, which counts the `writes` itself: the word could be anybody's.
    pub(crate) fn write(&self, writes: u64, timestamp: Timestamp) {
        let sequence = writes.wrapping_mul(2);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Before the words: who sees one of them sees that the sequence was odd.
        fence(Ordering::Release);
        self.position.store(timestamp.position, Ordering::Relaxed);
        self.nanoseconds.store(timestamp.nanoseconds, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Nothing before the first one was written, and when the words change all the time.
    pub(crate) fn read(&self) -> Option<Timestamp> {
        for _ in 0..LOOKS {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let position = self.position.load(Ordering::Relaxed);
            let nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before % 2 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return Some(Timestamp { position, nanoseconds });
            }
            #[cfg(not(loom))]
            std::hint::spin_loop();
            #[cfg(loom)]
            loom::thread::yield_now();
        }
        None
    }
}
