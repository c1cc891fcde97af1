//! What the processes tell each other, as lines of JSON.

use audio_flinger::Report;
use audio_flinger::time::Histogram;
use serde::{Deserialize, Serialize};

/// What a client has played.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Played {
    /// Frames of the track that were written.
    pub frames: u64,
    /// Frames of the track per second.
    pub rate: u32,
    /// Periods in which the track had less sound than it should.
    pub underruns: u64,
    /// Frames that were missing then.
    pub underrun_frames: u64,
    /// Parts of the file that were damaged.
    pub damaged: u64,
    /// From a write to the time of its last frame at the output, in nanoseconds.
    pub latency: Histogram,
}

/// What a mixer has mixed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mixed {
    pub report: Report,
    /// Frames per second.
    pub rate: u32,
    /// Frames of a period.
    pub period: u64,
    /// What is wrong with the output, if anything is.
    pub failure: Option<String>,
}

/// Quantiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub median: f64,
    pub percentile_99: f64,
    pub longest: f64,
}

impl Quantiles {
    /// None where nothing was measured.
    pub fn of(times: &Histogram) -> Option<Quantiles> {
        let at = |share| times.quantile(share).map(|nanoseconds| nanoseconds as f64 / 1e6);
        Some(Quantiles { count: times.len(), median: at(0.5)?, percentile_99: at(0.99)?, longest: at(1.0)? })
    }
}
