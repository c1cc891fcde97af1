//! `mmap(2)` with an owner.
#![allow(unsafe_code, reason = "maps and unmaps memory")]

use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(RawMap { start, len })
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
        // SAFETY: the range was mapped by `new` and nothing that borrows `self` is left.
        let unmapped = unsafe { munmap(self.start().cast(), self.len) };
        // Fails only when the kernel would have to split a mapping and may not have more of them: then it stays.
        let _ = unmapped;
    }
}
