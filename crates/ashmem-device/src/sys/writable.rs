//! A mapping that keeps write access to a file that nobody gets it to any more.

#![allow(unsafe_code, reason = "a mapping of whole pages, which is only ever overwritten with zeros")]

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// So much is mapped in all, at most: whoever wants more would take the address space from all others.
const MAPPED_MAX: u64 = 64 << 30;
/// So many mappings.
const COUNT_MAX: u64 = 4096;

static MAPPED: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// All of a file's pages, writable, for overwriting them. Its file is sealed against shrinking.
#[derive(Debug)]
pub(crate) struct Writable {
    start: *mut u8,
    length: usize,
    _share: Share,
}

// SAFETY: nothing but writing zeros is done with the memory, which is no thread's own; clients write to it anyway.
unsafe impl Send for Writable {}

impl Writable {
    /// Maps `length` bytes, in whole pages.
    ///
    /// # Errors
    /// Those of `mmap(2)`; ENOMEM when too much is mapped already.
    pub(crate) fn new(fd: BorrowedFd<'_>, length: u64) -> Result<Writable, Errno> {
        let length = length.checked_next_multiple_of(ashmem::page_size()).ok_or(Errno::NOMEM)?;
        let share = Share::take(length)?;
        let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a new mapping, wherever the kernel has room.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) }?;
        Ok(Writable { start: start.cast(), length, _share: share })
    }

    /// Writes zeros to a range of bytes, as far as it is mapped.
    pub(crate) fn clear(&self, range: Range<u64>) {
        let clip = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(self.length);
        let (start, end) = (clip(range.start), clip(range.end));
        if start >= end {
            return;
        }
        // SAFETY: inside of the mapping.
        let place = unsafe { self.start.add(start) };
        // SAFETY: mapped and writable; the file cannot shrink. That others read and write there makes no difference to zeros.
        unsafe { place.write_bytes(0, end - start) };
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        // SAFETY: this is the mapping, and nothing refers to it.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}

/// What a mapping takes of what all may.
#[derive(Debug)]
struct Share(u64);

impl Share {
    fn take(length: u64) -> Result<Share, Errno> {
        let mapped = MAPPED.fetch_add(length.min(2 * MAPPED_MAX), Ordering::Relaxed);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let share = Share(length.min(2 * MAPPED_MAX));
        let fits = mapped.saturating_add(length) <= MAPPED_MAX && count < COUNT_MAX;
        // It is given back where it does not.
        if fits { Ok(share) } else { Err(Errno::NOMEM) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.0, Ordering::Relaxed);
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn nobody_takes_all_of_the_address_space() {
        let memfd = rustix::fs::memfd_create("huge", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&memfd, i64::MAX as u64).expect("a size");
        assert_eq!(Writable::new(memfd.as_fd(), MAPPED_MAX + 1).err(), Some(Errno::NOMEM));
        assert_eq!(Writable::new(memfd.as_fd(), i64::MAX as u64).err(), Some(Errno::NOMEM));
        for _ in 0..3 {
            Writable::new(memfd.as_fd(), MAPPED_MAX / 2).expect("given back each time");
        }
    }

    #[test]
    fn clears_whole_pages_and_no_more() {
        let page = ashmem::page_size();
        let memfd = rustix::fs::memfd_create("sealed", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&memfd, 2 * page + 5).expect("a size");
        let filled = vec![7_u8; (2 * page + 5) as usize];
        rustix::io::pwrite(&memfd, &filled, 0).expect("contents");
        let writable = Writable::new(memfd.as_fd(), 2 * page + 5).expect("a mapping");
        writable.clear(page..2 * page);
        writable.clear(2 * page + 1..u64::MAX);
        writable.clear(u64::MAX..u64::MAX);
        let mut read = filled.clone();
        rustix::io::pread(&memfd, &mut read[..], 0).expect("contents");
        let page = page as usize;
        assert!(read[..page].iter().all(|&byte| byte == 7));
        assert!(read[page..2 * page].iter().all(|&byte| byte == 0));
        assert_eq!(read[2 * page..], [7, 0, 0, 0, 0]);
    }
}
