//! How a collector works.

use std::path::Path;
use std::time::Duration;

use super::Collector;
use super::acceptor::Acceptor;
use crate::files::{Store, Storing};
use crate::{Error, Result, socket};

/// How a [`Collector`] works.
#[derive(Clone, Copy, Debug)]
pub struct CollectorOptions {
    interval: Duration,
    storing: Storing,
}

impl Default for CollectorOptions {
    fn default() -> CollectorOptions {
        let storing = Storing { segment_size: 16 << 20, segments: 64, compression: 1, is_synchronous: false };
        CollectorOptions { interval: Duration::from_millis(100), storing }
    }
}

impl CollectorOptions {
    /// How often to look for records, 100 ms unless it is said; sooner when a lane fills up. Longer ones make larger frames, which compress
    /// better.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> CollectorOptions {
        self.interval = interval;
        self
    }

    /// Bytes of a segment, 16 MiB unless it is said. It ends with the frame that reaches them.
    #[must_use]
    pub fn segment_size(mut self, bytes: u64) -> CollectorOptions {
        self.storing.segment_size = bytes;
        self
    }

    /// How many segments are kept, 64 unless it is said, and one at least; the oldest is removed when there would be one more.
    #[must_use]
    pub fn segments(mut self, segments: usize) -> CollectorOptions {
        self.storing.segments = segments;
        self
    }

    /// zstd's level, 1 unless it is said: from 1, which is fast, to 19.
    #[must_use]
    pub fn compression(mut self, level: i32) -> CollectorOptions {
        self.storing.compression = level.clamp(1, 19);
        self
    }

    /// Whether each write waits until it is on the disk (`fdatasync(2)`), so that it survives a loss of power as well. Without it, it survives
    /// the death of every process.
    #[must_use]
    pub fn synchronous(mut self, is_synchronous: bool) -> CollectorOptions {
        self.storing.is_synchronous = is_synchronous;
        self
    }

    /// Opens the log of a directory, which is made if there is none, repairs what a killed collector has left, and listens for apps.
    ///
    /// # Errors
    /// [`Error::InUse`] when another collector has it; [`Error::File`], [`Error::System`].
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Collector> {
        let directory = directory.as_ref();
        let store = Store::open(directory, self.storing)?;
        let listener = socket::listen(directory).map_err(Error::system("listen for apps"))?;
        Ok(Collector::start(store, Acceptor::start(listener)?, self.interval))
    }
}
