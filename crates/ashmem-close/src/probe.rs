//! Whether calls of the program get here.
//!
//! Found by doing them: the functions are looked up as the program's own references to them are, and called with arguments that
//! nobody else uses and that do no harm. Addresses would not tell: others may stand in front, such as a sanitizer's library,
//! and call this one.
#![allow(unsafe_code, reason = "dlsym, and calls to what it finds")]

use std::ffi::CStr;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use libc::{FILE, c_int, c_uint, c_void};

use crate::errno;

/// Those that are called to see whether they get here, each a bit.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Function {
    Close = 1,
    Dup2 = 2,
    Dup3 = 4,
    CloseRange = 8,
    Fclose = 16,
    #[cfg(target_env = "gnu")]
    Closefrom = 32,
}

#[cfg(target_env = "gnu")]
const ALL: u32 = 63;
#[cfg(not(target_env = "gnu"))]
const ALL: u32 = 31;

/// The functions through which a probe got here. Once all have, that is the answer for good.
static REACHED: AtomicU32 = AtomicU32::new(0);

/// The descriptor of all probes of the process: negative, and far from those that programs use. 0 before the first probe.
static TOKEN: AtomicI32 = AtomicI32::new(0);

/// The streams of the probes that are under way. A place that a fork catches stays taken in the child.
static STREAMS: [AtomicPtr<FILE>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];

/// Notes it and says true if the call is a probe, which is not to be passed on.
#[inline]
pub(crate) fn arrived(function: Function, fd: c_int) -> bool {
    if fd >= 0 || fd != TOKEN.load(Ordering::Relaxed) {
        return false;
    }
    note(function);
    true
}

/// [`arrived`] for `closefrom(3)`, to which a negative number would mean 0.
#[cfg(target_env = "gnu")]
#[inline]
pub(crate) fn arrived_from(lowest: c_int) -> bool {
    if lowest < NEVER_OPEN {
        return false;
    }
    let token = TOKEN.load(Ordering::Relaxed);
    if token == 0 || lowest != lowest_of(token) {
        return false;
    }
    note(Function::Closefrom);
    true
}

/// Notes it if the stream is a probe's. It is to be passed on.
#[inline]
pub(crate) fn stream_arrived(stream: *mut FILE) {
    if STREAMS.iter().any(|place| !stream.is_null() && place.load(Ordering::Relaxed) == stream) {
        note(Function::Fclose);
    }
}

fn note(function: Function) {
    REACHED.fetch_or(function as u32, Ordering::Release);
}

fn reached(functions: u32) -> bool {
    REACHED.load(Ordering::Acquire) & functions == functions
}

/// No descriptor is as high: the kernel rounds the most that `fs.nr_open` can be down to a multiple of 64.
#[cfg(target_env = "gnu")]
const NEVER_OPEN: c_int = c_int::MAX - 63;

/// Not `INT_MAX`, which a program may use.
#[cfg(target_env = "gnu")]
fn lowest_of(token: c_int) -> c_int {
    NEVER_OPEN | (token & 62)
}

/// Whether the program's calls get here. A yes is remembered; may be asked by several threads. Leaves errno as it is.
pub(crate) fn effective() -> bool {
    if reached(ALL) {
        return true;
    }
    let errno = errno::get();
    let answer = Program::open().is_some_and(|program| {
        let token = token();
        let answer = program.has_this_errno()
            && program.closes(token)
            && program.duplicates(token)
            && program.closes_ranges(token)
            && program.closes_streams();
        // Last, as an old C library's may abort where it finds neither the system call nor /proc.
        #[cfg(target_env = "gnu")]
        let answer = answer && program.closes_from(token);
        program.close();
        answer
    });
    errno::set(errno);
    answer
}

/// The process's token, made by whoever is first.
fn token() -> c_int {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    // 29 bits that nobody can know; negative; more than 500 million away from -1.
    let made = (now.tv_nsec as c_uint & 0x1fff_ffff | 0xa000_0000) as c_int;
    match TOKEN.compare_exchange(0, made, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => made,
        Err(there) => there,
    }
}

/// The scope in which the program's own references are resolved. `RTLD_DEFAULT` would be that of this library: another one if it
/// was opened with `RTLD_DEEPBIND` or `dlmopen(3)`.
struct Program(*mut c_void);

