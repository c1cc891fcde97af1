//! The mixer: all tracks, and one period of sound after the other.
//!
//! ```text
//! track       the mixer's side of one: what is read from its control block, and what is told there
//!   life      what it is doing, and what may be asked of it
//!   source    a ring, or a sound that is whole
//!   voice     to two channels at the mixer's rate
//! sum         all of them, as integers
//! ```
//!
//! It knows no clock and no processes: who runs it says when ([`Server`](crate::Server)).

mod life;
mod source;
mod sum;
#[cfg(test)]
mod tests;
mod track;
mod voice;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

pub use self::sum::Sum;
pub use self::voice::Voice;

use self::life::Refusal;
pub(crate) use self::track::Track;
use crate::shared::ControlBlock;
use crate::time::Histogram;
use crate::{Error, Result};

/// Tracks at a time.
const MOST_TRACKS: usize = 256;
/// Tracks of one process.
const MOST_TRACKS_OF_ONE: usize = 64;
/// Bytes of all tracks.
const MOST_BYTES: u64 = 512 << 20;

/// What says when a period is mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time: one period in each period. Tracks that are late miss it.
    RealTime,
    /// The output: as fast as it takes sound, as a sound card does.
    Output,
    /// The clients: as soon as each track has its period, so nothing depends on time. One that brings nothing for too long is not
    /// waited for any longer: [`MixerOptions::patience`].
    Offline,
}

/// How a mixer is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixerOptions {
    /// Frames per second, from 8,000 to 192,000.
    pub rate: u32,
    /// Frames that are mixed at a time, from 16 to 16,384.
    pub period: usize,
    /// When.
    pub clock: Clock,
    /// Whether it waits for [`AudioFlinger::restore_output`](crate::AudioFlinger::restore_output) before it mixes anything, so that
    /// several tracks can start with the same frame.
    pub suspended: bool,
    /// How long [`Clock::Offline`] waits for a client that brings nothing. The time in which the mixer itself is stopped or suspended
    /// does not count.
    pub patience: Duration,
}

impl Default for MixerOptions {
    /// 48,000 frames a second, 192 of them at a time (4 ms), in real time; ten seconds of patience.
    fn default() -> MixerOptions {
        let (clock, patience) = (Clock::RealTime, Duration::from_secs(10));
        MixerOptions { rate: 48_000, period: 192, clock, suspended: false, patience }
    }
}

impl MixerOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if !(8_000..=192_000).contains(&self.rate) {
            return Err(Error::InvalidMixer { reason: "it has from 8,000 to 192,000 frames a second" });
        }
        if !(16..=16_384).contains(&self.period) {
            return Err(Error::InvalidMixer { reason: "a period has from 16 to 16,384 frames" });
        }
        Ok(())
    }

    /// How long a period is.
    #[must_use]
    pub fn period_time(&self) -> Duration {
        Duration::from_nanos(self.period as u64 * 1_000_000_000 / u64::from(self.rate.max(1)))
    }
}

/// What a mixer has done.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Periods that were mixed.
    pub periods: u64,
    /// Tracks that there were.
    pub tracks: u64,
    /// Tracks that were ended for what they wrote into their control blocks.
    pub broken: u64,
    /// Periods in which a track had less sound than it should, over all tracks.
    pub underruns: u64,
    /// Frames that were missing then.
    pub underrun_frames: u64,
    /// Periods that the mixer itself finished too late.
    pub late_periods: u64,
    /// What mixing a period took, in nanoseconds.
    pub mixing: Histogram,
}

/// What is asked of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Start,
    Pause,
    Flush,
    Stop,
}

pub(crate) struct Mixer {
    options: MixerOptions,
    tracks: BTreeMap<u64, Track>,
    next: u64,
    sum: Sum,
    rendered: Vec<f32>,
    output: Vec<i16>,
    report: Report,
}

/// A track that the offline clock waits for.
pub(crate) struct Awaited {
    pub(crate) track: u64,
    pub(crate) block: Arc<ControlBlock>,
    /// The client's position from which on it goes on.
    pub(crate) position: u64,
}

