//! A client that writes sound and looks how long that takes to the output.

use std::collections::VecDeque;
use std::time::Duration;

use audio_flinger::time::{Histogram, now};
use audio_flinger::{AudioTrack, Error, TrackOptions};

/// Writes that are remembered: far more than are on their way.
const REMEMBERED: usize = 256;

/// One of the last writes.
#[derive(Clone, Copy)]
struct Write {
    first: u64,
    end: u64,
    /// When it was begun.
    time: u64,
}

pub struct Player {
    track: AudioTrack,
    channels: usize,
    /// Frames per second.
    rate: u64,
    writes: VecDeque<Write>,
    seen: Option<u64>,
    latency: Histogram,
}

impl Player {
    pub fn new(track: AudioTrack, options: &TrackOptions) -> Player {
        let (writes, latency) = (VecDeque::new(), Histogram::default());
        let (channels, rate) = (options.channels as usize, u64::from(options.rate));
        Player { track, channels, rate, writes, seen: None, latency }
    }

    pub fn track(&self) -> &AudioTrack {
        &self.track
    }

    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Writes all of it, and waits for room.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), Error> {
        let mut rest = samples;
        while rest.len() >= self.channels {
            rest = &rest[self.write_once(rest, None)?..];
        }
        Ok(())
    }

    /// Waits for room, and writes as much as fits; 0 when there was no room in time.
    pub fn write_once(&mut self, samples: &[f32], timeout: Option<Duration>) -> Result<usize, Error> {
        if self.track.wait_for_room(timeout)? == 0 {
            return Ok(0);
        }
        let (first, time) = (self.track.position(), now());
        let written = self.track.try_write(samples)?;
        if self.writes.len() == REMEMBERED {
            self.writes.pop_front();
        }
        self.writes.push_back(Write { first, end: self.track.position(), time });
        self.look()?;
        Ok(written)
    }

    /// Takes the time of the write that the mixer has reached: until its last frame is due, which waits longest.
    fn look(&mut self) -> Result<(), Error> {
        let Some(timestamp) = self.track.timestamp()? else { return Ok(()) };
        match self.seen.replace(timestamp.position) {
            Some(seen) if seen == timestamp.position => return Ok(()),
            Some(_) => {}
            // What was written before the mixer began had to wait for that.
            None => {
                self.writes.clear();
                return Ok(());
            }
        }
        let reached = |write: &&Write| write.first <= timestamp.position && timestamp.position < write.end;
        if let Some(write) = self.writes.iter().find(reached) {
            let behind = (write.end - timestamp.position - 1) * 1_000_000_000 / self.rate;
            self.latency.add((timestamp.nanoseconds.saturating_add(behind)).saturating_sub(write.time));
        }
        Ok(())
    }
}
