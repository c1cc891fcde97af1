//! Stamps: when a page was unpinned, in an order that all processes of the system share.

#[cfg(not(loom))]
use std::cell::Cell;

#[cfg(not(loom))]
use rustix::time::{ClockId, clock_gettime};

/// A stamp for an unpin that happens now: nanoseconds of the coarse monotonic clock, made strictly increasing within
/// the thread.
///
/// The coarse clock costs a few nanoseconds and ticks every few milliseconds. Unpins of different threads within one tick
/// are not told apart; those of one thread are, by ones added to its last stamp.
#[cfg(not(loom))]
#[inline]
pub(crate) fn now() -> u64 {
    thread_local! {
        static LAST: Cell<u64> = const { Cell::new(0) };
    }
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let now = (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64);
    LAST.with(|last| {
        let stamp = now.max(last.get().wrapping_add(1));
        last.set(stamp);
        stamp
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    #[test]
    fn stamps_of_a_thread_grow() {
        let stamps: Vec<u64> = (0..1000).map(|_| super::now()).collect();
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