impl Program {
    fn open() -> Option<Program> {
        // SAFETY: no name, so nothing is loaded.
        let handle = unsafe { libc::dlopen(ptr::null(), libc::RTLD_LAZY) };
        if handle.is_null() {
            forget_error();
        }
        (!handle.is_null()).then_some(Program(handle))
    }

    fn close(self) {
        // SAFETY: opened by `open`, and closed only here.
        unsafe { libc::dlclose(self.0) };
    }

    /// # Safety
    ///
    /// `F` must be the type of the function `name`.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: an open handle and a C string.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if found.is_null() {
            forget_error();
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { mem::transmute_copy::<*mut c_void, F>(&found) })
    }

    /// Whether the program's C library is the one that this library has. In a namespace of `dlmopen(3)` there is another copy, and
    /// the errno that a probe would change is not the one that is put back.
    fn has_this_errno(&self) -> bool {
        type Place = unsafe extern "C" fn() -> *mut c_int;
        // SAFETY: the function's type.
        let Some(place) = (unsafe { self.function::<Place>(c"__errno_location") }) else { return false };
        // SAFETY: asks for an address only.
        let its = unsafe { place() };
        // SAFETY: as above.
        its == unsafe { libc::__errno_location() }
    }

    fn closes(&self, token: c_int) -> bool {
        type Close = unsafe extern "C" fn(c_int) -> c_int;
        // SAFETY: the function's type.
        let Some(close) = (unsafe { self.function::<Close>(c"close") }) else { return false };
        // SAFETY: no descriptor is negative.
        unsafe { close(token) };
        reached(Function::Close as u32)
    }

    fn duplicates(&self, token: c_int) -> bool {
        type Dup2 = unsafe extern "C" fn(c_int, c_int) -> c_int;
        type Dup3 = unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
        // SAFETY: the function's type.
        let Some(dup2) = (unsafe { self.function::<Dup2>(c"dup2") }) else { return false };
        // SAFETY: the function's type.
        let Some(dup3) = (unsafe { self.function::<Dup3>(c"dup3") }) else { return false };
        // SAFETY: no descriptor is negative.
        unsafe { dup2(token, token) };
        // SAFETY: as above.
        unsafe { dup3(token, token, 0) };
        reached(Function::Dup2 as u32 | Function::Dup3 as u32)
    }

    fn closes_ranges(&self, token: c_int) -> bool {
        type CloseRange = unsafe extern "C" fn(c_uint, c_uint, c_int) -> c_int;
        // SAFETY: the function's type.
        let Some(close_range) = (unsafe { self.function::<CloseRange>(c"close_range") }) else {
            return false;
        };
        // SAFETY: no descriptor is above `INT_MAX`.
        unsafe { close_range(token as c_uint, token as c_uint, 0) };
        reached(Function::CloseRange as u32)
    }

    fn closes_streams(&self) -> bool {
        type Fclose = unsafe extern "C" fn(*mut FILE) -> c_int;
        // SAFETY: the function's type.
        let Some(fclose) = (unsafe { self.function::<Fclose>(c"fclose") }) else { return false };
        let mut memory = [0u8; 1];
        // SAFETY: `memory` outlives the stream, and the mode is a C string.
        let stream = unsafe { libc::fmemopen((&raw mut memory).cast(), memory.len(), c"r".as_ptr()) };
        if stream.is_null() {
            return false;
        }
        let place = STREAMS.iter().find(|place| {
            place.compare_exchange(ptr::null_mut(), stream, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        // SAFETY: opened above; nobody else has it.
        unsafe { fclose(stream) };
        if let Some(place) = place {
            place.store(ptr::null_mut(), Ordering::Relaxed);
        }
        reached(Function::Fclose as u32)
    }

    #[cfg(target_env = "gnu")]
    fn closes_from(&self, token: c_int) -> bool {
        type Closefrom = unsafe extern "C" fn(c_int);
        // SAFETY: the function's type.
        let Some(closefrom) = (unsafe { self.function::<Closefrom>(c"closefrom") }) else { return false };
        // SAFETY: no descriptor is as high.
        unsafe { closefrom(lowest_of(token)) };
        reached(Function::Closefrom as u32)
    }
}

/// The program is not to find a failure of ours in its own next dlerror(3).
fn forget_error() {
    // SAFETY: takes no arguments, and the text is not looked at.
    unsafe { libc::dlerror() };
}
