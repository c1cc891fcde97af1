//! Ends what takes too long, or is for nobody any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::Result;

/// Instructions of SQLite's machine between two looks: some tens of microseconds.
const INSTRUCTIONS: i32 = 4000;

/// Watches what is done on one connection.
#[derive(Debug)]
pub(super) struct Watchdog {
    start: Instant,
    limit: Duration,
    /// Nanoseconds after the start.
    end: AtomicU64,
    cancelled: AtomicBool,
}

impl Watchdog {
    /// Watches a connection, in the place of whoever watched it before.
    pub(super) fn watch(connection: &Connection, limit: Duration) -> Result<Arc<Watchdog>> {
        let watchdog = Watchdog {
            start: Instant::now(),
            limit,
            end: AtomicU64::new(u64::MAX),
            cancelled: AtomicBool::new(false),
        };
        watchdog.restart();
        let watchdog = Arc::new(watchdog);
        let watching = Arc::clone(&watchdog);
        connection.progress_handler(INSTRUCTIONS, Some(move || watching.bites()))?;
        Ok(watchdog)
    }

    /// Nothing is watched on this connection any more.
    pub(super) fn leave(connection: &Connection) -> Result<()> {
        Ok(connection.progress_handler(0, None::<fn() -> bool>)?)
    }

    /// The time that is allowed begins now.
    pub(super) fn restart(&self) {
        let end = self.start.elapsed().saturating_add(self.limit);
        self.end.store(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends what is done now, and whatever is begun.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn bites(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.start.elapsed().as_nanos() > u128::from(self.end.load(Ordering::Relaxed))
    }
}
