//! Between Rust's results and C's: -1 and `errno`.
#![allow(unsafe_code, reason = "errno")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

/// A thread of this process, as a number that no other one has meanwhile; never 0.
pub(crate) type Thread = usize;

/// What goes into `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) i32);

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<ashmem::Error> for Failure {
    fn from(error: ashmem::Error) -> Failure {
        Failure(error.raw_os_error())
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure(errno.raw_os_error())
    }
}

/// The body of every function of the interface: what `action` returns, with `errno` as it was; or else `failed`, with its failure in
/// `errno`. Nothing unwinds into C.
#[inline(always)]
pub(crate) fn call<T>(failed: T, action: impl FnOnce(Thread) -> Result<T>) -> T {
    // SAFETY: always a thread's own, valid as long as the thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: no other thread has it.
    let before = unsafe { errno.read() };
    let answer = catch_unwind(AssertUnwindSafe(|| action(errno.addr()))).unwrap_or(Err(Failure(libc::EIO)));
    let (value, after) = match answer {
        Ok(value) => (value, before),
        Err(Failure(number)) => (failed, number),
    };
    // SAFETY: as above.
    unsafe { errno.write(after) };
    value
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn set(number: i32) {
        call((), |_| Err(Failure(number)));
    }

    #[test]
    fn success_leaves_errno_alone_and_failure_sets_it() {
        set(libc::EXDEV);
        let value = call(-1, |_| {
            assert!(std::fs::File::open("/nonexistent").is_err());
            Ok(7)
        });
        assert_eq!((value, io::Error::last_os_error().raw_os_error()), (7, Some(libc::EXDEV)));
        assert_eq!(call(-1, |_| Err(Failure(libc::ENOTTY))), -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn threads_have_different_numbers() {
        let here = call(0, Ok);
        let there = std::thread::spawn(|| call(0, Ok)).join().expect("a thread");
        assert!(here != 0 && there != 0);
        assert_eq!(call(0, Ok), here);
    }
}
