//! What can go wrong for a client.

use std::fmt;
use std::io;

use ashmem_binder::rsbinder::StatusCode;

use crate::State;

/// What an operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of a [`MediaCodec`](crate::MediaCodec) failed.
///
/// [`Error::IllegalState`], [`Error::NotOwned`], [`Error::TooLong`] and [`Error::Unsupported`] are the caller's, and change nothing
/// (`IllegalStateException`, `IllegalArgumentException`). After all others the codec is in [`State::Error`], as after a
/// `MediaCodec.CodecException` that is not recoverable: [`reset`](crate::MediaCodec::reset) makes it usable again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call is not one for the state that the codec is in.
    #[error("{call}: the codec is {state}")]
    IllegalState {
        /// The refused call.
        call: &'static str,
        /// The state it was in, and still is.
        state: State,
    },
    /// The buffer is the codec's, or there is no such buffer.
    #[error("{call}: buffer {index} is not the client's")]
    NotOwned {
        /// The refused call.
        call: &'static str,
        /// Of the buffer.
        index: usize,
    },
    /// The buffer has, or holds, fewer bytes than that.
    #[error("{call}: {length} bytes from {offset} on are too many for a buffer of {capacity}")]
    TooLong {
        /// The refused call.
        call: &'static str,
        /// Where they should have started.
        offset: usize,
        /// How many.
        length: usize,
        /// What there is, in bytes.
        capacity: usize,
    },
    /// The service does not decode that.
    #[error("the service does not decode {0}")]
    Unsupported(crate::MediaType),
    /// The stream is malformed, or has what is not supported: the decoder's own words.
    #[error("the stream cannot be decoded: {0}")]
    Malformed(String),
    /// The decoder ended before the stream did.
    #[error("the decoder {0}")]
    DecoderEnded(Ending),
    /// The decoder wrote what makes no sense into shared memory.
    #[error("the decoder says what makes no sense: {0}")]
    Corrupt(&'static str),
    /// Nothing came from the decoder for this long, though it had all that it needs; only [`decode_stream`](crate::decode_stream) says
    /// that.
    #[error("the decoder has said nothing for {} s", .0.as_secs())]
    Stalled(std::time::Duration),
    /// The codec service has ended, or took the decoder away without a word.
    #[error("the codec service is gone")]
    ServiceGone,
    /// The service has as many decoders as it may have (`ERROR_INSUFFICIENT_RESOURCE`).
    #[error("the codec service has no decoder to spare")]
    Busy,
    /// The service could not start a decoder.
    #[error("start a decoder: {0}")]
    NoDecoder(String),
    /// The codec service was not found.
    #[error("find the codec service: {0}")]
    Service(#[source] ashmem_binder::Error),
    /// A call to it failed.
    #[error("{operation}: {}", status_text(*.status))]
    Binder {
        /// What was asked.
        operation: &'static str,
        /// Binder's status.
        status: StatusCode,
    },
    /// The shared region cannot be used.
    #[error("{operation}: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: ashmem::Error,
    },
    /// The kernel refused something.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The stream could not be read; only [`decode_stream`](crate::decode_stream) reads one.
    #[error("read the stream: {0}")]
    Read(#[source] io::Error),
    /// What came out could not be written; only [`decode_stream`](crate::decode_stream) writes.
    #[error("write what was decoded: {0}")]
    Write(#[source] io::Error),
}

impl Error {
    pub(crate) fn memory(operation: &'static str) -> impl FnOnce(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }

    pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { operation, source: source.into() }
    }

    pub(crate) fn binder(operation: &'static str) -> impl FnOnce(StatusCode) -> Error {
        move |status| match status {
            StatusCode::DeadObject => Error::ServiceGone,
            status => Error::Binder { operation, status },
        }
    }

    /// Whether the caller made a mistake, and the codec is as it was.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        matches!(
            self,
            Error::IllegalState { .. }
                | Error::NotOwned { .. }
                | Error::TooLong { .. }
                | Error::Unsupported(_)
        )
    }
}

fn status_text(status: StatusCode) -> String {
    match status {
        StatusCode::TimedOut => "the service does not answer".to_owned(),
        status => status.to_string(),
    }
}

/// How a decoder ended, as the service saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// The service ended it: it computed for so many milliseconds without getting on.
    Stuck(u32),
}

/// Exit status of a decoder whose client wrote what makes no sense.
pub(crate) const CLIENT_CORRUPT: i32 = 3;
/// Exit status of a decoder that could not be set up or confined.
pub(crate) const NOT_CONFINED: i32 = 4;
/// Exit status of a process of Rust that panicked.
pub(crate) const PANICKED: i32 = 101;

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ending::Exited(0) => formatter.write_str("ended before the stream did"),
            Ending::Exited(CLIENT_CORRUPT) => {
                formatter.write_str("ended: what the client wrote makes no sense")
            }
            Ending::Exited(NOT_CONFINED) => formatter.write_str("could not be confined"),
            Ending::Exited(PANICKED) => formatter.write_str("panicked"),
            Ending::Exited(status) => write!(formatter, "ended with status {status}"),
            Ending::Killed(libc::SIGSYS) => {
                formatter.write_str("was killed by the kernel: it made a system call that it may not make")
            }
            Ending::Killed(libc::SIGABRT) => formatter.write_str("aborted, as it does for want of memory"),
            Ending::Killed(signal) => write!(formatter, "was killed by signal {signal}"),
            Ending::Stuck(milliseconds) => {
                write!(
                    formatter,
                    "was ended by the service: it computed for {milliseconds} ms and did not get on"
                )
            }
        }
    }
}
