//! What a client asks for when it wants a track.

use crate::shared::LARGEST_SAMPLES;
use crate::{Error, Result};

/// Frames per second that tracks can have.
pub(crate) const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// How a track gets its sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through a ring, while it plays (`MODE_STREAM`).
    Streaming,
    /// All of it before it plays; then as often as wanted (`MODE_STATIC`).
    Static,
}

/// What a track is to be like: `AudioTrack.Builder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackOptions {
    /// Frames per second, from 4,000 to 192,000.
    pub rate: u32,
    /// 1 or 2. A single channel is played on both sides.
    pub channels: u32,
    /// Whether it is a ring.
    pub mode: Mode,
    /// Frames of the ring, or of the sound. A ring may get more, as it has to hold two of the mixer's periods; with 0 it gets
    /// a tenth of a second.
    pub frames: u64,
}

impl TrackOptions {
    /// A streaming track with room for a tenth of a second.
    #[must_use]
    pub fn streaming(rate: u32, channels: u32) -> TrackOptions {
        TrackOptions { rate, channels, mode: Mode::Streaming, frames: 0 }
    }

    /// A static track for a sound of so many frames.
    #[must_use]
    pub fn of_static(rate: u32, channels: u32, frames: u64) -> TrackOptions {
        TrackOptions { rate, channels, mode: Mode::Static, frames }
    }

    /// With another number of frames.
    #[must_use]
    pub fn frames(mut self, frames: u64) -> TrackOptions {
        self.frames = frames;
        self
    }

    /// What the mixer can play, or why not.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::InvalidOptions { reason });
        if !RATES.contains(&self.rate) {
            return refuse("a track has from 4,000 to 192,000 frames a second");
        }
        if !(1..=2).contains(&self.channels) {
            return refuse("a track has one or two channels");
        }
        if self.mode == Mode::Static && self.frames == 0 {
            return refuse("a static track has a frame at least");
        }
        if self.frames.saturating_mul(self.channels.into()) > LARGEST_SAMPLES {
            return refuse("a track has at most 16,777,216 samples");
        }
        Ok(())
    }
}
