//! Seccomp's notifications: a system call that waits for an answer (`seccomp_unotify(2)`).

#![allow(unsafe_code, reason = "the ioctls of a listener")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: who waits for an answer runs on where the listener ran. Linux 6.6.
const SYNC_WAKE_UP: u64 = 1;

/// Where the system calls of a filter's threads arrive.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// A system call that waits.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// Its number in the listener.
    pub id: u64,
    /// The thread's number, as this process sees it; 0 when it does not.
    pub thread: i32,
    /// `AUDIT_ARCH_…` of the caller.
    pub architecture: u32,
    /// The call's number there.
    pub number: i32,
    /// Its arguments, as they were in registers.
    pub arguments: [u64; 6],
}

/// What a system call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A value.
    Value(i64),
    /// An error.
    Failure(Errno),
    /// Whatever the kernel says: it carries the call out.
    Continue,
}

impl Listener {
    /// Listens to a filter's descriptor, as [`install`](super::install) returns it or a container runtime sends it.
    ///
    /// # Errors
    /// EINVAL when it is no such descriptor.
    pub fn new(fd: OwnedFd) -> Result<Listener, Errno> {
        let listener = Listener { fd };
        // An id that nobody has: a listener says ENOENT, anything else that it does not know the request.
        if let Err(Errno::NOTTY | Errno::INVAL | Errno::BADF) = listener.is_waiting(u64::MAX) {
            return Err(Errno::INVAL);
        }
        // Before Linux 6.6 it goes without.
        let _ = listener.ioctl(libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP as usize);
        Ok(listener)
    }

    /// The next call. Waits for one, unless the descriptor is readable.
    ///
    /// # Errors
    /// ENOENT when the call was interrupted before it could be looked at; EINTR.
    pub fn receive(&self) -> Result<Notification, Errno> {
        // SAFETY: all zeros is a value of this structure, and the one that the kernel wants.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw as usize)?;
        Ok(Notification {
            id: raw.id,
            thread: i32::try_from(raw.pid).unwrap_or_default(),
            architecture: raw.data.arch,
            number: raw.data.nr,
            arguments: raw.data.args,
        })
    }

    /// Whether the call still waits for its answer. Everything that was read about the thread before this says so is really about it.
    ///
    /// # Errors
    /// Those of the ioctl, for what is no listener.
    pub fn is_waiting(&self, id: u64) -> Result<bool, Errno> {
        match self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id as usize) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// ENOENT when it does not wait any more.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<(), Errno> {
        let (val, error, flags) = match answer {
            Answer::Value(value) => (value, 0, 0),
            // The kernel takes an error from this field alone, as a negative number.
            Answer::Failure(errno) => (0, -errno.raw_os_error(), 0),
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        };
        let response = libc::seccomp_notif_resp { id, val, error, flags };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response as usize)?;
        Ok(())
    }

    /// Gives the caller a descriptor, at `number` or at the lowest free one, and says which.
    ///
    /// # Errors
    /// ENOENT when the call does not wait any more; EMFILE, EBADF for a number beyond the caller's limit.
    pub fn give(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        number: Option<u32>,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        self.give_with(id, fd, number, close_on_exec, 0)
    }

    /// As [`give`](Self::give), and the descriptor's number is the call's answer. Linux 5.14.
    ///
    /// # Errors
    /// As [`give`](Self::give).
    pub fn answer_with(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        number: Option<u32>,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        match self.give_with(id, fd, number, close_on_exec, libc::SECCOMP_ADDFD_FLAG_SEND as u32) {
            Err(Errno::INVAL) => {
                let given = self.give_with(id, fd, number, close_on_exec, 0)?;
                self.answer(id, Answer::Value(i64::from(given)))?;
                Ok(given)
            }
            done => done,
        }
    }

    fn give_with(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        number: Option<u32>,
        close_on_exec: bool,
        flags: u32,
    ) -> Result<i32, Errno> {
        let set = if number.is_some() { libc::SECCOMP_ADDFD_FLAG_SETFD as u32 } else { 0 };
        let request = libc::seccomp_notif_addfd {
            id,
            flags: flags | set,
            // Not negative for a descriptor that is open.
            srcfd: fd.as_raw_fd() as u32,
            newfd: number.unwrap_or(0),
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request as usize)
    }

    fn ioctl(&self, request: libc::Ioctl, argument: usize) -> Result<i32, Errno> {
        loop {
            // SAFETY: each request is called with the structure that it takes, alive for the call.
            let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, argument) };
            if result >= 0 {
                return Ok(result);
            }
            match Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO) {
                Errno::INTR if request != libc::SECCOMP_IOCTL_NOTIF_RECV => {}
                errno => return Err(errno),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
