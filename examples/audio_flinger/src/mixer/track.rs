//! The mixer's side of a track. What comes from the control block is read once, checked, and may end the track, never the mixer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::life::{Life, Refusal};
use super::source::Source;
use super::sum::Sum;
use super::voice::Voice;
use crate::shared::positions::Side;
use crate::shared::{ControlBlock, State, Timestamp};
use crate::{Error, Fault, Mode, Result, TrackOptions};

pub(crate) struct Track {
    /// The process that asked for it, as the kernel says.
    pub(super) owner: i32,
    block: Arc<ControlBlock>,
    life: Life,
    /// The state that the control block has.
    said: State,
    source: Source,
    voice: Voice,
    /// It was started, and waits for its ring to be full enough.
    is_filling: bool,
    /// The offline clock has lost patience with it.
    pub(super) is_late: bool,
    /// Volumes at the end of the last period, if it was heard then.
    volumes: Option<[f32; 2]>,
    samples: Vec<f32>,
    /// Positions before and after the period that was mixed last, until they are published.
    moved: Option<(u64, u64)>,
    /// Periods in which frames were missing, and how many frames.
    pub(super) underruns: (u64, u64),
    underruns_said: u64,
    timestamps: u64,
    /// Nanoseconds that sound takes on its way through the filter.
    delay: u64,
}

impl Track {
    /// A new one, and what the client gets.
    pub(crate) fn new(
        options: &TrackOptions,
        owner: i32,
        rate: u32,
        period: usize,
    ) -> Result<(Track, OwnedFd)> {
        options.check()?;
        let voice = Voice::new(options.rate, options.channels as usize, rate, period)?;
        let samples = vec![0.0; voice.wanted_at_most() * options.channels as usize];
        let delay = voice.delay() as u64 * 1_000_000_000 / u64::from(rate.max(1));
        let least = 2 * voice.wanted_at_most() as u64;
        let frames = match (options.mode, options.frames) {
            (Mode::Static, frames) => frames,
            (Mode::Streaming, 0) => u64::from(options.rate / 10).max(least),
            (Mode::Streaming, frames) => frames.max(least),
        };
        let (block, descriptor) =
            ControlBlock::create(options.channels.into(), frames).map_err(Error::memory("create track"))?;
        block.set_volumes([1.0; 2]).map_err(Error::memory("create track"))?;
        let track = Track {
            owner,
            block: Arc::new(block),
            life: Life::new(),
            said: State::Stopped,
            source: Source::new(options.mode, frames),
            voice,
            is_filling: false,
            is_late: false,
            volumes: None,
            samples,
            moved: None,
            underruns: (0, 0),
            underruns_said: 0,
            timestamps: 0,
            delay,
        };
        Ok((track, descriptor))
    }

