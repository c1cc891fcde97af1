//! What composing took.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Traffic;
use super::layer::Layer;
use crate::service;

/// Times of frames that are kept for the median.
const MOST_TIMES: usize = 100_000;

/// What a compositor did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Frames that were composed.
    pub frames: u64,
    /// From the first one to the last one.
    pub seconds: f64,
    /// Frames in a second, of all but the first.
    pub frames_per_second: f64,
    /// Median of the processor time that composing a frame took, in milliseconds.
    pub compose_milliseconds: f64,
    /// Bytes that went from here to there.
    pub bytes: Bytes,
    #[serde(skip)]
    times: Vec<Duration>,
    #[serde(skip)]
    first: Option<Instant>,
    #[serde(skip)]
    last: Option<Instant>,
}

/// Bytes that went from here to there.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Bytes {
    /// Pixels that the compositor read where the producers had drawn them.
    pub read_from_windows: u64,
    /// Pixels that it wrote to the screen.
    pub written_to_screen: u64,
    /// Through Binder before the first frame: windows were made.
    pub binder_before: u64,
    /// Through Binder since then.
    pub binder_while_composing: u64,
    /// Through `read(2)` and `write(2)` and the like of this process since then, as the kernel counts them.
    pub system_calls_while_composing: u64,
    #[serde(skip)]
    system_calls_before: u64,
}

/// A window as it was composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownWindow {
    /// Its number.
    pub window: u32,
    /// The number of its frame.
    pub frame: u64,
    /// Where it was.
    pub x: i32,
    /// Where it was.
    pub y: i32,
    /// What was in front of what.
    pub z: i32,
    /// 255 is all there.
    pub alpha: u8,
    /// Whether the alpha of its pixels counted as 255.
    pub is_opaque: bool,
}

impl ShownWindow {
    pub(super) fn of(layer: &Layer) -> Option<ShownWindow> {
        let at = layer.placement();
        Some(ShownWindow {
            window: layer.id,
            frame: layer.frame()?,
            x: at.x,
            y: at.y,
            z: at.z,
            alpha: at.alpha,
            is_opaque: layer.is_opaque(),
        })
    }
}

impl Report {
    pub(super) fn start(&mut self) {
        self.bytes.binder_before = service::traffic();
        self.bytes.system_calls_before = system_call_bytes();
    }

    pub(super) fn count(&mut self, traffic: Traffic, time: Duration) {
        let now = Instant::now();
        self.frames += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.bytes.read_from_windows += traffic.read;
        self.bytes.written_to_screen += traffic.written;
        if self.times.len() < MOST_TIMES {
            self.times.push(time);
        }
    }

    pub(super) fn finished(mut self) -> Report {
        let span = self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first);
        self.seconds = span.as_secs_f64();
        if !span.is_zero() {
            self.frames_per_second = (self.frames - 1) as f64 / self.seconds;
        }
        self.compose_milliseconds = median(&mut self.times).as_secs_f64() * 1e3;
        if self.frames > 0 {
            self.bytes.binder_while_composing = service::traffic() - self.bytes.binder_before;
            self.bytes.system_calls_while_composing =
                system_call_bytes().saturating_sub(self.bytes.system_calls_before);
        }
        self
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What this process has read and written, as the kernel counts it; 0 where it does not.
#[must_use]
pub(crate) fn system_call_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/io") else { return 0 };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    value("rchar:") + value("wchar:")
}

/// Processor time of this thread so far.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
