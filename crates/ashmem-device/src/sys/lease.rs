//! Whether a file is open anywhere else.

#![allow(unsafe_code, reason = "fcntl(2) with F_SETLEASE, which rustix does not have")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Whether this description is the only one of its file, mappings and descriptors under way included: a write lease is granted
/// only then. It is given back before this returns.
///
/// # Errors
/// Those of `fcntl(2)`: EACCES for a file of another user, EINVAL where there are no leases.
pub(crate) fn lease(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let set = |kind: i32| {
        // SAFETY: this command takes a number, and no memory.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, kind) };
        if result == 0 {
            return Ok(());
        }
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    };
    match set(libc::F_WRLCK) {
        Ok(()) => {
            // Nobody can have opened it in the meantime without waiting for this.
            set(libc::F_UNLCK)?;
            Ok(true)
        }
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}
