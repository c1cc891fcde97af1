//! The client's side of a track.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ashmem_binder::rsbinder::Strong;

use crate::client::Death;
use crate::interface::IAudioTrack;
use crate::mixer::Command;
use crate::shared::positions::{Cursor, Side};
use crate::shared::{ControlBlock, State, Timestamp};
use crate::{Error, Mode, Result, TrackOptions};

/// How long anything is slept for at most; then the mixer is looked at again.
const NAP: Duration = Duration::from_millis(100);

/// A track of the mixer, as `android.media.AudioTrack` is one.
///
/// Samples are 32-bit floats from -1 to 1, the channels in turns. Writing and the volume go through shared memory alone; starting,
/// pausing, flushing and stopping are calls. Dropping it releases the track, which plays what was written if it was started, and so
/// does the death of its process.
///
/// ```no_run
/// # let services = ashmem_binder::ServiceManager::new()?;
/// use audio_flinger::{AudioFlinger, TrackOptions};
///
/// let flinger = AudioFlinger::connect(&services)?;
/// // A sound that is there as a whole can be played again and again.
/// let mut click = flinger.create_track(&TrackOptions::of_static(48_000, 1, 480))?;
/// click.write(&[0.5; 480])?;
/// click.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AudioTrack {
    track: Strong<dyn IAudioTrack>,
    block: Arc<ControlBlock>,
    cursor: Cursor,
    channels: usize,
    mode: Mode,
    death: Arc<Death>,
}

impl AudioTrack {
    pub(crate) fn new(
        track: Strong<dyn IAudioTrack>,
        block: Arc<ControlBlock>,
        options: &TrackOptions,
        death: Arc<Death>,
    ) -> AudioTrack {
        let cursor = Cursor::new(Side::Client, block.frames());
        AudioTrack { track, block, cursor, channels: options.channels as usize, mode: options.mode, death }
    }

    /// Frames that the track has room for.
    #[must_use]
    pub fn buffer_size(&self) -> u64 {
        self.block.frames()
    }

    /// Frames written so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Begins to play, or goes on. A static track begins with its first frame, a streaming one as soon as two of the mixer's periods
    /// are written.
    ///
    /// # Errors
    /// [`Error::Refused`] when the track is broken; [`Error::MixerDied`].
    pub fn start(&self) -> Result<()> {
        const OPERATION: &str = "start track";
        self.block.set_end(None).map_err(Error::memory(OPERATION))?;
        self.command(OPERATION, Command::Start)
    }

    /// Falls silent, and keeps its place.
    ///
    /// # Errors
    /// As [`AudioTrack::start`].
    pub fn pause(&self) -> Result<()> {
        self.command("pause track", Command::Pause)
    }

    /// Discards what was written and not played, or brings a static track back to its beginning. Not while it plays.
    ///
    /// # Errors
    /// As [`AudioTrack::start`], also while it plays.
    pub fn flush(&self) -> Result<()> {
        self.command("flush track", Command::Flush)
    }

    /// Ends when what was written has been played. A paused one ends at once.
    ///
    /// # Errors
    /// As [`AudioTrack::start`].
    pub fn stop(&self) -> Result<()> {
        const OPERATION: &str = "stop track";
        // The call may come when all has been played.
        self.block.set_end(Some(self.cursor.position())).map_err(Error::memory(OPERATION))?;
        self.command(OPERATION, Command::Stop)
    }

    fn command(&self, operation: &'static str, command: Command) -> Result<()> {
        self.track.command(command).map_err(Error::call(operation))
    }

