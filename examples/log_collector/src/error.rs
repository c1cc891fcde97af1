//! The error type of the crate.

use std::io;
use std::path::PathBuf;

/// What went wrong, and in which operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The region could not be made, received or mapped.
    #[error("{operation}: {source}")]
    Region {
        /// What was being done.
        operation: &'static str,
        /// Why not.
        source: ashmem::Error,
    },
    /// The kernel refused.
    #[error("{operation}: {source}")]
    System {
        /// What was being done.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file of the log could not be opened, read, written or removed.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A size that is not possible, or options that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// Somebody collects into this directory already.
    #[error("collect into {}: another collector is at work there", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// An app's region says something that no honest app writes.
    #[error("region of process {process} corrupt: {reason}")]
    Corrupt {
        /// The process that handed over the region; 0 where it has no number here.
        process: u32,
        /// Which check failed.
        reason: &'static str,
    },
    /// A file of the log is broken from this place on; what can be read behind it still is.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the broken frame begins.
        offset: u64,
        /// Which check failed.
        reason: &'static str,
    },
}

/// The result of the crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn region(operation: &'static str) -> impl FnOnce(ashmem::Error) -> Error {
        move |source| Error::Region { operation, source }
    }

    pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { operation, source: source.into() }
    }

    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { operation, path, source }
    }
}