    pub(crate) fn block(&self) -> &Arc<ControlBlock> {
        &self.block
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn start(&mut self) -> Result<(), Refusal> {
        if self.life.start()? {
            self.is_filling = true;
            if let Err(fault) = self.source.begin(&self.block) {
                self.break_down(fault);
            }
        }
        self.say();
        Ok(())
    }

    pub(crate) fn pause(&mut self) -> Result<(), Refusal> {
        self.life.pause()?;
        self.say();
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Result<(), Refusal> {
        if self.life.stop()? {
            self.discard();
        }
        self.say();
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Refusal> {
        self.life.flush()?;
        self.discard();
        self.say();
        Ok(())
    }

    /// The client has dropped it, or has died.
    pub(crate) fn release(&mut self) {
        self.life.release();
        self.say();
    }

    /// No more is waited for: the mixer ends.
    pub(crate) fn finish(&mut self) {
        if self.life.state() == State::Active {
            // Cannot be refused while it is active.
            let _ = self.life.stop();
            self.say();
        }
    }

    fn discard(&mut self) {
        self.voice.reset();
        self.volumes = None;
        match self.source.discard(&self.block) {
            Ok(position) => self.with_block(|block| block.commit(Side::Mixer, position)),
            Err(fault) => self.break_down(fault),
        }
    }

    /// Frames that it has to have before it can go on, where it has to wait for them at all.
    pub(crate) fn lacks(&mut self) -> Option<u64> {
        if self.life.state() != State::Active {
            return None;
        }
        let wanted = if self.is_filling { self.full() } else { self.voice.wanted() as u64 };
        match self.source.see(&self.block) {
            Ok(available) if available < wanted && !self.source.is_whole(&self.block) => {
                Some(self.source.position().0.wrapping_add(wanted))
            }
            Ok(_) => {
                self.is_late = false;
                None
            }
            Err(fault) => {
                self.break_down(fault);
                self.say();
                None
            }
        }
    }

    /// Two periods, or all that there is room for.
    fn full(&self) -> u64 {
        self.block.frames().min(2 * self.voice.wanted_at_most() as u64)
    }

    /// Adds the next period to the sum.
    pub(crate) fn mix(&mut self, sum: &mut Sum, output: &mut [f32]) {
        if self.life.is_heard()
            && let Err(fault) = self.try_mix(sum, output)
        {
            self.break_down(fault);
        }
    }

    fn try_mix(&mut self, sum: &mut Sum, output: &mut [f32]) -> Result<(), Fault> {
        let wanted = self.voice.wanted() as u64;
        let available = self.source.see(&self.block)?;
        let is_ending = self.life.state() == State::Stopping || self.source.is_whole(&self.block);
        if self.is_filling && !is_ending && available < self.full() {
            return Ok(());
        }
        self.is_filling = false;
        let frames = available.min(wanted);
        if frames < wanted && !is_ending {
            self.underruns.0 += 1;
            self.underruns.1 += wanted - frames;
        }
        let (position, place) = self.source.position();
        // No truncation, and inside: at most what the voice wants at most.
        let samples = &mut self.samples[..(frames * self.block.channels()) as usize];
        self.block.read(place, samples).map_err(|_| Fault::Unreadable)?;
        let volumes = self.block.volumes().map_err(|_| Fault::Unreadable)?.map(sane_volume);
        self.voice.render(samples, output).map_err(|_| Fault::Unreadable)?;
        sum.add(output, self.volumes.unwrap_or(volumes), volumes);
        self.volumes = Some(volumes);
        let moved = self.source.advance(frames);
        if frames > 0 {
            self.moved = Some((position, moved));
        }
        if frames < wanted && is_ending && self.voice.is_drained() {
            self.voice.reset();
            self.volumes = None;
            self.life.drained();
        }
        Ok(())
    }

    /// Tells the client how far the mixer is, and that what was mixed last is due at the output at `time`.
    pub(crate) fn publish(&mut self, time: u64) {
        self.say();
        if self.underruns.0 != self.underruns_said {
            self.underruns_said = self.underruns.0;
            self.with_block(|block| block.set_underruns(self.underruns.0, self.underruns.1));
        }
        if let Some((from, to)) = self.moved.take() {
            let timestamp = Timestamp { position: from, nanoseconds: time.saturating_add(self.delay) };
            let timestamps = self.timestamps;
            self.timestamps = timestamps.wrapping_add(1);
            self.with_block(|block| {
                block.timestamp()?.write(timestamps, timestamp);
                block.commit(Side::Mixer, to)
            });
        }
    }

    fn break_down(&mut self, fault: Fault) {
        self.moved = None;
        self.life.broken(fault);
    }

    /// Writes the state into the control block if it is a new one, and wakes a client that waits for it.
    fn say(&mut self) {
        let state = self.life.state();
        if state == self.said {
            return;
        }
        self.said = state;
        self.with_block(|block| {
            block.set_state(state)?;
            block.ring(Side::Mixer)?;
            // The mixer itself may wait for a track that was just stopped.
            block.ring_own(Side::Mixer)
        });
    }

    /// The words are inside of the mapping and it is writable, so this cannot fail; if it did, the client would only hear nothing.
    fn with_block(&self, action: impl FnOnce(&ControlBlock) -> ashmem::Result<()>) {
        let _ = action(&self.block);
    }
}

/// From silence to full volume; what is no number is silence.
fn sane_volume(volume: f32) -> f32 {
    if volume.is_nan() { 0.0 } else { volume.clamp(0.0, 1.0) }
}
