//! Having a thread enter its system call once more: `ptrace(2)` without anything that the thread, or its parent, could notice.

#![allow(unsafe_code, reason = "ptrace(2) and waitid(2)")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;

/// What became of a thread that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has not stopped yet.
    Not,
    /// It has stopped. A signal that is on its way to it has to be given on; 0 for none.
    Stopped(i32),
    /// It is gone.
    Gone,
}

/// Makes this thread the tracer of another one, which runs on.
///
/// # Errors
/// EPERM for one that is traced already, or may not be.
pub(crate) fn seize(thread: i32) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, thread, 0)
}

/// Interrupts a thread that this one has seized.
///
/// # Errors
/// ESRCH when it is gone.
pub(crate) fn interrupt(thread: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, thread, 0)
}

/// Lets a stopped thread go on, with a signal unless that is 0.
///
/// # Errors
/// ESRCH when it has not stopped, or is gone.
pub(crate) fn detach(thread: i32, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, thread, signal)
}

/// Whether a thread that this one has seized has stopped. Does not wait.
pub(crate) fn look(thread: i32) -> Stop {
    // Its end is for its parent to see, which may be this very process.
    let options = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    let mut information = MaybeUninit::<libc::siginfo_t>::zeroed();
    let number = thread as libc::id_t;
    // SAFETY: the kernel writes the structure alone, which outlives the call.
    let result = unsafe { libc::waitid(libc::P_PID, number, information.as_mut_ptr(), options) };
    if result != 0 {
        return Stop::Gone;
    }
    // SAFETY: all zeros is a value of it, and so is what the kernel writes.
    let information = unsafe { information.assume_init() };
    // SAFETY: the field of what a wait has filled in, or zero.
    let found = unsafe { information.si_pid() };
    if found != thread {
        return Stop::Not;
    }
    // SAFETY: as above.
    let status = unsafe { information.si_status() };
    // Stops that are no signal's delivery say so in the upper half.
    Stop::Stopped(if status >> 8 == 0 { status } else { 0 })
}

fn request(request: libc::c_uint, thread: i32, data: i32) -> Result<(), Errno> {
    let data = ptr::without_provenance_mut::<libc::c_void>(data as usize);
    // SAFETY: these requests take numbers, and no memory of this process's.
    let result = unsafe { libc::ptrace(request, thread, ptr::null_mut::<libc::c_void>(), data) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
