//! `mmap(2)` with an owner.
#![allow(unsafe_code, reason = "maps and unmaps memory")]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use crate::page::page_size;

/// Where a mapping starts that can have huge pages: their size on most machines. On others it has none.
const HUGE: usize = 2 << 20;

/// `MADV_COLLAPSE` of `madvise(2)`, the same on all machines.
const COLLAPSE: i32 = 25;

/// A mapping of `len` bytes, unmapped on drop. Knows nothing of regions.
#[derive(Debug)]
pub(crate) struct RawMap {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range of the process, usable and unmappable from any thread.
unsafe impl Send for RawMap {}
// SAFETY: `RawMap` itself gives out only a pointer; who dereferences it answers for races.
unsafe impl Sync for RawMap {}

impl RawMap {
    /// Maps `len` bytes of `fd` from `offset` on; both must suit `mmap(2)`.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        prot: ProtFlags,
        flags: MapFlags,
    ) -> rustix::io::Result<RawMap> {
        // SAFETY: a null hint without MAP_FIXED never replaces an existing mapping.
        let start = unsafe { mmap(ptr::null_mut(), len, prot, flags, fd, offset) }?;
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(RawMap { start, len })
    }

    /// [`RawMap::new`] at an address where huge pages fit, if it is long enough for one.
    pub(crate) fn aligned(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        prot: ProtFlags,
        flags: MapFlags,
    ) -> rustix::io::Result<RawMap> {
        let Some(reserved) = len.checked_add(HUGE).filter(|_| len >= HUGE) else {
            return RawMap::new(fd, offset, len, prot, flags);
        };
        // SAFETY: a null hint without MAP_FIXED never replaces an existing mapping.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let mut room = RawMap { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, len: reserved };
        let before = room.start().align_offset(HUGE);
        // Drops what is before, and then what is behind.
        drop(room.split_off_front(before));
        // SAFETY: replaces the start of the room, which nothing else uses.
        unsafe { mmap(room.start().cast(), len, prot, flags | MapFlags::FIXED, fd, offset) }?;
        let mapped = room.split_off_front(len.next_multiple_of(page_size() as usize));
        Ok(RawMap { start: ManuallyDrop::new(mapped).start, len })
    }

    /// The first `len` bytes, whole pages, as a mapping of its own; the rest stays.
    fn split_off_front(&mut self, len: usize) -> RawMap {
        let front = RawMap { start: self.start, len };
        // SAFETY: inside of the mapping, or at its end.
        self.start = unsafe { self.start.add(len) };
        self.len -= len;
        front
    }

    /// Memory that somebody else mapped and unmaps: dropping the result does nothing.
    pub(crate) fn foreign(start: NonNull<u8>, len: usize) -> ManuallyDrop<RawMap> {
        ManuallyDrop::new(RawMap { start, len })
    }

    /// Moves the memory into huge pages now, as far as it fits. What is in it stays.
    pub(crate) fn collapse(&self) -> rustix::io::Result<()> {
        // SAFETY: the mapping is there, and the advice changes no byte.
        let answer = unsafe { libc::madvise(self.start().cast(), self.len, COLLAPSE) };
        if answer == 0 {
            Ok(())
        } else {
            Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
        }
    }

    /// Takes the pages of a shared mapping out of the page tables; the next access finds them again in the file.
    pub(crate) fn forget(&self) {
        // SAFETY: the mapping is there, and shared with its file, which keeps the contents.
        let answer = unsafe { libc::madvise(self.start().cast(), self.len, libc::MADV_DONTNEED) };
        // Refused for memory that is locked: then it stays.
        let _ = answer;
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Mapped bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The same memory from `offset` on, `len` bytes of it, without owning it: dropping the result unmaps nothing.
    ///
    /// # Safety
    /// The part must be inside, and must not be used when `self` is gone.
    #[inline]
    pub(crate) unsafe fn part(&self, offset: usize, len: usize) -> ManuallyDrop<RawMap> {
        // SAFETY: inside of the mapping, says the caller.
        let start = unsafe { self.start.add(offset) };
        ManuallyDrop::new(RawMap { start, len })
    }

    /// The mapping as atomic words, which is sound whoever else writes to the memory.
    ///
    /// # Safety
    /// The mapping must be shared and writable, and the file must be sealed against shrinking.
    #[inline]
    pub(crate) unsafe fn words(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned, `len` bytes long and valid for as long as `self`; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.start().cast(), self.len / size_of::<AtomicU64>()) }
    }
}

impl Drop for RawMap {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: the range was mapped by `new` or `aligned`, and nothing that borrows `self` is left.
        let unmapped = unsafe { munmap(self.start().cast(), self.len) };
        // Fails only when the kernel would have to split a mapping and may not have more of them: then it stays.
        let _ = unmapped;
    }
}
