//! The control block and the samples, over a mapping.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Mapping, Region};
use rustix::thread::futex;
use rustix::time::Timespec;

use super::State;
use super::positions::{Pair, Side, Words};
use super::timestamp::TimestampWords;

const CLIENT_POSITION: u64 = 0;
/// Left and right, 32-bit floats as their bits.
const VOLUMES: u64 = 8;
/// The mixer sleeps at it, the client rings it.
const MIXER_BELL: u64 = 16;
/// The position at which the sound ends, plus one; 0 while it has no end.
const END: u64 = 24;

/// Two cache lines on: processors fetch them in pairs.
const MIXER_POSITION: u64 = 128;
const CLIENT_BELL: u64 = 136;
const STATE: u64 = 140;
const UNDERRUN_FRAMES: u64 = 144;
const UNDERRUNS: u64 = 152;
const TIMESTAMP: u64 = 160;

const SAMPLES: u64 = 256;
const SAMPLE: u64 = size_of::<f32>() as u64;

const _: () = {
    assert!(VOLUMES + 8 <= MIXER_BELL && MIXER_BELL + 4 <= END && END + 8 <= MIXER_POSITION);
    assert!(MIXER_POSITION + 8 <= CLIENT_BELL && CLIENT_BELL + 4 <= STATE && STATE + 4 <= UNDERRUN_FRAMES);
    assert!(UNDERRUNS + 8 <= TIMESTAMP && TIMESTAMP + 24 <= SAMPLES && SAMPLES % SAMPLE == 0);
};

/// Samples of the largest track: 64 MiB of floats.
pub(crate) const LARGEST_SAMPLES: u64 = 16 << 20;

/// A track's region, mapped. Every word and every sample may be anything at any time.
#[derive(Debug)]
pub(crate) struct ControlBlock {
    mapping: Mapping,
    channels: u64,
    frames: u64,
}

impl ControlBlock {
    /// A new region for so many frames, all of it zero, and the descriptor for the client.
    pub(crate) fn create(channels: u64, frames: u64) -> ashmem::Result<(ControlBlock, OwnedFd)> {
        let size = SAMPLES + channels.saturating_mul(frames).min(LARGEST_SAMPLES) * SAMPLE;
        // Sound that is being played is not purged, and nobody seals the mixer out.
        let region = Region::options().never_purgeable().no_further_seals().create("audio track", size)?;
        let block = ControlBlock { mapping: region.map()?, channels, frames };
        Ok((block, region.into_fd()?))
    }

