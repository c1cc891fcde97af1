//! What can go wrong.

use std::io;
use std::path::PathBuf;

use crate::rect::Size;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation that failed, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shared memory could not be had or used.
    #[error("{operation}: {source}")]
    Memory {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: ashmem::Error,
    },
    /// The compositor cannot be found or called.
    #[error("{operation}: {source}")]
    Binder {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: ashmem_binder::Error,
    },
    /// The compositor has answered, and says no.
    #[error("{operation}: {reason}")]
    Refused {
        /// What was asked of it.
        operation: &'static str,
        /// Its reason.
        reason: String,
    },
    /// The other side of a queue wrote what makes no sense into the control block.
    #[error("the queue of buffers is corrupt: {reason}")]
    QueueCorrupt {
        /// What makes no sense.
        reason: &'static str,
    },
    /// The compositor has closed the window, because it ends or because its queue is corrupt.
    #[error("the compositor has closed the window")]
    WindowClosed,
    /// The compositor's process has ended.
    #[error("the compositor is gone")]
    CompositorGone,
    /// It took longer than it was to.
    #[error("{operation}: it took too long")]
    TimedOut {
        /// What was waited for.
        operation: &'static str,
    },
    /// A row, or its end, is outside of the window.
    #[error("the pixels are not all inside of the window of {size}")]
    OutsideWindow {
        /// The window's size.
        size: Size,
    },
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// A file is no picture that can be shown.
    #[error("read {}: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The Wayland compositor cannot be reached, lacks something, or has ended.
    #[error("{operation}: {reason}")]
    Wayland {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        reason: String,
    },
    /// The system refused something else.
    #[error("{operation}: {source}")]
    System {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// A process of this program's ended as it should not.
    #[error("{process} failed: {reason}")]
    Process {
        /// Its role.
        process: String,
        /// How it ended.
        reason: String,
    },
}

impl Error {
    pub(crate) fn memory(operation: &'static str) -> impl FnOnce(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }

    /// Of the system.
    pub fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::System { operation, source }
    }
}
