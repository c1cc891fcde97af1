//! The reclaimer of this process: its policy, what it did, and by hand.
#![allow(unsafe_code, reason = "functions that C calls")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is C's")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ashmem::{Freed, Policy, PurgeEvent, Reclaimer};

use crate::callback::Callback;
use crate::failure::{Failure, call};
use crate::region;

/// In a field of struct ashmem_policy: the library's own choice.
pub const ASHMEM_DEFAULT: u64 = u64::MAX;

/// When unpinned pages are taken away, and how many: see ashmem_set_policy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_policy {
    /// Bytes of unpinned data that may be in memory. ASHMEM_DEFAULT: no limit but the system's.
    pub budget: u64,
    /// Bytes that are to stay available below each limit of the system and of memory cgroups. ASHMEM_DEFAULT: an eighth of the
    /// limit, within bounds. Never more than half of the limit.
    pub reserve: u64,
    /// Bytes that are taken away at least when processes stall for memory. ASHMEM_DEFAULT: 16 MiB.
    pub stall_bytes: u64,
    /// Milliseconds from one such time to the next, at least. ASHMEM_DEFAULT: 500.
    pub stall_pause: u64,
}

/// What was taken away.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_freed {
    /// Pages, whether they were in memory or not.
    pub pages: u64,
    /// Bytes of memory that became free.
    pub bytes: u64,
}

/// What the reclaimer of this process did so far.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_metrics {
    /// Times that it looked at the regions and at the memory that is left.
    pub looks: u64,
    /// Looks that found too little memory left below a limit.
    pub shortages: u64,
    /// Looks that found processes stalled for memory.
    pub stalls: u64,
    /// Looks that found more unpinned memory than the budget.
    pub over_budget: u64,
    /// Runs of pages that it took away.
    pub purges: u64,
    /// Pages that it took away, in memory or not.
    pub purged_pages: u64,
    /// Bytes of memory that this freed.
    pub freed_bytes: u64,
    /// Purges that failed.
    pub failures: u64,
}

/// Pages that were taken away, one behind the other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_purge_event {
    /// Which region: what ashmem_get_file_id says.
    pub file_id: u64,
    /// A descriptor of it, for the time of the callback.
    pub fd: c_int,
    /// Where the pages are, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// Bytes of memory that this freed.
    pub freed: u64,
}

/// Called after pages were taken away, with the `data` that it was registered with.
#[allow(non_camel_case_types, reason = "a name of C's")]
pub type ashmem_purge_callback = Option<extern "C" fn(event: *const ashmem_purge_event, data: *mut c_void)>;

/// A callback that is registered: see ashmem_on_purge.
#[allow(non_camel_case_types, reason = "a name of C's")]
pub struct ashmem_purge_listener(Callback);

/// Sets the policy of this process's reclaimer; NULL sets the default.
///
/// Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_set_policy(policy: *const ashmem_policy) -> c_int {
    call(-1, || {
        // SAFETY: NULL or a policy, as the caller promises.
        let wanted = unsafe { policy.as_ref() };
        Reclaimer::global().set_policy(wanted.map_or_else(Policy::new, as_policy));
        Ok(0)
    })
}

fn as_policy(wanted: &ashmem_policy) -> Policy {
    let mut policy = Policy::new();
    if wanted.budget != ASHMEM_DEFAULT {
        policy = policy.budget(wanted.budget);
    }
    if wanted.reserve != ASHMEM_DEFAULT {
        policy = policy.reserve(wanted.reserve);
    }
    let or = |field, default| if field == ASHMEM_DEFAULT { default } else { field };
    policy.on_stall(or(wanted.stall_bytes, 16 << 20), Duration::from_millis(or(wanted.stall_pause, 500)))
}