    /// The region that a mixer handed over, if it is as large as it has to be.
    pub(crate) fn open(
        descriptor: OwnedFd,
        channels: u64,
        frames: u64,
    ) -> ashmem::Result<Option<ControlBlock>> {
        let region = Region::from_fd(descriptor)?;
        let samples = channels.checked_mul(frames).filter(|samples| *samples <= LARGEST_SAMPLES);
        match samples {
            Some(samples) if samples > 0 && region.size() >= SAMPLES + samples * SAMPLE => {
                Ok(Some(ControlBlock { mapping: region.map()?, channels, frames }))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn channels(&self) -> u64 {
        self.channels
    }

    /// Bytes of the region.
    pub(crate) fn size(&self) -> u64 {
        self.mapping.len()
    }

    pub(crate) fn pair(&self, side: Side) -> ashmem::Result<Pair<'_>> {
        let client =
            Words { position: self.mapping.atomic_u64(CLIENT_POSITION)?, bell: self.u32(CLIENT_BELL)? };
        let mixer = Words { position: self.mapping.atomic_u64(MIXER_POSITION)?, bell: self.u32(MIXER_BELL)? };
        Ok(match side {
            Side::Client => Pair { mine: client, theirs: mixer },
            Side::Mixer => Pair { mine: mixer, theirs: client },
        })
    }

    /// Moves a side's position, and wakes the other.
    pub(crate) fn commit(&self, side: Side, position: u64) -> ashmem::Result<()> {
        let pair = self.pair(side)?;
        if pair.commit(position) {
            wake(pair.theirs.bell);
        }
        Ok(())
    }

    /// Wakes the other side, if it sleeps.
    pub(crate) fn ring(&self, side: Side) -> ashmem::Result<()> {
        let pair = self.pair(side)?;
        if pair.wake() {
            wake(pair.theirs.bell);
        }
        Ok(())
    }

    /// Wakes whoever of this process sleeps as `side`.
    pub(crate) fn ring_own(&self, side: Side) -> ashmem::Result<()> {
        self.ring(match side {
            Side::Client => Side::Mixer,
            Side::Mixer => Side::Client,
        })
    }

    /// Sleeps while `is_idle` says so of the peer's position, at most so long.
    pub(crate) fn nap(
        &self,
        side: Side,
        most: Duration,
        is_idle: impl FnOnce(u64) -> bool,
    ) -> ashmem::Result<()> {
        self.pair(side)?.nap(is_idle, |bell| {
            let most = Timespec {
                tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: most.subsec_nanos().into(),
            };
            // EAGAIN, EINTR and ETIMEDOUT all mean that the caller looks again.
            let _ = futex::wait(bell, futex::Flags::empty(), super::positions::ASLEEP, Some(&most));
        });
        Ok(())
    }

    /// Whether the client says that its sound ends there.
    pub(crate) fn ends_at(&self, position: u64) -> ashmem::Result<bool> {
        Ok(self.u64(END)?.load(Ordering::Acquire) == position.wrapping_add(1))
    }

    /// Says where the sound ends, so that what is missing behind that is no underrun.
    pub(crate) fn set_end(&self, position: Option<u64>) -> ashmem::Result<()> {
        self.u64(END)?.store(position.map_or(0, |position| position.wrapping_add(1)), Ordering::Release);
        self.ring(Side::Client)
    }

    /// Left and right, as they are there: any float.
    pub(crate) fn volumes(&self) -> ashmem::Result<[f32; 2]> {
        let left = f32::from_bits(self.u32(VOLUMES)?.load(Ordering::Relaxed));
        let right = f32::from_bits(self.u32(VOLUMES + 4)?.load(Ordering::Relaxed));
        Ok([left, right])
    }

    pub(crate) fn set_volumes(&self, [left, right]: [f32; 2]) -> ashmem::Result<()> {
        self.u32(VOLUMES)?.store(left.to_bits(), Ordering::Relaxed);
        self.u32(VOLUMES + 4)?.store(right.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn state(&self) -> ashmem::Result<Option<State>> {
        Ok(State::from_word(self.u32(STATE)?.load(Ordering::Acquire)))
    }

    pub(crate) fn set_state(&self, state: State) -> ashmem::Result<()> {
        self.u32(STATE)?.store(state.to_word(), Ordering::Release);
        Ok(())
    }

    /// Periods in which frames were missing, and how many frames those were.
    pub(crate) fn underruns(&self) -> ashmem::Result<(u64, u64)> {
        Ok((self.u64(UNDERRUNS)?.load(Ordering::Relaxed), self.u64(UNDERRUN_FRAMES)?.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_underruns(&self, underruns: u64, frames: u64) -> ashmem::Result<()> {
        self.u64(UNDERRUNS)?.store(underruns, Ordering::Relaxed);
        self.u64(UNDERRUN_FRAMES)?.store(frames, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn timestamp(&self) -> ashmem::Result<TimestampWords<'_>> {
        Ok(TimestampWords {
            sequence: self.u64(TIMESTAMP)?,
            position: self.u64(TIMESTAMP + 8)?,
            nanoseconds: self.u64(TIMESTAMP + 16)?,
        })
    }

    /// Copies frames from `place` on out of the ring, round its end; as many as `into` has room for.
    pub(crate) fn read(&self, place: u64, into: &mut [f32]) -> ashmem::Result<()> {
        let (first, rest) = into.split_at_mut(self.before_end(place, into.len()));
        if !first.is_empty() {
            self.mapping.read_slice(self.offset(place), first)?;
        }
        if !rest.is_empty() {
            self.mapping.read_slice(SAMPLES, rest)?;
        }
        Ok(())
    }

    /// Copies frames into the ring, from `place` on and round its end.
    pub(crate) fn write(&self, place: u64, samples: &[f32]) -> ashmem::Result<()> {
        let (first, rest) = samples.split_at(self.before_end(place, samples.len()));
        if !first.is_empty() {
            self.mapping.write_slice(self.offset(place), first)?;
        }
        if !rest.is_empty() {
            self.mapping.write_slice(SAMPLES, rest)?;
        }
        Ok(())
    }

    /// Of so many samples, those before the ring's end.
    fn before_end(&self, place: u64, samples: usize) -> usize {
        let left = self.frames.saturating_sub(place).saturating_mul(self.channels);
        usize::try_from(left).unwrap_or(usize::MAX).min(samples)
    }

    fn offset(&self, place: u64) -> u64 {
        SAMPLES + place * self.channels * SAMPLE
    }

    fn u32(&self, offset: u64) -> ashmem::Result<&AtomicU32> {
        self.mapping.atomic_u32(offset)
    }

    fn u64(&self, offset: u64) -> ashmem::Result<&AtomicU64> {
        self.mapping.atomic_u64(offset)
    }
}

#[cfg(test)]
impl ControlBlock {
    /// The mapping itself, for tests that write what no client would.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

fn wake(bell: &AtomicU32) {
    // Cannot fail for memory that is mapped.
    let _ = futex::wake(bell, futex::Flags::empty(), 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_round_the_end_of_the_ring() {
        let (block, _) = ControlBlock::create(2, 5).unwrap();
        let samples: Vec<f32> = (0..8).map(|i| i as f32).collect();
        block.write(3, &samples).unwrap();
        let mut read = [0.0; 8];
        block.read(3, &mut read).unwrap();
        assert_eq!(read[..], samples);
        let mut start = [0.0; 4];
        block.read(0, &mut start).unwrap();
        assert_eq!(start, [4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn regions_that_are_too_small_are_no_tracks() {
        for (size, channels, frames, fits) in [
            (SAMPLES + 40, 2, 5, true),
            (SAMPLES + 39, 2, 5, false),
            (100, 1, 1, false),
            (SAMPLES + 40, 0, 5, false),
            (SAMPLES + 40, u64::MAX, u64::MAX, false),
        ] {
            let fd = Region::create("track", size).unwrap().into_fd().unwrap();
            assert_eq!(ControlBlock::open(fd, channels, frames).unwrap().is_some(), fits, "{size}");
        }
    }
}
