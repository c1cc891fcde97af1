//! Sleeping on a word of shared memory until another process wakes (`futex(2)`).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

/// Sleeps while `word` holds `value`, at most that long, and says whether it was woken. It may return earlier.
pub(crate) fn wait(word: &AtomicU32, value: u32, most: Duration) -> bool {
    // More seconds than fit are for ever.
    let most = Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    };
    // EAGAIN, EINTR and ETIMEDOUT all mean that the caller looks again.
    futex::wait(word, Flags::empty(), value, Some(&most)).is_ok()
}

/// Wakes one that sleeps on `word`.
pub(crate) fn wake_one(word: &AtomicU32) {
    // Cannot fail for memory that is mapped.
    let _ = futex::wake(word, Flags::empty(), 1);
}
