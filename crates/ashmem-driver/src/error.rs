//! Why a daemon does not start.

use std::io;
use std::path::PathBuf;

/// What was wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of the socket is not one that others can be kept out of.
    #[error("{}: {reason}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is a daemon.
    #[error("a daemon serves {} already{}", path.display(), process.map(|id| format!(": process {id}")).unwrap_or_default())]
    Running {
        /// The socket.
        path: PathBuf,
        /// The daemon, if that is known.
        process: Option<u32>,
    },
    /// The socket's place is taken by something that is no socket.
    #[error("{} is in the way: it is {what}, not a socket", path.display())]
    InTheWay {
        /// Which place.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The socket's path.
    #[error("{}: {reason}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What was passed to this process is nothing to listen on.
    #[error("the socket that was passed: {reason}")]
    Passed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system refused something.
    #[error("{operation}")]
    System {
        /// What.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { operation, source: source.into() }
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
