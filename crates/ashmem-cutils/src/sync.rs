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
pub(crate) use asymmetric::{heavy_barrier, light_barrier, register};

/// A pair of barriers that order as two sequentially consistent fences do, the frequent one at the price of the rare one: that
/// one makes all threads of the process pass a fence (`membarrier(2)`).
#[cfg(not(loom))]
mod asymmetric {
    use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::{MembarrierCommand, membarrier};

    /// The process has told the kernel that it will ask for fences.
    static REGISTERED: AtomicBool = AtomicBool::new(false);

    /// Makes the frequent one cheap, if the kernel can do that. To be called before there is anything to read, as neither
    /// barrier goes with the other one of before.
    pub(crate) fn register() {
        if is_registered() {
            REGISTERED.store(true, Ordering::Relaxed);
        }
    }

    fn is_registered() -> bool {
        membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
            && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    /// The frequent one. Before [`register`], and where the kernel has no `membarrier`, a fence.
    #[inline(always)]
    pub(crate) fn light_barrier() {
        if REGISTERED.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The rare one. False when it could not be had: then nothing is known of other threads, this time.
    pub(crate) fn heavy_barrier() -> bool {
        fence(Ordering::SeqCst);
        if !REGISTERED.load(Ordering::Relaxed) {
            return true;
        }
        let passed = match membarrier(MembarrierCommand::PrivateExpedited) {
            Ok(()) => true,
            // A kernel that forgets at a fork who has registered.
            Err(Errno::PERM) => is_registered(),
            Err(_) => false,
        };
        if !passed {
            // A sandbox refuses it from now on. What other threads have written without a fence is seen long before they do so again.
            REGISTERED.store(false, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        passed
    }
}
