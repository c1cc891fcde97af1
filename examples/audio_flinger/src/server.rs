//! The mixer as a process has it: a service for the clients, and a thread that mixes when its clock says so.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashmem_binder::rsbinder::{BinderResult, ExceptionCode, Interface, Status, get_calling_pid};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};

use crate::interface::{
    BnAudioFlinger, BnAudioTrack, CreatedTrack, IAudioFlinger, IAudioTrack, NAME, Output,
};
use crate::mixer::{Clock, Command, Mixer, MixerOptions, Report, Track};
use crate::shared::positions::Side;
use crate::time::{nanoseconds, now, sleep_until};
use crate::{Error, Result, TrackOptions};

/// How long anything is slept for at most; then everything is looked at again.
const NAP: Duration = Duration::from_millis(100);
/// So many periods behind, real time gives up catching up.
const LOST: u64 = 8;

/// A mixer that clients can find. [`Server::run`] mixes.
pub struct Server {
    shared: Arc<Shared>,
    services: ServiceManager,
}

/// Tells a mixer that runs what to do.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    mixing: Mutex<Mixing>,
    /// Something has changed.
    changed: Condvar,
}

struct Mixing {
    mixer: Mixer,
    suspended: bool,
    finishing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mixing> {
        self.mixing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Mixing) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until there is something to mix; `None` when there will be nothing any more.
    fn wait_for_work(&self) -> Option<MutexGuard<'_, Mixing>> {
        let mut mixing = self.lock();
        loop {
            if mixing.finishing {
                mixing.mixer.finish();
            }
            let is_heard = mixing.mixer.is_heard() && !mixing.suspended;
            if is_heard {
                return Some(mixing);
            }
            if mixing.finishing {
                return None;
            }
            mixing = self.changed.wait(mixing).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Handle {
    /// Has the mixer play what its tracks have, and end.
    pub fn finish(&self) {
        self.0.change(|mixing| mixing.finishing = true);
    }
}

impl Server {
    /// Adds the mixer to the services as `media.audio_flinger`.
    ///
    /// # Errors
    /// [`Error::InvalidMixer`]; [`Error::Services`] when there is one already.
    pub fn start(services: &ServiceManager, options: MixerOptions) -> Result<Server> {
        options.check()?;
        let mixing = Mixing { mixer: Mixer::new(options), suspended: options.suspended, finishing: false };
        let shared = Arc::new(Shared { mixing: Mutex::new(mixing), changed: Condvar::new() });
        let flinger = BnAudioFlinger::new_binder(Flinger { shared: Arc::clone(&shared), options });
        services.add_service(NAME, &flinger.as_binder()).map_err(Error::services("offer mixer"))?;
        Ok(Server { shared, services: services.clone() })
    }

    /// For other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Mixes until it is told to [finish](Handle::finish), and gives each period to `output`: 16 bits, left and right in turns.
    /// Nothing is mixed while no track plays.
    ///
    /// # Errors
    /// What `output` says.
    pub fn run(self, output: &mut dyn FnMut(&[i16]) -> Result<()>) -> Result<Report> {
        let options = *self.shared.lock().mixer.options();
        let result = match options.clock {
            Clock::RealTime => self.run_by_time(nanoseconds(options.period_time()), output),
            Clock::Output | Clock::Offline => self.run_by_data(options, output),
        };
        // Fails only if somebody has removed the directory.
        let _ = self.services.remove_service(NAME);
        let report = self.shared.lock().mixer.report();
        result.map(|()| report)
    }

    fn run_by_time(&self, period: u64, output: &mut dyn FnMut(&[i16]) -> Result<()>) -> Result<()> {
        // Where it is allowed, before other threads, as Android's mixers are.
        ashmem::be_prompt();
        let mut block = Vec::new();
        let mut deadline = now();
        let mut is_idle = true;
        loop {
            if !is_idle {
                sleep_until(deadline);
            }
            let mut mixing = {
                let asked = now();
                let Some(mixing) = self.shared.wait_for_work() else { return Ok(()) };
                // Whoever was idle begins anew.
                if is_idle || now().saturating_sub(asked) > LOST * period {
                    deadline = now();
                }
                mixing
            };
            let start = now();
            mixing.mix_into(&mut block);
            // It starts to play when its period is over.
            let due = deadline.saturating_add(period);
            mixing.mixer.publish(due);
            let end = now();
            let report = mixing.mixer.report_mut();
            report.mixing.add(end.saturating_sub(start));
            report.late_periods += u64::from(end > due);
            is_idle = !mixing.mixer.is_heard();
            drop(mixing);
            output(&block)?;
            deadline = if now() > due + LOST * period { now() } else { due };
        }
    }

    /// One period after the other: as fast as the output takes them, and as the tracks bring them if those are waited for.
    fn run_by_data(&self, options: MixerOptions, output: &mut dyn FnMut(&[i16]) -> Result<()>) -> Result<()> {
        let mut block = Vec::new();
        let mut wait = Wait { track: None, time: Duration::ZERO, looked: Instant::now() };
        loop {
            let Some(mut mixing) = self.shared.wait_for_work() else { return Ok(()) };
            let awaited = if options.clock == Clock::Offline { mixing.mixer.awaited() } else { None };
            if let Some(track) = awaited {
                if wait.look(track.track, Instant::now()) >= options.patience {
                    mixing.mixer.lose_patience(track.track);
                    continue;
                }
                drop(mixing);
                let is_behind = |position: u64| (position.wrapping_sub(track.position) as i64) < 0;
                let is_idle =
                    |position| is_behind(position) && !track.block.ends_at(position).unwrap_or(true);
                // Never fails: the words are inside of the mapping.
                let _ = track.block.nap(Side::Mixer, NAP, is_idle);
                continue;
            }
            wait.track = None;
            let start = now();
            mixing.mix_into(&mut block);
            mixing.mixer.publish(now());
            mixing.mixer.report_mut().mixing.add(now().saturating_sub(start));
            drop(mixing);
            output(&block)?;
        }
    }
}

/// How long one track has been waited for.
struct Wait {
    track: Option<u64>,
    time: Duration,
    looked: Instant,
}

impl Wait {
    /// It still has too little.
    fn look(&mut self, track: u64, now: Instant) -> Duration {
        self.time = match self.track {
            // Naps are short: for longer than that this process was stopped, or all output was suspended.
            Some(before) if before == track => {
                self.time + now.saturating_duration_since(self.looked).min(2 * NAP)
            }
            _ => Duration::ZERO,
        };
        (self.track, self.looked) = (Some(track), now);
        self.time
    }
}

impl Mixing {
    fn mix_into(&mut self, block: &mut Vec<i16>) {
        block.clear();
        block.extend_from_slice(self.mixer.mix());
    }
}

/// The service.
struct Flinger {
    shared: Arc<Shared>,
    options: MixerOptions,
}

impl Interface for Flinger {}

impl IAudioFlinger for Flinger {
    fn create_track(&self, options: TrackOptions) -> BinderResult<CreatedTrack> {
        // Makes the filter, which takes its time, and so not while others wait for the mixer.
        let track = Track::new(&options, get_calling_pid(), self.options.rate, self.options.period);
        let (track, descriptor) = track.map_err(|error| refused(&error.to_string()))?;
        let frames = track.block().frames();
        let added = self.shared.change(|mixing| {
            if mixing.finishing { Err("it is about to end") } else { mixing.mixer.add(track, descriptor) }
        });
        let (id, descriptor) = added.map_err(refused)?;
        let handle = TrackHandle { shared: Arc::clone(&self.shared), id };
        Ok(CreatedTrack {
            track: BnAudioTrack::new_binder(handle).as_binder(),
            memory: ParcelFileDescriptor::new(descriptor),
            frames,
        })
    }

    fn set_suspended(&self, suspended: bool) -> BinderResult<()> {
        self.shared.change(|mixing| mixing.suspended = suspended);
        Ok(())
    }

    fn output(&self) -> BinderResult<Output> {
        let tracks = u32::try_from(self.shared.lock().mixer.tracks()).unwrap_or(u32::MAX);
        let period = u32::try_from(self.options.period).unwrap_or(u32::MAX);
        Ok(Output { rate: self.options.rate, period, tracks })
    }
}

/// What the client's binder leads to. It ends when no client has that any more, and when their process dies.
struct TrackHandle {
    shared: Arc<Shared>,
    id: u64,
}

impl Interface for TrackHandle {}

impl IAudioTrack for TrackHandle {
    fn command(&self, command: Command) -> BinderResult<()> {
        self.shared.change(|mixing| mixing.mixer.command(self.id, command)).map_err(refused)
    }
}

impl Drop for TrackHandle {
    fn drop(&mut self) {
        self.shared.change(|mixing| mixing.mixer.release(self.id));
    }
}

fn refused(reason: &str) -> Status {
    Status::from((ExceptionCode::IllegalState, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_do_not_pay_for_the_time_in_which_the_mixer_was_stopped() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut wait = Wait { track: None, time: Duration::ZERO, looked: start };
        assert_eq!(wait.look(1, at(5_000)), Duration::ZERO);
        assert_eq!(wait.look(1, at(5_100)), Duration::from_millis(100));
        assert_eq!(wait.look(1, at(90_000)), Duration::from_millis(300));
        assert_eq!(wait.look(2, at(90_100)), Duration::ZERO, "another one");
        assert_eq!(wait.look(2, at(90_150)), Duration::from_millis(50));
    }
}
