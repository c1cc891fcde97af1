//! Locks on byte ranges of a region, counted and cleaned up by the kernel (`fcntl(2)`, open file description locks).
//!
//! Such a lock belongs to the open file description. Fork and SCM_RIGHTS share descriptions, so who locks does it through one that
//! was opened for that, and that a forked child closes. Where none can be opened, a lock of the process has to do ([`Handle::Shared`]).
#![allow(unsafe_code, reason = "rustix has no record locks on ranges")]

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
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

    /// Locks or unlocks `start..end` (bytes) without waiting; false when somebody else is in the way.
    pub(crate) fn try_set(&self, kind: Kind, start: u64, end: u64) -> Result<bool, Errno> {
        match self {
            Handle::Own(fd) => try_set(fd.as_fd(), kind, start, end),
            Handle::Shared(fd) => set(*fd, libc::F_SETLK, kind, start, end),
        }
    }
}

/// Locks or unlocks `start..end` (bytes) without waiting, for the open file description; false when somebody else is in the way.
pub(crate) fn try_set(fd: BorrowedFd<'_>, kind: Kind, start: u64, end: u64) -> Result<bool, Errno> {
    set(fd, libc::F_OFD_SETLK, kind, start, end)
}

fn set(fd: BorrowedFd<'_>, command: libc::c_int, kind: Kind, start: u64, end: u64) -> Result<bool, Errno> {
    let mut request = record(kind, start, end)?;
    match fcntl(fd, command, &mut request) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A range in `start..end` (bytes) that somebody else has locked so that a lock of this kind is not to be had; any one of them.
pub(crate) fn held_by_others(
    fd: BorrowedFd<'_>,
    kind: Kind,
    start: u64,
    end: u64,
) -> Result<Option<Range<u64>>, Errno> {
    let mut request = record(kind, start, end)?;
    fcntl(fd, libc::F_OFD_GETLK, &mut request)?;
    if i32::from(request.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let from = u64::try_from(request.l_start).unwrap_or(0);
    let to = match u64::try_from(request.l_len) {
        // To the end of all files.
        Ok(0) | Err(_) => u64::MAX,
        Ok(length) => from.saturating_add(length),
    };
    Ok(Some(from.max(start)..to.min(end)))
}

/// Whether somebody else has locked a part of `start..end` (bytes) so that a lock of this kind is not to be had.
pub(crate) fn is_held(fd: BorrowedFd<'_>, kind: Kind, start: u64, end: u64) -> Result<bool, Errno> {
    Ok(held_by_others(fd, kind, start, end)?.is_some())
}

fn record(kind: Kind, start: u64, end: u64) -> Result<libc::flock, Errno> {
    let kind = match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
        Kind::Unlock => libc::F_UNLCK,
    };
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
