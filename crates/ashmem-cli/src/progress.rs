//! The progress bar for what takes long.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner is not worth a bar.
const DELAY: Duration = Duration::from_millis(500);

const KNOWN: &str = "{prefix} {bar:24} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
const UNKNOWN: &str = "{prefix} {spinner} {binary_bytes}  {binary_bytes_per_sec}";

/// Bytes that went by, on standard error if that is a terminal. Gone from there when this is.
pub struct Progress {
    /// None where nobody would see it.
    bar: Option<ProgressBar>,
    /// It counts from the start, and is shown from then on.
    show_after: Option<Instant>,
}

impl Progress {
    /// Of `total` bytes, if that is known. Not shown unless `allowed` says so.
    pub fn new(what: &'static str, total: Option<u64>, allowed: bool) -> Progress {
        let bar = (allowed && io::stderr().is_terminal()).then(|| {
            let template = if total.is_some() { KNOWN } else { UNKNOWN };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
            bar.with_style(style).with_prefix(what)
        });
        Progress { bar, show_after: Some(Instant::now() + DELAY) }
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        if self.show_after.is_some_and(|moment| Instant::now() >= moment) {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            self.show_after = None;
        }
        bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
