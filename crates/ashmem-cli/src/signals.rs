//! Waiting until somebody wants the program to end.
#![allow(unsafe_code, reason = "signals are the C library's")]

use std::mem::MaybeUninit;
use std::{io, ptr};

/// SIGINT, SIGTERM and SIGHUP, held back in the thread that made this and in all that it starts afterwards: they end nothing then, and
/// [`wait`](Endings::wait) gets them.
#[derive(Clone, Copy)]
pub struct Endings {
    set: libc::sigset_t,
}

/// What a daemon is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read its files again: SIGHUP.
    Reload,
    /// End: SIGINT, SIGTERM.
    End,
}

impl Endings {
    /// Holds them back from now on; not those that the program was started to ignore, as `nohup` and shells do.
    pub fn hold_back() -> io::Result<Endings> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: initialises the set that it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: just initialised.
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            if !is_ignored(signal)? {
                // SAFETY: an initialised set, and a signal that there is.
                unsafe { libc::sigaddset(&raw mut set, signal) };
            }
        }
        // SAFETY: an initialised set; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
            0 => Ok(Endings { set }),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for one of them (`sigwait(3)`).
    pub fn wait(&self) -> io::Result<()> {
        self.next().map(drop)
    }

    /// Waits for one of them, and says what it means to a daemon.
    pub fn next(&self) -> io::Result<Wish> {
        Ok(if self.signal()? == libc::SIGHUP { Wish::Reload } else { Wish::End })
    }

    /// Lets them, and this one, end the process again, in this thread.
    pub fn let_through(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the default disposition runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: an initialised set; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const self.set, ptr::null_mut()) } {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for one of them, and says which it is.
    pub fn signal(&self) -> io::Result<i32> {
        let mut signal = 0;
        // SAFETY: an initialised set, and room for a number.
        match unsafe { libc::sigwait(&raw const self.set, &raw mut signal) } {
            0 => Ok(signal),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Nobody waits for the processes that this one still comes to be the parent of.
pub fn ignore_children() {
    // SAFETY: ignoring a signal runs no code of this process.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: changes nothing, and fills in what it is given when it succeeds.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled in.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}
