//! Leases and pin guards: pages that stay for as long as somebody says so.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::c_int;

use ashmem::{Contents, OwnedLease, OwnedPinGuard};

use crate::descriptor::{self, PinState};
use crate::failure::{Failure, Result, call};
use crate::region::{self, Span};

/// Pages that no purge takes away, in any process, until it ends: see ashmem_lease_take.
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_lease(#[allow(dead_code, reason = "held for its drop")] OwnedLease);

/// Pages that are pinned until it ends: see ashmem_pin_guard_take.
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_pin_guard(#[allow(dead_code, reason = "held for its drop")] OwnedPinGuard);

/// Takes a lease on a range and writes it to `*lease`; says whether the contents are there.
///
/// A lease changes no flag that others could change back. It is counted, it ends with its process, and it works through a read-only
/// descriptor. If the contents are there, they are until it ends. A child of fork(2) takes its own. Closing the descriptor does not end
/// it. The range is as for ashmem_pin_region.
///
/// Returns ASHMEM_NOT_PURGED or ASHMEM_WAS_PURGED, with a lease to be ended in both cases; or -1 and sets errno: EINVAL for a bad range, or
/// when `lease` is NULL; ENOTTY when it is not a region; EBADF; ETIMEDOUT as ashmem_pin_region; ENOENT without /proc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_lease_take(
    fd: c_int,
    offset: u64,
    len: u64,
    lease: *mut *mut ashmem_lease,
) -> c_int {
    call(-1, || {
        let take = |region: &ashmem::Region, span: Span| {
            let lease = region.lease_owned(span)?;
            Ok((lease.contents(), ashmem_lease(lease)))
        };
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { hand_out(fd, PinState::Used, (offset, len), lease, take) }
    })
}

/// Ends a lease and frees it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_lease_end(lease: *mut ashmem_lease) {
    call((), || {
        if !lease.is_null() {
            // SAFETY: it came from `hand_out`, and the caller gives it back.
            drop(unsafe { Box::from_raw(lease) });
        }
        Ok(())
    });
}

/// Pins a range until the guard ends, and writes the guard to `*guard`; says whether the contents are there.
///
/// Guards are counted: they may overlap, in one process and in several, and end with their process. The pages may go when the last
/// one has ended. A child of fork(2) takes its own. Closing the descriptor does not end it. The range is as for ashmem_pin_region.
///
/// Returns ASHMEM_NOT_PURGED, or ASHMEM_WAS_PURGED, told once, with a guard to be ended in both cases; or -1 and sets errno: as
/// ashmem_lease_take and ashmem_unpin_region.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_pin_guard_take(
    fd: c_int,
    offset: u64,
    len: u64,
    guard: *mut *mut ashmem_pin_guard,
) -> c_int {
    call(-1, || {
        let take = |region: &ashmem::Region, span: Span| {
            let guard = region.pin_guard_owned(span)?;
            Ok((guard.contents(), ashmem_pin_guard(guard)))
        };
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { hand_out(fd, PinState::Made, (offset, len), guard, take) }
    })
}

/// Ends a guard and frees it: its pages may go, unless another one holds them. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_pin_guard_end(guard: *mut ashmem_pin_guard) {
    call((), || {
        if !guard.is_null() {
            // SAFETY: it came from `hand_out`, and the caller gives it back.
            drop(unsafe { Box::from_raw(guard) });
        }
        Ok(())
    });
}

/// Makes an object of a range and hands it to C.
///
/// # Safety
/// `place` is NULL, or valid for a write.
unsafe fn hand_out<T>(
    fd: c_int,
    pin_state: PinState,
    (offset, len): (u64, u64),
    place: *mut *mut T,
    take: impl FnOnce(&ashmem::Region, Span) -> ashmem::Result<(Contents, T)>,
) -> Result<c_int> {
    if place.is_null() {
        return Err(Failure(libc::EINVAL));
    }
    let span = region::span(offset, len)?;
    let (contents, object) = descriptor::pinning(fd, pin_state, |region| take(region, span))?;
    // SAFETY: not NULL, so valid by the caller's promise.
    unsafe { place.write(Box::into_raw(Box::new(object))) };
    Ok(contents.is_purged().into())
}
