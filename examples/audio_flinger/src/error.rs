//! The one error type of the crate.

use std::io;
use std::path::PathBuf;

use ashmem_binder::rsbinder::{Status, StatusCode};

use crate::Fault;

/// What went wrong, and in which operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shared memory of a track: it could not be made, mapped or reached.
    #[error("{operation}: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// What the memory's library says.
        source: ashmem::Error,
    },
    /// The mixer could not be found, or not be offered.
    #[error("{operation}: {source}")]
    Services {
        /// What was tried.
        operation: &'static str,
        /// What the service manager says.
        source: ashmem_binder::Error,
    },
    /// The mixer refused.
    #[error("{operation}: the mixer refuses: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// What the mixer says.
        reason: String,
    },
    /// The mixer has ended.
    #[error("{operation}: the mixer has ended")]
    MixerDied {
        /// What was tried.
        operation: &'static str,
    },
    /// The mixer says what makes no sense.
    #[error("{operation}: the mixer's answer makes no sense: {reason}")]
    Garbage {
        /// What was asked or read.
        operation: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The mixer ended the track.
    #[error("{operation}: the mixer ended this track: {fault}")]
    TrackBroken {
        /// What was tried.
        operation: &'static str,
        /// What the mixer found.
        fault: Fault,
    },
    /// What the track is doing does not allow it.
    #[error("{operation}: {reason}")]
    IllegalState {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// No mixer plays such a track.
    #[error("create track: {reason}")]
    InvalidOptions {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No mixer works like that.
    #[error("start mixer: {reason}")]
    InvalidMixer {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The rates do not go together.
    #[error("resample: {reason}")]
    Resample {
        /// What the resampler says.
        reason: String,
    },
    /// A file that is no sound, or not one of those that are known.
    #[error("decode {}: {reason}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be opened, read or written.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The sound card.
    #[error("{operation}: {reason}")]
    SoundCard {
        /// What was tried.
        operation: &'static str,
        /// What its library says.
        reason: String,
    },
    /// A system call.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

/// What an operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn memory(operation: &'static str) -> impl Fn(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }

    pub(crate) fn services(operation: &'static str) -> impl FnOnce(ashmem_binder::Error) -> Error {
        move |source| Error::Services { operation, source }
    }

    /// A call that did not come back with an answer.
    pub(crate) fn call(operation: &'static str) -> impl FnOnce(Status) -> Error {
        move |status| match status.transaction_error() {
            StatusCode::DeadObject => Error::MixerDied { operation },
            StatusCode::Ok => Error::Refused { operation, reason: status.to_string() },
            code => Error::Refused { operation, reason: code.to_string() },
        }
    }
}
