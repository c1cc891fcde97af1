//! The atomics that the table of descriptors runs on, and its pair of barriers: the machine's, or loom's models of them.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) fn light_barrier() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(loom)]
pub(crate) fn heavy_barrier() -> bool {
    loom::sync::atomic::fence(Ordering::SeqCst);
    true
}

#[cfg(not(loom))]
pub(crate) use asymmetric::{heavy_barrier, light_barrier};

/// A pair of barriers that order as two sequentially consistent fences do, the frequent one at the price of the rare one: that
/// one makes all threads of the process pass a fence (`membarrier(2)`).
#[cfg(not(loom))]
mod asymmetric {
    use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

    use rustix::io::Errno;
    use rustix::thread::{MembarrierCommand, membarrier};

    /// The process has told the kernel that it will ask for fences.
    static REGISTERED: AtomicBool = AtomicBool::new(false);

    /// The frequent one. Before the first [`heavy_barrier`], and where the kernel has no `membarrier`, a fence.
    #[inline(always)]
    pub(crate) fn light_barrier() {
        if REGISTERED.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The rare one. False when it could not be had: then nothing is known of other threads.
    pub(crate) fn heavy_barrier() -> bool {
        fence(Ordering::SeqCst);
        match membarrier(MembarrierCommand::PrivateExpedited) {
            Ok(()) => return true,
            // Not registered, or in a kernel that forgets it at a fork.
            Err(Errno::PERM) => {}
            // Nobody has ever gone without a fence.
            Err(_) => return !REGISTERED.load(Ordering::Relaxed),
        }
        if membarrier(MembarrierCommand::RegisterPrivateExpedited).is_err() {
            return !REGISTERED.load(Ordering::Relaxed);
        }
        let done = membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        if done {
            REGISTERED.store(true, Ordering::Relaxed);
        }
        done || !REGISTERED.load(Ordering::Relaxed)
    }
}