    /// Left and right, from 0 to 1. The mixer goes there in the course of its next period.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn set_volume(&self, left: f32, right: f32) -> Result<()> {
        self.block.set_volumes([left, right]).map_err(Error::memory("set volume"))
    }

    /// Writes all of the samples, and waits for room as long as that takes: for ever, if the track does not play.
    ///
    /// # Errors
    /// Those of [`AudioTrack::try_write`].
    pub fn write(&mut self, samples: &[f32]) -> Result<()> {
        self.write_within(samples, None).map(drop)
    }

    /// Waits until there is room for a frame at least, and says for how many there is: 0 when that took longer than the timeout.
    ///
    /// # Errors
    /// Those of [`AudioTrack::try_write`].
    pub fn wait_for_room(&mut self, timeout: Option<Duration>) -> Result<u64> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.try_write(&[])?;
            let left = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()).min(NAP));
            if self.cursor.available() > 0 || left.is_zero() || self.mode == Mode::Static {
                return Ok(self.cursor.available());
            }
            let mut cursor = self.cursor;
            self.nap(left, |theirs| cursor.see(theirs) == Ok(0))?;
        }
    }

    /// Writes samples and waits for room until the timeout is over; says how many were written.
    ///
    /// # Errors
    /// Those of [`AudioTrack::try_write`].
    pub fn write_within(&mut self, samples: &[f32], timeout: Option<Duration>) -> Result<usize> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut written = 0;
        loop {
            written += self.try_write(&samples[written..])?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let is_all = samples.len() - written < self.channels || self.mode == Mode::Static;
            if is_all || self.wait_for_room(left)? == 0 {
                return Ok(written);
            }
        }
    }

    /// Writes as many samples as there is room for, in whole frames, and says how many. A static track takes them once; what it has no
    /// room for is not written.
    ///
    /// # Errors
    /// [`Error::TrackBroken`], [`Error::MixerDied`]; [`Error::Garbage`] when the mixer's position makes no sense; [`Error::Memory`].
    pub fn try_write(&mut self, samples: &[f32]) -> Result<usize> {
        const OPERATION: &str = "write to track";
        let memory = Error::memory(OPERATION);
        self.check(OPERATION)?;
        let room = match self.mode {
            Mode::Static => self.cursor.available(),
            Mode::Streaming => {
                let theirs = self.block.pair(Side::Client).map_err(&memory)?.their_position();
                self.cursor.see(theirs).map_err(|_| Error::Garbage {
                    operation: OPERATION,
                    reason: "its position is out of range, or went back",
                })?
            }
        };
        let frames = room.min((samples.len() / self.channels) as u64);
        // No truncation: at most the length of `samples`.
        let count = frames as usize * self.channels;
        if frames > 0 {
            self.block.write(self.cursor.place().0, &samples[..count]).map_err(&memory)?;
            self.block.commit(Side::Client, self.cursor.advance(frames)).map_err(&memory)?;
        }
        Ok(count)
    }

    /// What the track is doing.
    ///
    /// # Errors
    /// [`Error::Garbage`], [`Error::Memory`].
    pub fn state(&self) -> Result<State> {
        const OPERATION: &str = "look at track";
        let state = self.block.state().map_err(Error::memory(OPERATION))?;
        state.ok_or(Error::Garbage { operation: OPERATION, reason: "there is no such state" })
    }

    /// Waits until the track makes no sound any more; false when that took longer than the timeout.
    ///
    /// # Errors
    /// [`Error::TrackBroken`], [`Error::MixerDied`], [`Error::Garbage`], [`Error::Memory`].
    pub fn wait_until_stopped(&self, timeout: Duration) -> Result<bool> {
        let until = Instant::now().checked_add(timeout);
        loop {
            // The mixer's word first: it may have died when all was played.
            if self.state()? == State::Stopped {
                return Ok(true);
            }
            self.check("wait for track")?;
            let left = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()).min(NAP));
            if left.is_zero() {
                return Ok(false);
            }
            self.nap(left, |_| !matches!(self.block.state(), Ok(Some(State::Stopped))))?;
        }
    }

    /// Periods in which the track had less sound than it should (`getUnderrunCount`), and the frames that were missing.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn underruns(&self) -> Result<(u64, u64)> {
        self.block.underruns().map_err(Error::memory("count underruns"))
    }

    /// Which frame is due at the output when, as of the period that was mixed last; none before the first.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn timestamp(&self) -> Result<Option<Timestamp>> {
        Ok(self.block.timestamp().map_err(Error::memory("read timestamp"))?.read())
    }

    fn nap(&self, most: Duration, is_idle: impl FnOnce(u64) -> bool) -> Result<()> {
        self.block
            .nap(Side::Client, most, |theirs| is_idle(theirs) && !self.death.is_dead())
            .map_err(Error::memory("wait for mixer"))
    }

    /// Whether anybody still reads what is written.
    fn check(&self, operation: &'static str) -> Result<()> {
        if let Ok(State::Broken(fault)) = self.state() {
            return Err(Error::TrackBroken { operation, fault });
        }
        if self.death.is_dead() { Err(Error::MixerDied { operation }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use ashmem_binder::rsbinder::{BinderResult, Interface};
    use proptest::prelude::*;

    use super::*;
    use crate::interface::{BnAudioTrack, as_track};

    struct Nobody;

    impl Interface for Nobody {}

    impl IAudioTrack for Nobody {
        fn command(&self, _: Command) -> BinderResult<()> {
            Ok(())
        }
    }

    fn track(mode: Mode) -> AudioTrack {
        let (_, descriptor) = ControlBlock::create(2, 50).unwrap();
        let block = ControlBlock::open(descriptor, 2, 50).unwrap().unwrap();
        let binder = as_track(BnAudioTrack::new_binder(Nobody).as_binder()).unwrap();
        let options = TrackOptions { rate: 48_000, channels: 2, mode, frames: 50 };
        AudioTrack::new(binder, Arc::new(block), &options, Arc::default())
    }

    #[test]
    fn what_fits_is_written_in_whole_frames() {
        let mut track = track(Mode::Streaming);
        assert_eq!(track.try_write(&[0.5; 21]).unwrap(), 20);
        let at_once = Some(Duration::ZERO);
        assert_eq!(track.write_within(&[0.5; 99], at_once).unwrap(), 80);
        assert_eq!((track.position(), track.wait_for_room(at_once).unwrap()), (50, 0));
        track.block.commit(Side::Mixer, 10).unwrap();
        assert_eq!(track.wait_for_room(None).unwrap(), 10);
        assert_eq!(track.timestamp().unwrap(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// A mixer that writes what it likes: every call comes back.
        #[test]
        fn hostile_mixers_get_errors(
            is_static: bool,
            acts in prop::collection::vec((0..32u64, prop_oneof![any::<u64>(), 0..60u64], 0..120usize), 1..40),
        ) {
            let mut track = track(if is_static { Mode::Static } else { Mode::Streaming });
            let at_once = Duration::ZERO;
            for (word, value, samples) in acts {
                track.block.mapping().atomic_u64(word * 8).unwrap().store(value, Ordering::SeqCst);
                if let Ok(written) = track.try_write(&vec![0.1; samples]) {
                    prop_assert!(written <= samples && written % 2 == 0);
                }
                let _ = track.write_within(&[0.0; 8], Some(at_once));
                let _ = track.wait_for_room(Some(at_once));
                let _ = track.wait_until_stopped(at_once);
                let _ = (track.state(), track.timestamp(), track.underruns());
            }
        }
    }
}
