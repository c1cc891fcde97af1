//! Whether the library sees descriptors being closed.
//!
//! `libashmem_close.so`, when a program is linked with it, tells of every call that closes descriptors, before and after it
//! (`ashmem_close_watch`). Only its presence is asked for here: nothing of it is needed.
#![allow(unsafe_code, reason = "dlsym, pthread_atfork, and a page that forks clear")]

use std::ffi::{c_int, c_uint};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use rustix::process::{Pid, getpid};

use crate::{failure, sync};

/// What `ashmem_close_watch` calls with the first and the last descriptor that is closed.
type Listener = extern "C" fn(c_uint, c_uint);
/// Returns 1 if the listener will be called from now on, at every close.
type Watch = unsafe extern "C" fn(Listener) -> c_int;

const UNKNOWN: u8 = 0;
const SEEN: u8 = 1;
const UNSEEN: u8 = 2;

/// What was found out, for a child of `fork(2)`.
static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);

/// What is known, on a page that the kernel clears in a child of any fork: also of `_Fork(3)`, which runs no handlers, and before other
/// handlers than this library's. (A child of `vfork(2)` has the parent's page.)
static CLOSING: AtomicPtr<AtomicU8> = AtomicPtr::new((&raw const NOTHING).cast_mut());
static NOTHING: AtomicU8 = AtomicU8::new(UNKNOWN);

#[inline(always)]
fn closing() -> &'static AtomicU8 {
    // SAFETY: it points to a byte that stays for good, from the start.
    unsafe { &*CLOSING.load(Ordering::Acquire) }
}

/// The process that the table belongs to. A child of `vfork(2)` has its parent's memory and descriptors of its own, so what it
/// closes is none of the table's.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Whether closing is known to be seen: then an entry is right as long as it is there.
#[inline]
pub(super) fn is_seen() -> bool {
    closing().load(Ordering::Relaxed) == SEEN
}

/// Whether closing is known not to be seen.
#[inline]
pub(super) fn is_unseen() -> bool {
    closing().load(Ordering::Relaxed) == UNSEEN
}

/// Whether closing is seen. Finds out the first time, and from then on calls [`super::entries::forget`].
pub(super) fn find_out() -> bool {
    if closing().load(Ordering::Acquire) == UNKNOWN {
        // SAFETY: the handler is a function of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        OWNER.store(number(getpid()), Ordering::Relaxed);
        let seen = watch().is_some_and(|watch| {
            // SAFETY: the symbol of that name is this function, by its documentation.
            unsafe { watch(on_close) == 1 }
        });
        sync::register();
        // Several threads may come here at once: they find the same.
        let found = if seen { SEEN } else { UNSEEN };
        FOUND.store(found, Ordering::Relaxed);
        page().store(found, Ordering::Release);
    }
    is_seen()
}

/// The page, made by whoever is first. Without one it is an ordinary byte.
fn page() -> &'static AtomicU8 {
    static ORDINARY: AtomicU8 = AtomicU8::new(UNKNOWN);
    let nothing = (&raw const NOTHING).cast_mut();
    if CLOSING.load(Ordering::Acquire) == nothing {
        let made = cleared_in_children().unwrap_or((&raw const ORDINARY).cast_mut());
        // Who comes second leaves a page that nobody uses.
        let _ = CLOSING.compare_exchange(nothing, made, Ordering::AcqRel, Ordering::Relaxed);
    }
    closing()
}

fn cleared_in_children() -> Option<*mut AtomicU8> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, wherever there is room.
    let page = unsafe { libc::mmap(ptr::null_mut(), 1, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page that was just mapped. Fails before Linux 4.14.
    let is_cleared = unsafe { libc::madvise(page, 1, libc::MADV_WIPEONFORK) } == 0;
    is_cleared.then_some(page.cast())
}

fn watch() -> Option<Watch> {
    // SAFETY: the name ends with NUL.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ashmem_close_watch".as_ptr()) };
    if symbol.is_null() {
        // What went wrong is nothing to the program.
        // SAFETY: has no conditions.
        unsafe { libc::dlerror() };
    }
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
    page().store(FOUND.load(Ordering::Relaxed), Ordering::Release);
}

/// Whether the calling process is the one whose descriptors the table is about: or a child with a copy of it that no handler
/// has run in yet.
pub(super) fn is_owner() -> bool {
    OWNER.load(Ordering::Relaxed) == number(getpid()) || closing().load(Ordering::Relaxed) == UNKNOWN
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
