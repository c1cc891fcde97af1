//! Regions: made, asked about, handed on.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;

use ashmem::Region;

use crate::failure::{Failure, call};
use crate::{descriptor, region};

/// Flag of ashmem_create: pages can be unpinned from the start, also by processes of other users. (Without it the first to unpin
/// has to be the user who made the region.)
pub const ASHMEM_PURGEABLE: c_uint = 1;
/// Flag of ashmem_create: no page can ever be unpinned, and the file can never grow.
pub const ASHMEM_NEVER_PURGEABLE: c_uint = 2;
/// Flag of ashmem_create: all memory is allocated now, so that no later access can run out of it; ENOMEM when the system has not so
/// much left.
pub const ASHMEM_POPULATE: c_uint = 4;
/// Flag of ashmem_create: no seals can be added, so that PROT_WRITE cannot be taken away any more.
pub const ASHMEM_NO_FURTHER_SEALS: c_uint = 8;

/// Makes a region as ashmem_create_region does, with flags (ASHMEM_PURGEABLE, ...).
///
/// Returns a descriptor that is closed on exec; or -1 and sets errno: as ashmem_create_region; EINVAL for unknown flags, or
/// for both ASHMEM_PURGEABLE and ASHMEM_NEVER_PURGEABLE; EPERM for a purgeable region of more than 1 TiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_create(name: *const c_char, size: u64, flags: c_uint) -> c_int {
    call(-1, || {
        let known = ASHMEM_PURGEABLE | ASHMEM_NEVER_PURGEABLE | ASHMEM_POPULATE | ASHMEM_NO_FURTHER_SEALS;
        let has = |flag| flags & flag != 0;
        if flags & !known != 0 || has(ASHMEM_PURGEABLE) && has(ASHMEM_NEVER_PURGEABLE) {
            return Err(Failure(libc::EINVAL));
        }
        let mut options = Region::options();
        if has(ASHMEM_PURGEABLE) {
            options = options.purgeable();
        }
        if has(ASHMEM_NEVER_PURGEABLE) {
            options = options.never_purgeable();
        }
        if has(ASHMEM_POPULATE) {
            options = options.populate();
        }
        if has(ASHMEM_NO_FURTHER_SEALS) {
            options = options.no_further_seals();
        }
        // SAFETY: NULL or a string that ends with NUL, as the caller of C's interface promises.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        region::create(&options, name, size)
    })
}

/// Writes the size of a region, in bytes, to `*size`.
///
/// Returns 0; or -1 and sets errno: ENOTTY when it is not a region; EBADF; EINVAL when `size` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_get_size(fd: c_int, size: *mut u64) -> c_int {
    call(-1, || {
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { region::answer(size, || region::size(fd)) }
    })
}

/// Writes a region's name, cut to `capacity` bytes with the NUL at its end, to `name`.
///
/// Returns the length of the whole name, without the NUL, as snprintf(3) does; `name` may be NULL if `capacity` is 0. Or
/// returns -1 and sets errno: ENOTTY when it is not a region; EBADF; ENOENT without /proc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_get_name(fd: c_int, name: *mut c_char, capacity: usize) -> c_int {
    call(-1, || {
        if name.is_null() && capacity > 0 {
            return Err(Failure(libc::EINVAL));
        }
        let own = descriptor::looking(fd, |region| Ok(region.name()?.as_bytes().to_vec()))?;
        if capacity > 0 {
            let len = own.len().min(capacity - 1);
            // SAFETY: the caller promises `capacity` bytes there; they are nobody else's now.
            unsafe { name.cast::<u8>().copy_from_nonoverlapping(own.as_ptr(), len) };
            // SAFETY: as above, as `len` is less than `capacity`.
            unsafe { name.wrapping_add(len).write(0) };
        }
        // At most NAME_MAX.
        Ok(own.len() as c_int)
    })
}

/// What mappings of a region may do: a mask of PROT_READ, PROT_WRITE and PROT_EXEC.
///
/// Returns -1 and sets errno: ENOTTY when it is not a region; EBADF.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_get_prot(fd: c_int) -> c_int {
    call(-1, || Ok(descriptor::looking(fd, Region::protection)?.bits() as c_int))
}

/// Writes a number to `*id` that all descriptors of one region have in common, and no two living regions.
///
/// It is the inode number that fstat(2) gives. Returns 0; or -1 and sets errno: ENOTTY when it is not a region; EBADF; EINVAL when `id` is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_get_file_id(fd: c_int, id: *mut u64) -> c_int {
    call(-1, || {
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { region::answer(id, || descriptor::looking(fd, Region::file_id)) }
    })
}

/// A new descriptor of the same region that can only read, for a receiver that is not to write, unpin or purge.
///
/// That stops mistakes, and other users. A process of the same user can open the region for writing through /proc; only taking
/// PROT_WRITE away (ashmem_set_prot_region) stops that.
///
/// Returns a descriptor that is closed on exec; or -1 and sets errno: ENOTTY when it is not a region; EBADF; EMFILE, ENFILE;
/// ENOENT without /proc.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_share_read_only(fd: c_int) -> c_int {
    call(-1, || {
        let shared = descriptor::looking(fd, Region::share_read_only)?.into_raw_fd();
        descriptor::is_new(shared);
        Ok(shared)
    })
}
