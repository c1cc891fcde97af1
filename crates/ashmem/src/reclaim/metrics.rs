//! What a reclaimer did.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a reclaimer did since it was made, in this process.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

metrics! {
    /// Times that it looked at the regions and at the memory that is left.
    looks,
    /// Looks that found too little memory left below a limit.
    shortages,
    /// Looks that found processes stalled for memory.
    stalls,
    /// Looks that found more unpinned memory than the budget.
    over_budget,
    /// Runs of pages that it took away.
    purges,
    /// Pages that it took away, in memory or not.
    purged_pages,
    /// Bytes of memory that this freed.
    freed_bytes,
    /// Purges that failed: another process kept the lock, no descriptor was free, `/proc` is missing.
    failures,
    /// Listeners that panicked.
    listener_panics,
    /// Threads that it started.
    threads,
}

pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
