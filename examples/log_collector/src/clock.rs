//! What time records have.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Which times records have. None takes a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The time to the nanosecond, which takes some twenty nanoseconds to read, for threads that log less than 64 records a millisecond. When
    /// one logs more, a thread of the logger's reads the clock for all of them, every millisecond. Records of two threads in one such tick
    /// have the same time, and their order in the log is that of their lanes.
    #[default]
    Ticks,
    /// Always the time to the nanosecond.
    Precise,
}

/// Nanoseconds since 1970 (`CLOCK_REALTIME`).
#[inline]
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Nanoseconds between two ticks.
pub(crate) const TICK: u64 = 1_000_000;

/// The time of the last tick, in cache lines of its own; 0 while nobody ticks.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Ticks(AtomicU64);

impl Ticks {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // A number, and nothing that was written before it.
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn tick(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
