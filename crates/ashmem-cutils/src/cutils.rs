//! `<cutils/ashmem.h>`: libcutils' interface.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::{CStr, c_char, c_int};

use ashmem::RegionOptions;

use crate::failure::{Failure, call};
use crate::region;

/// Pinned, and everything is as it was.
pub const ASHMEM_NOT_PURGED: c_int = 0;
/// Pinned, and at least one page had been taken away: it reads as zeros.
pub const ASHMEM_WAS_PURGED: c_int = 1;
/// At least one page of the range is unpinned: what ashmem_get_pin_status in <ashmem.h> returns.
pub const ASHMEM_IS_UNPINNED: c_int = 0;
/// Every page of the range is pinned: what ashmem_get_pin_status in <ashmem.h> returns.
pub const ASHMEM_IS_PINNED: c_int = 1;

/// Whether a descriptor names a region.
///
/// 1 for a region, which every memfd of ordinary pages is; 0 for anything else, also when it is no descriptor.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_valid(fd: c_int) -> c_int {
    call(0, || Ok(region::size(fd).is_ok().into()))
}

/// Makes a region of `size` bytes, all zeros and pinned, and returns a descriptor of it that is closed on exec.
///
/// `name` is a label that shows in /proc/PID/maps; at most 249 bytes of it are used, and NULL stands for "none". The region
/// lives until its last descriptor and its last mapping are gone, in whatever processes they are. No memory is used before it is touched.
///
/// The size cannot shrink. Until something is unpinned, who can write can let it grow (ftruncate(2), write(2)), unless it was made by
/// ashmem_create with ASHMEM_PURGEABLE or ASHMEM_NEVER_PURGEABLE.
///
/// Returns -1 and sets errno: EINVAL for a size of 0 or of more than 2^56 bytes; EMFILE, ENFILE; ENOMEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_create_region(name: *const c_char, size: usize) -> c_int {
    call(-1, || {
        // SAFETY: NULL or a string that ends with NUL, as the caller of C's interface promises.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        region::create(&RegionOptions::new(), name, size as u64)
    })
}

/// Takes protection bits away from a region: `prot` is what is left of PROT_READ, PROT_WRITE and PROT_EXEC, for all
/// processes and for good. Mappings made before stay as they are.
///
/// Without PROT_WRITE the kernel refuses every writable mapping, and the region is never purged any more. Taking the other
/// two away is recorded; this library honours it, mmap(2) itself does not.
///
/// Returns 0; or -1 and sets errno: EINVAL when a bit would be added; ENOTTY when it is not a region; EBADF; EACCES for a
/// read-only descriptor; EPERM when only the owner may, or the region cannot be sealed, in which case PROT_READ and PROT_EXEC may
/// be gone; EBUSY when another process has been purging the region for a second, in which case only PROT_WRITE is gone, if it was to go.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_set_prot_region(fd: c_int, prot: c_int) -> c_int {
    call(-1, || region::set_protection(fd, prot).map(|()| 0))
}

/// Pins pages: they stay until they are unpinned. Waits for a purge of them that is under way.
///
/// `offset` and `len` are in bytes, multiples of the page size, but a range may end where the region does; `len` 0 means "to the end
/// of the region". Pins are flags of the pages, not counts, and every descriptor in every process sees the same ones.
///
/// Returns ASHMEM_NOT_PURGED, or ASHMEM_WAS_PURGED if any of the pages was taken away since it was unpinned, which is told
/// once; or -1 and sets errno: EINVAL for a bad range; ENOTTY when it is not a region; EBADF; EACCES for a read-only descriptor
/// of a region that was unpinned before; EMFILE, ENFILE, ENOMEM; ETIMEDOUT when a purge has not ended for 10 seconds, after which
/// pinning again is safe.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_pin_region(fd: c_int, offset: usize, len: usize) -> c_int {
    region::pin(fd, offset as u64, len as u64)
}

/// Unpins pages: they may be taken away when memory runs short, those that were unpinned longest ago first.
///
/// The range is as for ashmem_pin_region. Nothing is freed by this alone. The first call starts a thread that watches memory.
///
/// A region's first call appends the pins to its file. fstat(2), lseek(2), read(2) and mmap(2) then find more bytes than the region
/// has, which are not to be written: ask ashmem_get_size_region for its end.
///
/// Returns 0; or -1 and sets errno: as ashmem_pin_region; EACCES for a read-only descriptor; EBUSY when another process has kept the
/// region from getting its pins for a second; EPERM when the region cannot be unpinned, as it is sealed against growing, or
/// belongs to another user and was never unpinned by them. A region that lost PROT_WRITE keeps its pages whatever is returned.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_unpin_region(fd: c_int, offset: usize, len: usize) -> c_int {
    region::unpin(fd, offset as u64, len as u64)
}

/// The size of a region in bytes, as it was made, whatever the size of its file: see ashmem_unpin_region.
///
/// Returns -1 and sets errno: ENOTTY when it is not a region; EBADF; EOVERFLOW when it has 2 GiB or more, which
/// `ashmem_get_size` and `ASharedMemory_getSize` can say.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_get_size_region(fd: c_int) -> c_int {
    call(-1, || c_int::try_from(region::size(fd)?).map_err(|_| Failure(libc::EOVERFLOW)))
}
