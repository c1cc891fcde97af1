//! `errno(3)` of the calling thread.
#![allow(unsafe_code, reason = "errno is a place in memory")]

use libc::c_int;

pub(crate) fn get() -> c_int {
    // SAFETY: asks for an address only.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own, valid while it runs.
    unsafe { *place }
}

/// Writes only what is different: in a child of `vfork(2)` the place is the parent's.
pub(crate) fn set(value: c_int) {
    // SAFETY: asks for an address only.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own, valid while it runs.
    if unsafe { *place } != value {
        // SAFETY: as above.
        unsafe { *place = value };
    }
}

/// Fails as functions of the C library do: errno, and -1.
pub(crate) fn fail(value: c_int) -> c_int {
    set(value);
    -1
}
