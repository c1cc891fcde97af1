//! Between Rust's results and C's: -1 and `errno`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::errno::Errno;
use crate::sys::NotCancelled;

/// What goes into `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) i32);

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<ashmem::Error> for Failure {
    fn from(error: ashmem::Error) -> Failure {
        Failure(error.raw_os_error())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Failure {
        Failure(errno.raw_os_error())
    }
}

/// The body of a function of the interface: what `action` answers, with `errno` as it was; or else `failed`, with the failure in
/// `errno`.
#[inline(always)]
pub(crate) fn call<T>(failed: T, action: impl FnOnce() -> Result<T>) -> T {
    let errno = Errno::save();
    let _not_cancelled = NotCancelled::begin();
    // Nothing may unwind into C.
    match catch_unwind(AssertUnwindSafe(action)).unwrap_or(Err(Failure(libc::EIO))) {
        Ok(value) => {
            errno.restore();
            value
        }
        Err(Failure(number)) => {
            errno.set(number);
            failed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn set(number: i32) {
        call((), || Err(Failure(number)));
    }

    #[test]
    fn success_leaves_errno_alone_and_failure_sets_it() {
        set(libc::EXDEV);
        let value = call(-1, || {
            assert!(std::fs::File::open("/nonexistent").is_err());
            Ok(7)
        });
        assert_eq!((value, io::Error::last_os_error().raw_os_error()), (7, Some(libc::EXDEV)));
        assert_eq!(call(-1, || Err(Failure(libc::ENOTTY))), -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOTTY));
    }
}
