//! The functions that this library stands in front of: the next definitions of their names, usually those of the C library.
//!
//! All are looked up when the library is loaded, as `dlsym(3)` may not be called in signal handlers; those that are called even
//! before that are looked up then. Calls go out as `C-unwind`: where a thread is cancelled in `close(2)`, its stack is unwound.
#![allow(unsafe_code, reason = "dlsym, and calls to what it finds")]

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{FILE, c_char, c_int, c_long, c_uint, c_void};

use crate::errno;

type Close = unsafe extern "C-unwind" fn(c_int) -> c_int;
type Dup2 = unsafe extern "C-unwind" fn(c_int, c_int) -> c_int;
type Dup3 = unsafe extern "C-unwind" fn(c_int, c_int, c_int) -> c_int;
type CloseRange = unsafe extern "C-unwind" fn(c_uint, c_uint, c_int) -> c_int;
type Fclose = unsafe extern "C-unwind" fn(*mut FILE) -> c_int;
type Freopen = unsafe extern "C-unwind" fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE;
#[cfg(target_env = "gnu")]
type Closefrom = unsafe extern "C-unwind" fn(c_int);

// The type of each is that of the function of its name, on which `Next::get` relies.
static CLOSE: Next<Close> = Next::new(c"close");
static DUP2: Next<Dup2> = Next::new(c"dup2");
static DUP3: Next<Dup3> = Next::new(c"dup3");
static CLOSE_RANGE: Next<CloseRange> = Next::new(c"close_range");
static FCLOSE: Next<Fclose> = Next::new(c"fclose");
static FREOPEN: Next<Freopen> = Next::new(c"freopen");
#[cfg(target_env = "gnu")]
static CLOSEFROM: Next<Closefrom> = Next::new(c"closefrom");
#[cfg(target_env = "gnu")]
static FREOPEN64: Next<Freopen> = Next::new(c"freopen64");

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = find_all;

extern "C" fn find_all() {
    CLOSE.find();
    DUP2.find();
    DUP3.find();
    CLOSE_RANGE.find();
    FCLOSE.find();
    FREOPEN.find();
    #[cfg(target_env = "gnu")]
    {
        CLOSEFROM.find();
        FREOPEN64.find();
    }
}

/// A function of the type `F`, or that there is none.
struct Next<F> {
    name: &'static CStr,
    /// Null until it was looked for.
    found: AtomicPtr<c_void>,
    function: PhantomData<F>,
}

/// Stands for a function that there is not.
const NONE: *mut c_void = ptr::without_provenance_mut(usize::MAX);

impl<F: Copy> Next<F> {
    const fn new(name: &'static CStr) -> Next<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        Next { name, found: AtomicPtr::new(ptr::null_mut()), function: PhantomData }
    }

    #[inline]
    fn get(&self) -> Option<F> {
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            found = self.find();
        }
        if found == NONE {
            return None;
        }
        // SAFETY: a function of that name, so of the type `F`, a function pointer.
        Some(unsafe { mem::transmute_copy::<*mut c_void, F>(&found) })
    }

    #[cold]
    #[inline(never)]
    fn find(&self) -> *mut c_void {
        let errno = errno::get();
        // SAFETY: the name is a C string.
        let mut found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // The program is not to find this in its own next dlerror(3).
            // SAFETY: takes no arguments, and the text is not looked at.
            unsafe { libc::dlerror() };
            found = NONE;
        }
        self.found.store(found, Ordering::Relaxed);
        errno::set(errno);
        found
    }
}

#[inline]
pub(crate) fn close(fd: c_int) -> c_int {
    match CLOSE.get() {
        // SAFETY: whatever the number, as for the caller.
        Some(next) => unsafe { next(fd) },
        None => raw::close(fd),
    }
}

#[inline]
pub(crate) fn dup2(old: c_int, new: c_int) -> c_int {
    match DUP2.get() {
        // SAFETY: whatever the numbers, as for the caller.
        Some(next) => unsafe { next(old, new) },
        None => raw::dup2(old, new),
    }
}

#[inline]
pub(crate) fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    match DUP3.get() {
        // SAFETY: whatever the numbers, as for the caller.
        Some(next) => unsafe { next(old, new, flags) },
        None => raw::dup3(old, new, flags),
    }
}

#[inline]
pub(crate) fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    match CLOSE_RANGE.get() {
        // SAFETY: whatever the numbers, as for the caller.
        Some(next) => unsafe { next(first, last, flags) },
        None => raw::close_range(first, last, flags),
    }
}

/// Closes `lowest` and all above.
#[cfg(target_env = "gnu")]
#[inline]
pub(crate) fn closefrom(lowest: c_int) {
    match CLOSEFROM.get() {
        // SAFETY: whatever the number, as for the caller.
        Some(next) => unsafe { next(lowest) },
        None => {
            raw::close_range(lowest.max(0) as c_uint, c_uint::MAX, 0);
        }
    }
}

