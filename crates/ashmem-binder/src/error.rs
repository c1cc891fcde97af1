//! The one error type of the crate.

use std::io;
use std::path::PathBuf;

use rsbinder::StatusCode;

/// What went wrong, and in which operation.
///
/// [`Error::status`] is what Binder has for it, for services that answer their callers with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shared memory itself: it could not be made, mapped, pinned or read.
    #[error("{operation}: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// What the memory's library says.
        source: ashmem::Error,
    },
    /// Binder, or the process at its other end.
    #[error("{operation}: {status}")]
    Binder {
        /// What was tried.
        operation: &'static str,
        /// What Binder says. `DeadObject`: the process that served it has ended.
        status: StatusCode,
    },
    /// A system call.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The peer's answer was complete, and made no sense.
    #[error("{operation}: the peer's answer makes no sense: {reason}")]
    Garbage {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The binder is of another interface.
    #[error("{operation}: this is no {expected}")]
    WrongInterface {
        /// What was tried.
        operation: &'static str,
        /// The interface that was wanted.
        expected: &'static str,
    },
    /// A part that is not inside of its heap.
    #[error("{operation}: {size} bytes at {offset} are not inside of a heap of {heap_size} bytes")]
    OutOfHeap {
        /// What was tried.
        operation: &'static str,
        /// Where the part starts in the heap, in bytes.
        offset: u64,
        /// Length of the part in bytes.
        size: u64,
        /// Size of the heap in bytes.
        heap_size: u64,
    },
    /// Contents of the heap were purged, and its server cannot build them again.
    #[error("purged contents of the heap cannot be built again: {reason}")]
    NotRebuilt {
        /// Why not, as the server says, or that it has no builder.
        reason: String,
    },
    /// The heap was made without a mapping in this process (`DONT_MAP_LOCALLY`).
    #[error("the heap is not mapped in this process")]
    NotMapped,
    /// No free part of the dealer's heap is large enough.
    #[error("allocate {size} bytes: the largest free part of the heap has {largest}")]
    HeapFull {
        /// The size asked for, in bytes.
        size: u64,
        /// The largest size that could be had, in bytes.
        largest: u64,
    },
    /// An allocation of no bytes, or with an alignment that is none.
    #[error(
        "allocate {size} bytes aligned to {align}: it takes a byte at least, and a power of two up to the heap's \
         {heap_size} bytes"
    )]
    InvalidAllocation {
        /// The size asked for, in bytes.
        size: u64,
        /// The alignment asked for, in bytes.
        align: u64,
        /// Size of the heap in bytes.
        heap_size: u64,
    },
    /// A service's name is empty, longer than 127 bytes, or has other characters than letters, digits and `_ - . /`.
    #[error("{name:?} cannot be the name of a service: it takes 1 to 127 letters, digits and _ - . /")]
    InvalidServiceName {
        /// The refused name.
        name: String,
    },
    /// Another service has this name, and its process lives.
    #[error("add service {name}: the name is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Nobody serves that name, or nobody did in time.
    #[error("there is no service {name}")]
    NoSuchService {
        /// The name.
        name: String,
    },
    /// The directory of services is not the user's alone.
    #[error("{}: {reason}", path.display())]
    NotPrivate {
        /// The directory, or what is in its place.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The address is none that services can be found at.
    #[error("{address}: {reason}")]
    InvalidAddress {
        /// The refused address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What an operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn memory(operation: &'static str) -> impl FnOnce(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }

    pub(crate) fn binder(operation: &'static str) -> impl FnOnce(StatusCode) -> Error {
        move |status| Error::Binder { operation, status }
    }

    pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { operation, source: source.into() }
    }

    /// Whether this says that the process at the other end has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self, Error::Binder { status: StatusCode::DeadObject, .. })
    }

    /// The status that Binder has for this error.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            // Java: IllegalStateException.
            Error::Memory { source: ashmem::Error::Closed { .. }, .. } => StatusCode::InvalidOperation,
            Error::Memory { source, .. } => StatusCode::from(-source.raw_os_error()),
            Error::Binder { status, .. } => *status,
            Error::System { source, .. } => {
                source.raw_os_error().map_or(StatusCode::Unknown, |errno| StatusCode::from(-errno))
            }
            Error::WrongInterface { .. } => StatusCode::BadType,
            Error::NotMapped => StatusCode::InvalidOperation,
            Error::NotRebuilt { .. } => StatusCode::NotEnoughData,
            Error::HeapFull { .. } => StatusCode::NoMemory,
            Error::NameTaken { .. } => StatusCode::AlreadyExists,
            Error::NoSuchService { .. } => StatusCode::NameNotFound,
            Error::NotPrivate { .. } => StatusCode::PermissionDenied,
            Error::Garbage { .. }
            | Error::OutOfHeap { .. }
            | Error::InvalidAllocation { .. }
            | Error::InvalidServiceName { .. }
            | Error::InvalidAddress { .. } => StatusCode::BadValue,
        }
    }
}

impl From<Error> for StatusCode {
    fn from(error: Error) -> StatusCode {
        error.status()
    }
}