/// Takes unpinned pages of this process's regions away now, those that were unpinned longest ago first, until `bytes` of memory are free
/// or nothing is left, and writes what went to `*freed`, which may be NULL. UINT64_MAX takes everything.
///
/// A process's regions are those that it unpinned and has not closed. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_reclaim(bytes: u64, freed: *mut ashmem_freed) -> c_int {
    call(-1, || {
        let Freed { pages, bytes, .. } = Reclaimer::global().reclaim(bytes);
        if !freed.is_null() {
            // SAFETY: a place for the answer, as the caller promises.
            unsafe { freed.write(ashmem_freed { pages, bytes }) };
        }
        Ok(0)
    })
}

/// Writes what this process's reclaimer did so far to `*metrics`.
///
/// Returns 0; or -1 and sets errno: EINVAL when `metrics` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_get_metrics(metrics: *mut ashmem_metrics) -> c_int {
    call(-1, || {
        let read = || {
            let so_far = Reclaimer::global().metrics();
            Ok(ashmem_metrics {
                looks: so_far.looks,
                shortages: so_far.shortages,
                stalls: so_far.stalls,
                over_budget: so_far.over_budget,
                purges: so_far.purges,
                purged_pages: so_far.purged_pages,
                freed_bytes: so_far.freed_bytes,
                failures: so_far.failures,
            })
        };
        // SAFETY: NULL or a place for the answer, as the caller promises.
        unsafe { region::answer(metrics, read) }
    })
}

/// Calls `callback` after each purge by this process's reclaimer, in the thread that purged, until it is removed.
///
/// It may use all of this interface, and should be quick: memory is short. It may not throw, nor be left by longjmp(3). Returns what ashmem_remove_listener takes; or NULL and sets
/// errno: EINVAL when `callback` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn ashmem_on_purge(
    callback: ashmem_purge_callback,
    data: *mut c_void,
) -> *mut ashmem_purge_listener {
    call(std::ptr::null_mut(), || {
        let function = callback.ok_or(Failure(libc::EINVAL))?;
        // A number is what can be sent to the reclaimer's thread; what it stands for is between the callback and its owner.
        let data = data.expose_provenance();
        let callback = Callback::register(move |event: &PurgeEvent| {
            let Ok(file_id) = event.region.file_id() else { return };
            let event = ashmem_purge_event {
                file_id,
                fd: event.region.as_fd().as_raw_fd(),
                offset: event.range.start,
                len: event.range.end - event.range.start,
                freed: event.freed,
            };
            function(&event, std::ptr::with_exposed_provenance_mut(data));
        });
        Ok(Box::into_raw(Box::new(ashmem_purge_listener(callback))))
    })
}

/// Ends the calls of a callback and frees the listener. NULL is ignored.
///
/// Afterwards the callback is not running and will not be called, unless this is called in it; then it ends with that call. Two
/// callbacks may not remove each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ashmem_remove_listener(listener: *mut ashmem_purge_listener) {
    call((), || {
        if !listener.is_null() {
            // SAFETY: it came from `ashmem_on_purge`, and the caller gives it back.
            unsafe { Box::from_raw(listener) }.0.remove();
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: ashmem_policy = ashmem_policy {
        budget: ASHMEM_DEFAULT,
        reserve: ASHMEM_DEFAULT,
        stall_bytes: ASHMEM_DEFAULT,
        stall_pause: ASHMEM_DEFAULT,
    };

    #[test]
    fn each_field_of_a_policy_arrives() {
        let new = Policy::new;
        let half_second = Duration::from_millis(500);
        for (wanted, policy) in [
            (DEFAULT, new()),
            (ashmem_policy { budget: 0, ..DEFAULT }, new().budget(0)),
            (ashmem_policy { reserve: 7, ..DEFAULT }, new().reserve(7)),
            (ashmem_policy { stall_bytes: 7, ..DEFAULT }, new().on_stall(7, half_second)),
            (ashmem_policy { stall_pause: 7, ..DEFAULT }, new().on_stall(16 << 20, Duration::from_millis(7))),
        ] {
            assert_eq!(as_policy(&wanted), policy);
        }
    }
}
