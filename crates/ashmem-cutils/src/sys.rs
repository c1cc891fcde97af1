//! What comes from C as it is: descriptors that are bare numbers, and threads that may be cancelled.
#![allow(unsafe_code, reason = "descriptors that are borrowed from C, and pthread_setcancelstate")]

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Duplicates begin here, if the process may have so many: low numbers are for the program.
const FIRST_DUPLICATE: i32 = 256;

/// The file behind a descriptor, and whether it may be written through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    device: u64,
    inode: u64,
    writable: bool,
}

/// While it lives, the calling thread is not cancelled (`pthread_setcancelstate(3)`): that would unwind through Rust, which aborts.
pub(crate) struct NotCancelled(c_int);

unsafe extern "C" {
    safe fn pthread_setcancelstate(state: c_int, old: Option<&mut c_int>) -> c_int;
}

impl NotCancelled {
    #[inline]
    pub(crate) fn begin() -> NotCancelled {
        const PTHREAD_CANCEL_DISABLE: c_int = 1;
        let mut old = 0;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, Some(&mut old));
        NotCancelled(old)
    }
}

impl Drop for NotCancelled {
    #[inline]
    fn drop(&mut self) {
        pthread_setcancelstate(self.0, None);
    }
}

/// Does something with a descriptor that the caller passed in. It may be none, or be closed meanwhile: every use answers EBADF
/// then, or is about another file, as with any system call.
pub(crate) fn with<T, E: From<Errno>>(
    fd: i32,
    action: impl FnOnce(BorrowedFd<'_>) -> Result<T, E>,
) -> Result<T, E> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: not -1. That it is open is for the caller to see to, as for every function of C that takes one; here
    // it is used by system calls alone, which look for themselves.
    action(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A duplicate, closed on exec.
pub(crate) fn duplicate(fd: i32) -> Result<OwnedFd, Errno> {
    with(fd, |fd| {
        rustix::io::fcntl_dupfd_cloexec(fd, FIRST_DUPLICATE).or_else(|errno| match errno {
            // So high numbers are not to be had.
            Errno::INVAL | Errno::MFILE => rustix::io::fcntl_dupfd_cloexec(fd, 3),
            errno => Err(errno),
        })
    })
}

/// What a number names at this moment.
pub(crate) fn file(fd: i32) -> Result<File, Errno> {
    with(fd, |fd| file_of(fd))
}

/// What a descriptor names.
pub(crate) fn file_of(fd: impl AsFd) -> Result<File, Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    let writable = rustix::fs::fcntl_getfl(&fd)? & OFlags::RWMODE == OFlags::RDWR;
    Ok(File { device: stat.st_dev, inode: stat.st_ino, writable })
}
