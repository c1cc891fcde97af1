//! The logger behind the macros of the `log` crate.

use std::time::Duration;

use super::Logger;
use crate::Level;

/// Longest wait for the collector of [`log::Log::flush`].
const FLUSH: Duration = Duration::from_secs(1);

/// The target of a record is its tag. `trace!` is [`Level::Verbose`].
impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Trace => Level::Verbose,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        // What was not taken has been counted.
        self.log_fmt(level, record.target(), *record.args());
    }

    fn flush(&self) {
        // The method of that name with a time, not this one.
        let _ = Logger::flush(self, FLUSH);
    }
}
