//! What the headers' functions have in common, in Rust's terms.
#![allow(unsafe_code, reason = "answers that are written to where C wants them")]

use std::ffi::{CStr, OsStr, c_int};
use std::ops::Bound;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;

use ashmem::{Error, NAME_MAX, Protection, Region, RegionOptions};
use rustix::io::Errno;

use crate::descriptor::{self, PinState};
use crate::failure::{Failure, Result, call};
use crate::sys;

/// The label of regions that get none.
const NO_NAME: &[u8] = b"none";

/// A range as the driver writes it, in bytes: a length of 0 means "to the end".
pub(crate) type Span = (Bound<u64>, Bound<u64>);

#[inline]
pub(crate) fn span(offset: u64, len: u64) -> Result<Span> {
    let start = if offset == 0 { Bound::Unbounded } else { Bound::Included(offset) };
    let end = match len {
        0 => Bound::Unbounded,
        len => Bound::Excluded(offset.checked_add(len).ok_or(Failure(libc::EINVAL))?),
    };
    Ok((start, end))
}

pub(crate) fn create(options: &RegionOptions, name: Option<&CStr>, size: u64) -> Result<c_int> {
    descriptor::make_room();
    let name = name.map_or(NO_NAME, CStr::to_bytes);
    let name = &name[..name.len().min(NAME_MAX)];
    let region = options.create(OsStr::from_bytes(name), size)?;
    let fd = region.into_fd()?.into_raw_fd();
    descriptor::is_new(fd);
    Ok(fd)
}

/// Pins a range: the answer of C's function.
#[inline]
pub(crate) fn pin(fd: c_int, offset: u64, len: u64) -> c_int {
    if offset | len == 0 {
        if let Some(answer) = descriptor::at_once(fd, |region| region.pin_at_once().then_some(0)) {
            return answer;
        }
    }
    pin_part(fd, offset, len)
}

// Apart, so that the whole region takes few instructions.
#[inline(never)]
fn pin_part(fd: c_int, offset: u64, len: u64) -> c_int {
    let Ok(span) = span(offset, len) else { return pin_slowly(fd, offset, len, false) };
    match descriptor::at_once(fd, |region| Some(region.pin_part_at_once(span))) {
        Some(Ok(contents)) => contents.is_purged().into(),
        Some(Err(purged)) => pin_slowly(fd, offset, len, purged),
        None => pin_slowly(fd, offset, len, false),
    }
}

/// `purged`: whether a page had been purged that was pinned in the attempt before this.
#[cold]
fn pin_slowly(fd: c_int, offset: u64, len: u64, purged: bool) -> c_int {
    call(-1, || {
        let span = span(offset, len)?;
        let contents = descriptor::pinning(fd, PinState::Used, |region| region.pin(span))?;
        Ok((purged || contents.is_purged()).into())
    })
}

/// Unpins a range: the answer of C's function.
#[inline]
pub(crate) fn unpin(fd: c_int, offset: u64, len: u64) -> c_int {
    if offset | len == 0 {
        if let Some(answer) = descriptor::at_once(fd, |region| region.unpin_at_once().then_some(0)) {
            return answer;
        }
    }
    unpin_part(fd, offset, len)
}

// Apart, so that the whole region takes few instructions.
#[inline(never)]
fn unpin_part(fd: c_int, offset: u64, len: u64) -> c_int {
    if let Ok(span) = span(offset, len) {
        if let Some(answer) = descriptor::at_once(fd, |region| region.unpin_part_at_once(span).then_some(0)) {
            return answer;
        }
    }
    unpin_slowly(fd, offset, len)
}

#[cold]
fn unpin_slowly(fd: c_int, offset: u64, len: u64) -> c_int {
    call(-1, || {
        let span = span(offset, len)?;
        descriptor::pinning(fd, PinState::Made, |region| region.unpin(span))?;
        Ok(0)
    })
}

/// The size in bytes of the region behind a descriptor; 0 for an empty memfd.
pub(crate) fn size(fd: c_int) -> Result<u64> {
    sys::with(fd, |fd| match Region::probe(fd) {
        Err(Error::InvalidSize { size: 0, .. }) => Ok(0),
        answer => Ok(answer?),
    })
}

pub(crate) fn set_protection(fd: c_int, bits: c_int) -> Result<()> {
    let mask = u32::try_from(bits).ok().and_then(Protection::from_bits).ok_or(Errno::INVAL)?;
    descriptor::looking(fd, |region| region.set_protection(mask))
}

/// Writes an answer to where C wants it, and returns 0. Without such a place nothing is asked.
///
/// # Safety
/// `place` is NULL, or valid for a write.
pub(crate) unsafe fn answer<T>(place: *mut T, ask: impl FnOnce() -> Result<T>) -> Result<c_int> {
    if place.is_null() {
        return Err(Failure(libc::EINVAL));
    }
    let answer = ask()?;
    // SAFETY: not NULL, so valid by the caller's promise.
    unsafe { place.write(answer) };
    Ok(0)
}
