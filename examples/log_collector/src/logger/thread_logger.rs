//! A lane in the caller's hands.

use std::fmt;
use std::marker::PhantomData;

use super::inner::Inner;
use super::pen::{self, Pen};
use super::seat;
use crate::Level;
use crate::lane::Lane;

/// A lane of a [`Logger`](super::Logger) for one thread that logs very much: the lane need not be found for each record. Made by
/// [`Logger::for_thread`](super::Logger::for_thread); the lane is given back when this is dropped.
///
/// ```
/// # fn main() -> log_collector::Result<()> {
/// use log_collector::{Level, Logger};
///
/// # let directory = tempfile::tempdir().expect("a directory");
/// # let directory = directory.path();
/// let logger = Logger::connect(directory)?;
/// if let Some(mut log) = logger.for_thread() {
///     for number in 0..1000 {
///         log.log_fmt(Level::Debug, "loop", format_args!("round {number}"));
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct ThreadLogger<'a> {
    inner: &'a Inner,
    lane: Lane<'a>,
    pen: Pen,
    /// Records have the number of the thread that made this, so it stays there.
    stays: PhantomData<*const ()>,
}

impl<'a> ThreadLogger<'a> {
    pub(super) fn new(inner: &'a Inner) -> Option<ThreadLogger<'a>> {
        let pen = Pen::take(inner)?;
        let lane = inner.shared.find_lane(pen.index())?;
        Some(ThreadLogger { inner, lane, pen, stays: PhantomData })
    }

    /// See [`Logger::log`](super::Logger::log).
    #[inline]
    pub fn log(&mut self, level: Level, tag: &str, message: &str) -> bool {
        self.log_bytes(level, tag.as_bytes(), message.as_bytes())
    }

    /// See [`Logger::log_bytes`](super::Logger::log_bytes).
    #[inline]
    pub fn log_bytes(&mut self, level: Level, tag: &[u8], message: &[u8]) -> bool {
        self.pen.log(self.inner, &self.lane, level, tag, message)
    }

    /// See [`Logger::log_fmt`](super::Logger::log_fmt).
    pub fn log_fmt(&mut self, level: Level, tag: &str, message: fmt::Arguments<'_>) -> bool {
        match message.as_str() {
            Some(message) => self.log(level, tag, message),
            None => seat::format(message, |message| self.log(level, tag, message)),
        }
    }

    /// For benchmarks, without a collector: lets go of what is in the lane.
    #[doc(hidden)]
    pub fn discard(&self) {
        pen::discard(self.lane);
    }
}

impl fmt::Debug for ThreadLogger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadLogger").field("lane", &self.pen.index()).finish_non_exhaustive()
    }
}

impl Drop for ThreadLogger<'_> {
    fn drop(&mut self) {
        self.lane.give_back();
    }
}
