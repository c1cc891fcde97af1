//! A mapping that keeps write access to a file that nobody gets it to any more.

#![allow(unsafe_code, reason = "a mapping of whole pages, which is only ever overwritten with zeros")]

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// All of a file's pages, writable, for overwriting them. Its file is sealed against shrinking.
#[derive(Debug)]
pub(crate) struct Writable {
    start: *mut u8,
    length: usize,
}

// SAFETY: nothing but writing zeros is done with the memory, which is no thread's own; clients write to it anyway.
unsafe impl Send for Writable {}

impl Writable {
    /// Maps `length` bytes, in whole pages.
    ///
    /// # Errors
    /// Those of `mmap(2)`: ENOMEM for what is larger than the address space.
    pub(crate) fn new(fd: BorrowedFd<'_>, length: u64) -> Result<Writable, Errno> {
        let length = length.checked_next_multiple_of(ashmem::page_size()).ok_or(Errno::NOMEM)?;
        let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a new mapping, wherever the kernel has room.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) }?;
        Ok(Writable { start: start.cast(), length })
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

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
