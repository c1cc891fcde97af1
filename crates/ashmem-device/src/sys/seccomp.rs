//! Putting a filter on the calling thread, which its children and what it executes keep.

#![allow(unsafe_code, reason = "seccomp(2)")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// An instruction of a filter, as the kernel has it (`linux/filter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub if_true: u8,
    /// How many to skip when it does not.
    pub if_false: u8,
    /// The operand.
    pub operand: u32,
}

/// Why a filter could not be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody listens to a filter of this thread already (EBUSY): the kernel allows one.
    Listening,
    /// The kernel knows no user notification, or a filter that is in force forbids it.
    Unsupported(Errno),
}

/// Puts a filter on the calling thread, and returns the descriptor of its notifications.
///
/// Unless the thread has CAP_SYS_ADMIN, it will not gain privileges by executing set-user-ID programs any more (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// See [`Refusal`].
pub fn install(program: &[Instruction]) -> Result<OwnedFd, Refusal> {
    let instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|line| libc::sock_filter {
            code: line.code,
            jt: line.if_true,
            jf: line.if_false,
            k: line.operand,
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| Refusal::Unsupported(Errno::INVAL))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    match listen(&program) {
        Err(Errno::ACCESS) => {
            rustix::thread::set_no_new_privs(true).map_err(Refusal::Unsupported)?;
            listen(&program)
        }
        done => done,
    }
    .map_err(|errno| match errno {
        Errno::BUSY => Refusal::Listening,
        errno => Refusal::Unsupported(errno),
    })
}

fn listen(program: &libc::sock_fprog) -> Result<OwnedFd, Errno> {
    // It is no sandbox: the program need not run without the processor's speculation, as older kernels have it under filters.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let with = |flags: libc::c_ulong| {
        // SAFETY: the program and its instructions outlive the call, which only reads them.
        let fd = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const *program)
        };
        match i32::try_from(fd) {
            // SAFETY: the kernel has just made this descriptor, for this caller.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    };
    // So that a call is not interrupted by signals once somebody is looking at it: Linux 5.19.
    match with(flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(Errno::INVAL) => with(flags),
        done => done,
    }
}
