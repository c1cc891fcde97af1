//! What can go wrong before a program runs.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::sys::Refusal;

/// An error of this crate's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Some supervisor listens to this process already, and it has no device to offer.
    #[error(
        "this process is under another supervisor already (seccomp user notification), and the kernel allows one only"
    )]
    Supervised,
    /// The kernel has no seccomp user notification, or does not allow it here.
    #[error(
        "seccomp user notification cannot be used here (it needs Linux 5.9, and a container that allows seccomp(2))"
    )]
    Notification {
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Nobody answers at the device's socket.
    #[error("no device server answers at {path}")]
    NoServer {
        /// The socket.
        path: PathBuf,
    },
    /// Who listens at the device's socket is another user, not root.
    #[error("the device server at {path} is not yours")]
    Untrusted {
        /// The socket.
        path: PathBuf,
    },
    /// The device server said no.
    #[error("the device server refuses to look after this program")]
    Refused,
    /// A system call failed.
    #[error("cannot {operation}")]
    System {
        /// What was to be done.
        operation: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot execute {program}")]
    Execute {
        /// Its name.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::System { operation, source: errno.into() }
    }

    pub(crate) fn refusal(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Listening => Error::Supervised,
            Refusal::Unsupported(errno) => Error::Notification { source: errno.into() },
        }
    }

    /// What a command that executes others exits with, as `env(1)` does: 127 where there is no such program, 126 where it cannot be executed,
    /// 125 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Execute { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Error::Execute { .. } => 126,
            _ => 125,
        }
    }
}