impl Mixer {
    pub(crate) fn new(options: MixerOptions) -> Mixer {
        Mixer {
            options,
            tracks: BTreeMap::new(),
            next: 1,
            sum: Sum::new(options.period),
            rendered: vec![0.0; 2 * options.period],
            output: vec![0; 2 * options.period],
            report: Report::default(),
        }
    }

    /// Takes up a track that was made for this mixer.
    pub(crate) fn add(&mut self, track: Track, descriptor: OwnedFd) -> Result<(u64, OwnedFd), Refusal> {
        let bytes: u64 = self.tracks.values().map(|track| track.block().size()).sum();
        if self.tracks.len() >= MOST_TRACKS {
            return Err("it has 256 tracks already");
        }
        if self.tracks.values().filter(|other| other.owner == track.owner).count() >= MOST_TRACKS_OF_ONE {
            return Err("it has 64 tracks of this process already");
        }
        if bytes + track.block().size() > MOST_BYTES {
            return Err("its tracks have 512 MiB already");
        }
        let id = self.next;
        self.next += 1;
        self.tracks.insert(id, track);
        self.report.tracks += 1;
        Ok((id, descriptor))
    }

    pub(crate) fn command(&mut self, id: u64, command: Command) -> Result<(), Refusal> {
        let track = self.tracks.get_mut(&id).ok_or("there is no such track")?;
        match command {
            Command::Start => track.start(),
            Command::Pause => track.pause(),
            Command::Flush => track.flush(),
            Command::Stop => track.stop(),
        }
    }

    /// The client of a track is gone. The track plays what is there.
    pub(crate) fn release(&mut self, id: u64) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.release();
        }
        self.remove_gone();
    }

    /// No more sound is waited for.
    pub(crate) fn finish(&mut self) {
        self.tracks.values_mut().for_each(Track::finish);
    }

    /// Whether there is anything to mix.
    pub(crate) fn is_heard(&self) -> bool {
        self.tracks.values().any(|track| track.life().is_heard())
    }

    pub(crate) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// The first track that has not got what it needs for the next period, if it is to be waited for.
    pub(crate) fn awaited(&mut self) -> Option<Awaited> {
        self.tracks.iter_mut().find_map(|(&id, track)| {
            let position = track.lacks().filter(|_| !track.is_late)?;
            Some(Awaited { track: id, block: Arc::clone(track.block()), position })
        })
    }

    /// Does not wait for this track any longer, until it has brought something.
    pub(crate) fn lose_patience(&mut self, id: u64) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.is_late = true;
        }
    }

    /// The next period, left and right in turns.
    pub(crate) fn mix(&mut self) -> &[i16] {
        self.sum.clear();
        for track in self.tracks.values_mut() {
            track.mix(&mut self.sum, &mut self.rendered);
        }
        self.sum.write(&mut self.output);
        self.report.periods += 1;
        &self.output
    }

    /// Tells all clients, and wakes those that wait: what was mixed is due at the output at `time`. Only now, so that they do not get
    /// in the way of the mixing.
    pub(crate) fn publish(&mut self, time: u64) {
        self.tracks.values_mut().for_each(|track| track.publish(time));
        self.remove_gone();
    }

    fn remove_gone(&mut self) {
        let Mixer { tracks, report, .. } = self;
        tracks.retain(|_, track| {
            let is_gone = track.life().is_gone();
            if is_gone {
                count(report, track);
            }
            !is_gone
        });
    }

    pub(crate) fn options(&self) -> &MixerOptions {
        &self.options
    }

    pub(crate) fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// With the tracks that are still there.
    pub(crate) fn report(&self) -> Report {
        let mut report = self.report.clone();
        self.tracks.values().for_each(|track| count(&mut report, track));
        report
    }
}

fn count(report: &mut Report, track: &Track) {
    report.underruns += track.underruns.0;
    report.underrun_frames += track.underruns.1;
    report.broken += u64::from(matches!(track.life().state(), crate::State::Broken(_)));
}
