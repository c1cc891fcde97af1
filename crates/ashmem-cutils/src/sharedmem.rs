//! `<android/sharedmem.h>`: the NDK's interface.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::{CStr, c_char, c_int};

use ashmem::RegionOptions;

use crate::failure::call;
use crate::region;

/// Makes a region of `size` bytes, all zeros and pinned, and returns a descriptor of it that is closed on exec.
///
/// `name` is a label that shows in /proc/PID/maps, or NULL.
///
/// Returns -EINVAL when `size` is 0, else -1 and sets errno: as ashmem_create_region.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ASharedMemory_create(name: *const c_char, size: usize) -> c_int {
    if size == 0 {
        return -libc::EINVAL;
    }
    call(-1, || {
        // SAFETY: NULL or a string that ends with NUL, as the caller of C's interface promises.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        region::create(&RegionOptions::new(), name, size as u64)
    })
}

/// The size of a region in bytes, as it was made; 0 when it is not a region.
#[unsafe(no_mangle)]
pub extern "C" fn ASharedMemory_getSize(fd: c_int) -> usize {
    call(0, || Ok(region::size(fd).unwrap_or(0) as usize))
}

/// Takes protection bits away from a region: `prot` is what is left of PROT_READ, PROT_WRITE and PROT_EXEC, for all
/// processes and for good. Mappings made before stay as they are.
///
/// Returns 0; or -1 and sets errno: EINVAL when a bit would be added; else as ashmem_set_prot_region.
#[unsafe(no_mangle)]
pub extern "C" fn ASharedMemory_setProt(fd: c_int, prot: c_int) -> c_int {
    call(-1, || region::set_protection(fd, prot).map(|()| 0))
}
