//! The app's side.

mod connection;
mod facade;
mod inner;
mod pen;
mod seat;
mod thread_logger;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::connection::Connection;
use self::inner::Inner;
pub use self::thread_logger::ThreadLogger;
use crate::shared::Shared;
use crate::{Clock, Level, Result};

/// What a record meets that finds its thread's lane full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost, and counted; the log says how many were. The app never waits.
    #[default]
    Drop,
    /// It waits for room so long at most, and is lost then. Records behind a lost one do not wait before there was room again, so an
    /// app without a collector waits once.
    Wait(Duration),
}

/// Writes records into shared memory, from any thread, without locks or system calls; a collector puts them into files.
///
/// A record that [`Logger::log`] has said it took is not lost when this process is killed a moment later: the memory is the
/// collector's, too. Where there is no collector, records wait in memory for one, and are lost with this process only if
/// none comes before it ends.
///
/// Each thread writes in a lane of its own, which it takes at its first record and gives back when it ends. A child of `fork(2)` must
/// not use a logger that it inherits: the lanes are its parent's. Dropping the logger ends the connection; the collector still reads what is there.
///
/// Stands for `liblog` (`__android_log_write`). It is a [`log::Log`], too, whose targets are the tags.
///
/// ```
/// use log_collector::{Collector, Level, LogReader, Logger, Query};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let logger = Logger::connect(directory.path())?;
/// assert!(logger.log(Level::Info, "main", "here I am"));
/// logger.log_fmt(Level::Warn, "main", format_args!("{} is a large number", 1_u64 << 40));
///
/// // In another process: `log_collector collect DIRECTORY`.
/// let mut collector = Collector::options().open(directory.path())?;
/// while !logger.flush(std::time::Duration::ZERO) {
///     collector.step()?;
/// }
///
/// let mut reader = LogReader::open(directory.path(), Query::default())?;
/// let records = reader.next_records()?.expect("a frame");
/// assert_eq!(records[0].message, b"here I am");
/// assert_eq!((records[1].level, &records[1].tag[..]), (Level::Warn, &b"main"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Logger {
    inner: Arc<Inner>,
    /// Ended by being dropped.
    _connection: Connection,
}

impl Logger {
    /// A logger with the usual options: see [`LoggerOptions`].
    ///
    /// # Errors
    /// As [`LoggerOptions::connect`].
    pub fn connect(directory: impl AsRef<Path>) -> Result<Logger> {
        Logger::options().connect(directory)
    }

    /// Options for a logger.
    #[must_use]
    pub fn options() -> LoggerOptions {
        LoggerOptions::default()
    }

    /// Logs a record, and says whether it was taken; if not, it was counted as lost.
    ///
    /// Tags longer than [`TAG_MAX`](crate::TAG_MAX) and messages longer than [`MESSAGE_MAX`](crate::MESSAGE_MAX) are cut.
    #[inline]
    pub fn log(&self, level: Level, tag: &str, message: &str) -> bool {
        seat::log(&self.inner, level, tag.as_bytes(), message.as_bytes())
    }

    /// [`Logger::log`] for bytes that need not be text.
    #[inline]
    pub fn log_bytes(&self, level: Level, tag: &[u8], message: &[u8]) -> bool {
        seat::log(&self.inner, level, tag, message)
    }

    /// [`Logger::log`] for a message that is to be formatted.
    pub fn log_fmt(&self, level: Level, tag: &str, message: fmt::Arguments<'_>) -> bool {
        match message.as_str() {
            Some(message) => self.log(level, tag, message),
            None => seat::format(message, |message| self.log(level, tag, message)),
        }
    }

    /// A lane for the calling thread alone, which makes logging cheaper still; `None` when all are taken. It is another one than that
    /// which [`Logger::log`] uses.
    #[must_use]
    pub fn for_thread(&self) -> Option<ThreadLogger<'_>> {
        ThreadLogger::new(&self.inner)
    }

    /// Waits until everything that was logged so far is in a file; false when that took longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        self.inner.ring();
        while !self.inner.is_empty() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Records that found no room, or no lane, since the logger was made.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lost()
    }

    /// Whether a collector has the region.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// For benchmarks, without a collector: lets go of what is in the calling thread's lane.
    #[doc(hidden)]
    pub fn discard(&self) {
        seat::discard(&self.inner);
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("is_connected", &self.is_connected()).finish_non_exhaustive()
    }
}

/// How a [`Logger`] is made.
#[derive(Clone, Debug)]
pub struct LoggerOptions {
    lanes: usize,
    lane_size: u64,
    when_full: WhenFull,
    clock: Clock,
}

impl Default for LoggerOptions {
    fn default() -> LoggerOptions {
        LoggerOptions {
            lanes: 64,
            lane_size: 1 << 20,
            when_full: WhenFull::default(),
            clock: Clock::default(),
        }
    }
}

impl LoggerOptions {
    /// How many threads can log at a time, 64 unless it is said, 256 at most. Records of further ones are lost, and counted.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> LoggerOptions {
        self.lanes = lanes;
        self
    }

    /// Bytes of each thread's lane: a power of two from 64 KiB, and 1 MiB unless it is said; 1 GiB at most for all lanes. Memory is
    /// used when it is written to.
    #[must_use]
    pub fn lane_size(mut self, bytes: u64) -> LoggerOptions {
        self.lane_size = bytes;
        self
    }

    /// What happens when a lane is full.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> LoggerOptions {
        self.when_full = when_full;
        self
    }

    /// Where times come from.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> LoggerOptions {
        self.clock = clock;
        self
    }

    /// Makes the region, and hands it to the collector of the directory: now, if there is one, else when one comes. A thread of the logger's
    /// sees to that, and does so again when the collector is gone.
    ///
    /// # Errors
    /// [`Error::Options`](crate::Error::Options) for sizes that are not possible; [`Error::Region`](crate::Error::Region),
    /// [`Error::System`](crate::Error::System) where there are no descriptors, memory or threads.
    pub fn connect(self, directory: impl AsRef<Path>) -> Result<Logger> {
        let shared = Shared::create(self.lanes, self.lane_size)?;
        let inner = Arc::new(Inner::new(shared, self.when_full, self.clock)?);
        let directory: PathBuf = directory.as_ref().to_owned();
        Ok(Logger { _connection: Connection::start(directory, Arc::clone(&inner))?, inner })
    }
}