/// # Safety
///
/// As for `fclose(3)`.
#[inline]
pub(crate) unsafe fn fclose(stream: *mut FILE) -> c_int {
    match FCLOSE.get() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(stream) },
        None => errno::fail(libc::ENOSYS),
    }
}

/// # Safety
///
/// As for `freopen(3)`.
#[inline]
pub(crate) unsafe fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    // SAFETY: the caller's promise.
    unsafe { reopen(&FREOPEN, path, mode, stream) }
}

/// # Safety
///
/// As for `freopen(3)`.
#[cfg(target_env = "gnu")]
#[inline]
pub(crate) unsafe fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    // SAFETY: the caller's promise.
    unsafe { reopen(&FREOPEN64, path, mode, stream) }
}

/// # Safety
///
/// As for `freopen(3)`.
#[inline]
unsafe fn reopen(
    function: &Next<Freopen>,
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
) -> *mut FILE {
    match function.get() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(path, mode, stream) },
        None => {
            errno::set(libc::ENOSYS);
            ptr::null_mut()
        }
    }
}

/// System calls, for what no library behind this one has.
mod raw {
    use super::*;

    pub(super) fn close(fd: c_int) -> c_int {
        // SAFETY: whatever the number, as for the caller.
        answer(unsafe { libc::syscall(libc::SYS_close, fd) })
    }

    /// By `dup3(2)`, as newer machines have no other.
    pub(super) fn dup2(old: c_int, new: c_int) -> c_int {
        if old != new {
            return dup3(old, new, 0);
        }
        // SAFETY: only asks.
        let flags = unsafe { libc::syscall(libc::SYS_fcntl, old, libc::F_GETFD) };
        if flags == -1 { -1 } else { new }
    }

    pub(super) fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
        // SAFETY: whatever the numbers, as for the caller.
        answer(unsafe { libc::syscall(libc::SYS_dup3, old, new, flags) })
    }

    pub(super) fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        // SAFETY: whatever the numbers, as for the caller.
        answer(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
    }

    /// That of these calls is a descriptor, 0, or -1: it fits.
    fn answer(answer: c_long) -> c_int {
        answer as c_int
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn null() -> c_int {
        File::open("/dev/null").unwrap().into_raw_fd()
    }

    fn is_open(fd: c_int) -> bool {
        // SAFETY: only asks.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    }

    /// Far above those of other tests, which get the lowest that are free.
    fn reserve(above: c_int) -> c_int {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: makes a new descriptor.
        let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
        assert!(fd >= above);
        fd
    }

    fn with_errno(answer: c_int) -> (c_int, c_int) {
        (answer, errno::get())
    }

    #[test]
    fn raw_close_range_closes_both_ends() {
        let first = reserve(600);
        let last = reserve(first + 2);
        assert_eq!(raw::close_range(first as c_uint, last as c_uint, 0), 0);
        assert!(!is_open(first) && !is_open(last));
        assert_eq!(with_errno(raw::close_range(4, 3, 0)), (-1, libc::EINVAL));
    }

    #[test]
    fn raw_dup2_is_dup2() {
        let (old, new) = (null(), reserve(700));
        assert_eq!(raw::dup2(old, new), new);
        assert_eq!(raw::dup2(old, old), old);
        assert!(is_open(new) && is_open(old));
        assert_eq!(with_errno(raw::dup2(-1, -1)), (-1, libc::EBADF));
        assert_eq!(with_errno(raw::dup2(-1, new)), (-1, libc::EBADF));
        assert_eq!(with_errno(raw::dup2(old, -1)), (-1, libc::EBADF));
        assert!(is_open(new), "left by a call that failed");
        assert_eq!(with_errno(raw::dup3(old, old, 0)), (-1, libc::EINVAL));
        assert_eq!((raw::close(old), raw::close(new)), (0, 0));
        assert!(!is_open(new));
        assert_eq!(with_errno(raw::close(new)), (-1, libc::EBADF));
    }

    #[test]
    fn what_there_is_not_is_remembered() {
        let next: Next<Close> = Next::new(c"ashmem_no_such_function");
        errno::set(77);
        assert!(next.get().is_none());
        assert_eq!(errno::get(), 77);
        assert_eq!(next.found.load(Ordering::Relaxed), NONE);
        assert!(next.get().is_none());
        // SAFETY: takes no arguments.
        assert!(unsafe { libc::dlerror() }.is_null(), "the failure is not the program's");
    }

    #[test]
    fn what_there_is_is_called() {
        let fd = reserve(800);
        assert_eq!(close(fd), 0);
        assert!(!is_open(fd));
        assert_eq!(with_errno(dup3(-1, fd, 0)), (-1, libc::EBADF));
    }
}
