//! Whether the library sees descriptors being closed.
//!
//! `libashmem_close.so`, when a program is linked with it, tells of every call that closes descriptors, before and after it
//! (`ashmem_close_watch`). Only its presence is asked for here: nothing of it is needed.
#![allow(unsafe_code, reason = "dlsym and pthread_atfork")]

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rustix::process::{Pid, getpid};

use crate::{failure, sync};

/// What `ashmem_close_watch` calls with the first and the last descriptor that is closed.
type Listener = extern "C" fn(c_uint, c_uint);
/// Returns 1 if the listener will be called from now on, at every close.
type Watch = unsafe extern "C" fn(Listener) -> c_int;

const UNKNOWN: u8 = 0;
const SEEN: u8 = 1;
const UNSEEN: u8 = 2;

static CLOSING: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The process that the table belongs to. A child of `vfork(2)` has its parent's memory and descriptors of its own, so what it
/// closes is none of the table's.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Whether closing is known to be seen: then an entry is right as long as it is there.
#[inline]
pub(super) fn is_seen() -> bool {
    CLOSING.load(Ordering::Relaxed) == SEEN
}

/// Whether closing is known not to be seen.
#[inline]
pub(super) fn is_unseen() -> bool {
    CLOSING.load(Ordering::Relaxed) == UNSEEN
}

/// Whether closing is seen. Finds out the first time, and from then on calls [`super::entries::forget`].
pub(super) fn find_out() -> bool {
    if CLOSING.load(Ordering::Acquire) == UNKNOWN {
        // SAFETY: the handler is a function of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        OWNER.store(number(getpid()), Ordering::Relaxed);
        let seen = watch().is_some_and(|watch| {
            // SAFETY: the symbol of that name is this function, by its documentation.
            unsafe { watch(on_close) == 1 }
        });
        sync::register();
        // Several threads may come here at once: they find the same.
        CLOSING.store(if seen { SEEN } else { UNSEEN }, Ordering::Release);
    }
    is_seen()
}

fn watch() -> Option<Watch> {
    // SAFETY: the name ends with NUL.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ashmem_close_watch".as_ptr()) };
    // SAFETY: null is None; anything else is the function of that name, which has this type.
    unsafe { std::mem::transmute::<*mut libc::c_void, Option<Watch>>(symbol) }
}

extern "C" fn on_close(first: c_uint, last: c_uint) {
    failure::call((), || {
        super::entries::forget(first..=last);
        Ok(())
    });
}

extern "C" fn in_child() {
    OWNER.store(number(getpid()), Ordering::Relaxed);
    failure::call((), || {
        super::entries::start_anew();
        Ok(())
    });
}

/// Whether the calling process is the one whose descriptors the table is about.
pub(super) fn is_owner() -> bool {
    OWNER.load(Ordering::Relaxed) == number(getpid())
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
