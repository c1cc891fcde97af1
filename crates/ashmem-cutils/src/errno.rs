//! A thread's `errno`, and what tells it from other threads.
#![allow(unsafe_code, reason = "errno and the thread pointer")]

use std::ffi::c_int;

/// Where a thread has its `errno`, and what was in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errno {
    place: *mut c_int,
    before: c_int,
}

impl Errno {
    /// The calling thread's.
    #[inline]
    pub(crate) fn save() -> Errno {
        // SAFETY: has no conditions.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: a thread's own integer, valid as long as the thread.
        Errno { place, before: unsafe { place.read() } }
    }

    /// As [`save`](Self::save), without asking where it is.
    ///
    /// # Safety
    /// `place` is what `__errno_location` gave to the calling thread.
    #[inline(always)]
    pub(crate) unsafe fn save_at(place: *mut c_int) -> Errno {
        // SAFETY: a thread's own integer, valid as long as the thread.
        Errno { place, before: unsafe { place.read() } }
    }

    pub(crate) fn place(self) -> *mut c_int {
        self.place
    }

    /// Leaves what was there.
    #[inline(always)]
    pub(crate) fn restore(self) {
        self.set(self.before);
    }

    #[inline(always)]
    pub(crate) fn set(self, number: c_int) {
        // SAFETY: as when it was read; it stays in its thread, as a pointer is not `Send`.
        unsafe { self.place.write(number) };
    }
}

/// A number that no other living thread of the process has, and that is not 0.
#[inline(always)]
pub(crate) fn thread() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: the thread control block begins with its own address, says the ABI of thread-local storage.
        unsafe {
            std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(pure, readonly, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(target_arch = "aarch64")]
    {
        let pointer: usize;
        // SAFETY: every program may read this register, in which the ABI keeps the thread pointer.
        unsafe {
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(pure, nomem, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Errno::save().place().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_different_numbers() {
        let here = thread();
        let there = std::thread::spawn(thread).join().expect("a thread");
        assert!(here != 0 && there != 0 && here != there);
        assert_eq!(thread(), here);
    }
}
