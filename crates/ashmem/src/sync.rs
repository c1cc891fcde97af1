//! The atomics that the pin state and rings run on: the machine's, or models of them under `--cfg loom`.

#[cfg(loom)]
pub(crate) use model::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::Ordering;

#[cfg(not(loom))]
pub(crate) use crate::sys::pair::{swap_pair, swaps_pairs};

/// Loom has no atomics of that size: every word is replaced by itself there.
#[cfg(loom)]
pub(crate) fn swaps_pairs() -> bool {
    false
}

#[cfg(loom)]
pub(crate) fn swap_pair(_: &[AtomicU64], _: [u64; 2], _: [u64; 2]) -> bool {
    false
}

/// Loom's atomics with every access made a read-modify-write. What runs on them is sequentially consistent, which loom
/// does not model for plain loads; and its search is thorough only for accesses that it takes for conflicting.
#[cfg(loom)]
mod model {
    use super::Ordering;

    #[derive(Debug)]
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> AtomicU64 {
            AtomicU64(loom::sync::atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u64 {
            self.0.fetch_or(0, Ordering::AcqRel)
        }

        pub(crate) fn store(&self, value: u64, _: Ordering) {
            self.0.swap(value, Ordering::AcqRel);
        }

        pub(crate) fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
            self.0.fetch_add(value, Ordering::AcqRel)
        }

        pub(crate) fn fetch_or(&self, value: u64, _: Ordering) -> u64 {
            self.0.fetch_or(value, Ordering::AcqRel)
        }

        pub(crate) fn fetch_sub(&self, value: u64, _: Ordering) -> u64 {
            self.0.fetch_sub(value, Ordering::AcqRel)
        }

        pub(crate) fn compare_exchange(
            &self,
            old: u64,
            new: u64,
            _: Ordering,
            _: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> AtomicU32 {
            AtomicU32(loom::sync::atomic::AtomicU32::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u32 {
            self.0.fetch_or(0, Ordering::AcqRel)
        }

        pub(crate) fn store(&self, value: u32, _: Ordering) {
            self.0.swap(value, Ordering::AcqRel);
        }

        pub(crate) fn swap(&self, value: u32, _: Ordering) -> u32 {
            self.0.swap(value, Ordering::AcqRel)
        }
    }
}
