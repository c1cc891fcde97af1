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
    what: &'static str,
    /// 0 when nobody knows.
    total: u64,
    done: u64,
    since: Instant,
    visible: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of `total` bytes, if that is known. Not shown when `allowed` says so.
    pub fn new(what: &'static str, total: Option<u64>, allowed: bool) -> Progress {
        let visible = allowed && io::stderr().is_terminal();
        Progress { what, total: total.unwrap_or(0), done: 0, since: Instant::now(), visible, bar: None }
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.visible {
            return;
        }
        if self.bar.is_none() && self.since.elapsed() >= DELAY {
            self.bar = Some(self.start());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    fn start(&self) -> ProgressBar {
        let (length, template) = if self.total > 0 { (Some(self.total), KNOWN) } else { (None, UNKNOWN) };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr())
            .with_style(style)
            .with_prefix(self.what)
            .with_elapsed(self.since.elapsed())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
