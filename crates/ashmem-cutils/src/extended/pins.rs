//! Pins, and what can be asked about them.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::c_int;

use ashmem::{PinStatus, Region};

use crate::cutils::{ASHMEM_IS_PINNED, ASHMEM_IS_UNPINNED};
use crate::failure::call;
use crate::{descriptor, region};

/// How many pages of a region are in which state, and what it costs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_stats {
    /// Pages that nobody may take away.
    pub pinned_pages: u64,
    /// Pages that may be taken away.
    pub unpinned_pages: u64,
    /// Pages that were taken away and not pinned since.
    pub purged_pages: u64,
    /// Bytes of data in memory or swap.
    pub resident_bytes: u64,
}

/// ashmem_pin_region with 64-bit numbers on every system.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_pin(fd: c_int, offset: u64, len: u64) -> c_int {
    region::pin(fd, offset, len)
}

/// ashmem_unpin_region with 64-bit numbers on every system.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_unpin(fd: c_int, offset: u64, len: u64) -> c_int {
    region::unpin(fd, offset, len)
}

/// Whether a range is pinned. Unpinned pages that somebody leases, or guards, count as pinned; purged ones do not.
///
/// The range is as for ashmem_pin_region. Returns ASHMEM_IS_PINNED or ASHMEM_IS_UNPINNED; or -1 and sets errno: EINVAL for a bad range;
/// ENOTTY when it is not a region; EBADF.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_get_pin_status(fd: c_int, offset: u64, len: u64) -> c_int {
    call(-1, || {
        let span = region::span(offset, len)?;
        Ok(match descriptor::looking(fd, |region| region.pin_status(span))? {
            PinStatus::Unpinned => ASHMEM_IS_UNPINNED,
            PinStatus::Pinned => ASHMEM_IS_PINNED,
        })
    })
}

/// Takes all unpinned pages of a region away now, except those that somebody leases or guards, and writes how many bytes they
/// have to `*purged`, which may be NULL.
///
/// Returns 0; or -1 and sets errno: EBUSY while another process purges the region; EACCES for a read-only descriptor; EPERM when
/// a region that could be purged lost PROT_WRITE; ENOTTY when it is not a region; EBADF; ENOENT without /proc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_purge(fd: c_int, purged: *mut u64) -> c_int {
    call(-1, || {
        let bytes = descriptor::looking(fd, Region::purge)?;
        if !purged.is_null() {
            // SAFETY: a place for the answer, as the caller promises.
            unsafe { purged.write(bytes) };
        }
        Ok(0)
    })
}

/// Counts pages and resident bytes, and writes that to `*stats`.
///
/// Returns 0; or -1 and sets errno: EINVAL when `stats` is NULL; ENOTTY when it is not a region; EBADF.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_get_stats(fd: c_int, stats: *mut ashmem_stats) -> c_int {
    call(-1, || {
        let count = || {
            let stats = descriptor::looking(fd, Region::stats)?;
            Ok(ashmem_stats {
                pinned_pages: stats.pinned_pages,
                unpinned_pages: stats.unpinned_pages,
                purged_pages: stats.purged_pages,
                resident_bytes: stats.resident_bytes,
            })
        };
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { region::answer(stats, count) }
    })
}
