//! From compressed bytes to samples and pixels.

use std::fmt;
use std::io::{self, Read};

use super::{audio, image};
use crate::{Format, MediaType};

/// Where samples and pixels go.
pub trait Sink {
    /// Takes whole frames or rows. `time` is that of the first one, in microseconds.
    fn write(&mut self, format: Format, time: i64, bytes: &[u8]) -> io::Result<()>;
}

/// Why a stream was not decoded to its end.
#[derive(Debug)]
pub enum Failure {
    /// It is malformed, or has what is not supported; in words.
    Malformed(String),
    /// The source failed.
    Source(io::Error),
    /// The sink failed.
    Sink(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Malformed(reason) => formatter.write_str(reason),
            Failure::Source(error) | Failure::Sink(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Source(error)
    }
}

/// What decoding may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that an image may have, decoded.
    pub image: u64,
}

impl Limits {
    /// For a process of that much memory: an image is there twice while its pixels are converted, and its file as well.
    #[must_use]
    pub fn of_memory(memory: u64) -> Limits {
        Limits { image: memory / 5 * 2 }
    }
}

/// Decodes a stream in this process: what a decoder does, without its confinement. What came before something malformed has been
/// written to the sink.
pub fn decode(
    media_type: MediaType,
    source: impl Read + Send + Sync,
    sink: &mut dyn Sink,
    limits: Limits,
) -> Result<(), Failure> {
    match media_type {
        MediaType::Wav | MediaType::Flac | MediaType::Mp3 => audio::decode(media_type, source, sink),
        MediaType::Png => image::decode(::image::ImageFormat::Png, source, sink, limits),
        MediaType::Jpeg => image::decode(::image::ImageFormat::Jpeg, source, sink, limits),
        MediaType::Fault => Err(Failure::Malformed("it is no media".to_owned())),
    }
}
