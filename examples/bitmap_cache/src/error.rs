//! What a client, or the start of a service, can fail with.

use std::io;
use std::path::PathBuf;

use crate::Refusal;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and in which operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no service, or no way to it.
    #[error("find the bitmap service: {0}")]
    Service(#[source] ashmem_binder::Error),
    /// The service did not answer: it has ended, most often.
    #[error("{operation}: {status}")]
    Binder {
        /// What was asked of it.
        operation: &'static str,
        /// What Binder says.
        status: String,
    },
    /// The service answered that it will not, or cannot.
    #[error("{message}")]
    Refused {
        /// Why, in one word.
        refusal: Refusal,
        /// Why, in a sentence.
        message: String,
    },
    /// The service's answer was complete, and made no sense.
    #[error("{operation}: the service's answer makes no sense: {reason}")]
    Garbage {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The picture's file has changed since: another bitmap is to be asked for.
    #[error("the picture has changed, and this bitmap of it cannot be decoded again")]
    Changed,
    /// The pixels were gone again each time before they could be leased.
    #[error("the bitmap was purged again as soon as it was decoded")]
    Purged,
    /// A width or height of zero, or of more than [`Size::MAX`](crate::Size::MAX).
    #[error("a bitmap of {width} x {height} pixels: each is from 1 to {}", crate::Size::MAX)]
    InvalidSize {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// The shared memory of a bitmap.
    #[error("{operation}: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// What the memory's library says.
        source: ashmem::Error,
    },
    /// A file or directory.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn memory(operation: &'static str) -> impl FnOnce(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }

    /// Why the service refused, if that is what happened.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Error::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether the service has to be found anew: it ended, or hung up.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Error::Binder { .. } | Error::Service(_))
    }
}
