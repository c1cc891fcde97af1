//! Locks on byte ranges of a region, counted and cleaned up by the kernel (`fcntl(2)`, open file description locks).
//!
//! Such a lock belongs to the open file description. Fork and SCM_RIGHTS share descriptions, so each operation locks through
//! one that it opened itself and closes again. Where none can be opened, a lock of the process has to do ([`Handle::Shared`]).
#![allow(unsafe_code, reason = "rustix has no record locks on ranges")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Unlock,
}

/// Something to lock through.
#[derive(Debug)]
pub(crate) enum Handle<'a> {
    /// A description that the current operation opened itself.
    Own(OwnedFd),
    /// The region's descriptor, where no other could be opened. Locks through it belong to the process
    /// and end early when any descriptor of the file is closed in it.
    Shared(BorrowedFd<'a>),
}

impl Handle<'_> {
    /// The descriptor behind it.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Handle::Own(fd) => fd.as_fd(),
            Handle::Shared(fd) => *fd,
        }
    }

    /// Locks or unlocks `start..end` (bytes) without waiting; false when somebody else holds a part of it.
    pub(crate) fn try_set(&self, kind: Kind, start: u64, end: u64) -> Result<bool, Errno> {
        let kind = match kind {
            Kind::Write => libc::F_WRLCK,
            Kind::Unlock => libc::F_UNLCK,
        };
        let command = match self {
            Handle::Own(_) => libc::F_OFD_SETLK,
            Handle::Shared(_) => libc::F_SETLK,
        };
        let mut request = record(kind, start, end)?;
        match fcntl(self.fd(), command, &mut request) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether anybody else holds a lock in `start..end` (bytes) that excludes writing.
pub(crate) fn is_held(fd: BorrowedFd<'_>, start: u64, end: u64) -> Result<bool, Errno> {
    let mut request = record(libc::F_WRLCK, start, end)?;
    fcntl(fd, libc::F_OFD_GETLK, &mut request)?;
    Ok(i32::from(request.l_type) != libc::F_UNLCK)
}

fn record(kind: i32, start: u64, end: u64) -> Result<libc::flock, Errno> {
    let start = i64::try_from(start).map_err(|_| Errno::OVERFLOW)?;
    let end = i64::try_from(end).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: `flock` is a C structure of integers, for which all zeros is a value.
    let mut record: libc::flock = unsafe { std::mem::zeroed() };
    record.l_type = kind as libc::c_short;
    record.l_whence = libc::SEEK_SET as libc::c_short;
    record.l_start = start;
    record.l_len = end.saturating_sub(start);
    Ok(record)
}

fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, request: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: `request` is a valid `struct flock`, which these commands read and write.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(request)) };
    if answer == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
