//! What the library exports. Each function but the first does what the manual page says, with announcements.
#![allow(unsafe_code, reason = "defines functions of the C library, some of which take pointers")]

use libc::{FILE, c_char, c_int, c_uint};

use crate::errno;
use crate::listeners::{Descriptors, LISTENERS, Listener};
use crate::next;
use crate::probe::{self, Function};

/// Calls `listener` with each range of descriptors that the process closes from now on, before and after.
///
/// Answers 1, or 0 if calls of the program do not get here, as when this library was loaded by `dlopen(3)`, or if there are eight
/// other listeners. Asked with no listener, it only says whether they get here. The same listener counts once. It stays for
/// good, so it may not be in a library that can be unloaded. May not be called in a signal handler. errno stays as it is.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn ashmem_close_watch(listener: Option<Listener>) -> c_int {
    let watched = probe::effective() && listener.is_none_or(|listener| LISTENERS.add(listener));
    c_int::from(watched)
}

/// `close(2)`
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C-unwind" fn close(fd: c_int) -> c_int {
    if probe::arrived(Function::Close, fd) {
        return errno::fail(libc::EBADF);
    }
    announced(Descriptors::one(fd), || next::close(fd))
}

/// `dup2(2)`
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C-unwind" fn dup2(old: c_int, new: c_int) -> c_int {
    if probe::arrived(Function::Dup2, new) {
        return errno::fail(libc::EBADF);
    }
    announced(replaced(old, new), || next::dup2(old, new))
}

/// `dup3(2)`
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C-unwind" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if probe::arrived(Function::Dup3, new) {
        return errno::fail(libc::EINVAL);
    }
    announced(replaced(old, new), || next::dup3(old, new, flags))
}

/// `close_range(2)`
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if probe::arrived(Function::CloseRange, first as c_int) {
        return 0;
    }
    let closes = flags as c_uint & libc::CLOSE_RANGE_CLOEXEC == 0;
    let descriptors = if closes { Descriptors::range(first, last) } else { None };
    announced(descriptors, || next::close_range(first, last, flags))
}

/// `closefrom(3)`
#[cfg(target_env = "gnu")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C-unwind" fn closefrom(lowest: c_int) {
    if probe::arrived_from(lowest) {
        return;
    }
    let descriptors = Descriptors::range(lowest.max(0) as c_uint, c_uint::MAX);
    announced(descriptors, || next::closefrom(lowest));
}

/// `fclose(3)`
///
/// # Safety
///
/// As the manual page says.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn fclose(stream: *mut FILE) -> c_int {
    probe::stream_arrived(stream);
    // SAFETY: the caller's promise.
    let descriptors = unsafe { of_stream(stream) };
    announced(descriptors, || {
        // SAFETY: the caller's promise.
        unsafe { next::fclose(stream) }
    })
}

/// `freopen(3)`
///
/// # Safety
///
/// As the manual page says.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn freopen(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller's promise.
    let descriptors = unsafe { of_stream(stream) };
    announced(descriptors, || {
        // SAFETY: the caller's promise.
        unsafe { next::freopen(path, mode, stream) }
    })
}

/// `freopen(3)` with large files
///
/// # Safety
///
/// As the manual page says.
#[cfg(target_env = "gnu")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn freopen64(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller's promise.
    let descriptors = unsafe { of_stream(stream) };
    announced(descriptors, || {
        // SAFETY: the caller's promise.
        unsafe { next::freopen64(path, mode, stream) }
    })
}

/// `call`, with what it closes announced before and after. No destructor: a cancelled thread's stack is unwound through this.
#[inline]
fn announced<T>(descriptors: Option<Descriptors>, call: impl FnOnce() -> T) -> T {
    if let Some(descriptors) = descriptors {
        LISTENERS.announce(descriptors);
    }
    let answer = call();
    if let Some(descriptors) = descriptors {
        LISTENERS.announce(descriptors);
    }
    answer
}

/// What becomes another descriptor. `dup2(fd, fd)` changes nothing, and `dup3(fd, fd)` fails.
fn replaced(old: c_int, new: c_int) -> Option<Descriptors> {
    if old == new { None } else { Descriptors::one(new) }
}

/// The descriptor below a stream. errno stays as it is.
///
/// # Safety
///
/// `stream` must be null or open.
unsafe fn of_stream(stream: *mut FILE) -> Option<Descriptors> {
    if stream.is_null() {
        return None;
    }
    let errno = errno::get();
    // SAFETY: the caller's promise.
    let fd = unsafe { libc::fileno(stream) };
    errno::set(errno);
    Descriptors::one(fd)
}
