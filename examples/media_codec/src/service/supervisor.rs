//! Watches one decoder: whether it lives, whether it gets on, and whether its client is still there.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Place;
use super::nursery::Decoder;
use crate::Ending;
use crate::bell;
use crate::layout::{CLIENT_BELL, PROGRESS};

/// How often a decoder is looked at; never less often than four times in its deadline.
const PERIOD: Duration = Duration::from_millis(500);

/// Watches the decoder in a thread of its own, until it has ended.
pub(super) fn watch(decoder: Decoder, place: Place, deadline: Duration) -> io::Result<()> {
    let process = i32::try_from(decoder.process()).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| io::Error::other("a process without a number"))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty())?;
    let watched = Watched { decoder, pidfd, deadline, since: None };
    thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
        let mut watched = watched;
        let ending = watched.run();
        watched.tell(ending, &place.0);
    })?;
    Ok(())
}

struct Watched {
    decoder: Decoder,
    pidfd: std::os::fd::OwnedFd,
    deadline: Duration,
    /// The last value of the decoder's word for progress, and the processor time when it was new.
    since: Option<(u32, Duration)>,
}

impl Watched {
    /// How the decoder ended; `None` if its client had gone, so that there is nobody to be told.
    fn run(&mut self) -> Option<Ending> {
        let period = (self.deadline / 4).clamp(Duration::from_millis(1), PERIOD);
        let period = Timespec::try_from(period).ok();
        loop {
            let mut events = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                // A client says nothing: whatever comes, it is over.
                PollFd::new(&self.decoder.ours, PollFlags::IN),
            ];
            // An interrupted wait is one that was short.
            let _ = poll(&mut events, period.as_ref());
            let [has_ended, has_client_gone] = events.map(|event| !event.revents().is_empty());
            if has_ended {
                return Some(self.decoder.wait().map_or(Ending::Exited(0), ending));
            }
            if has_client_gone {
                self.decoder.kill();
                return None;
            }
            if let Some(stuck) = self.is_stuck() {
                self.decoder.kill();
                let milliseconds = u32::try_from(stuck.as_millis()).unwrap_or(u32::MAX);
                return Some(Ending::Stuck(milliseconds));
            }
        }
    }

    /// The processor time that the decoder has taken since it last got on, if that is too much.
    fn is_stuck(&mut self) -> Option<Duration> {
        // The decoder's word may lie: it can keep its own client waiting that way, and nobody else.
        let progress = self.decoder.control.load_u32(PROGRESS).ok()?;
        let time = processor_time(self.decoder.process())?;
        match self.since {
            Some((last, since)) if last == progress => {
                let taken = time.saturating_sub(since);
                (taken > self.deadline).then_some(taken)
            }
            _ => {
                self.since = Some((progress, time));
                None
            }
        }
    }

    /// Tells the client.
    fn tell(mut self, ending: Option<Ending>, counters: &super::Counters) {
        let Some(ending) = ending else { return };
        if ending != Ending::Exited(0) {
            counters.lost.fetch_add(1, Ordering::Relaxed);
        }
        // Fails where the client has gone meanwhile.
        let _ = self.decoder.ours.write_all(&ending.to_bytes());
        if let Ok(bell) = self.decoder.control.atomic_u32(CLIENT_BELL) {
            bell::take_down(bell);
            bell::wake(bell);
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Exited(0),
    }
}

/// What the process has taken of processors so far. It is not reaped yet, so the number is its own.
fn processor_time(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    ticks(&stat).map(|ticks| {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.saturating_mul(1000) / per_second)
    })
}

/// In user and in system mode, from a line of `proc(5)`.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may have anything in it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next()?.trim().parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_behind_any_name() {
        let stat = "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 17 0 0 20 0 1 0 99\n";
        assert_eq!(ticks(stat), Some(267));
        assert_eq!(ticks("12 (a"), None);
        assert_eq!(ticks("12 (a) R 1 2"), None);
        assert!(processor_time(std::process::id()).is_some());
    }

    #[test]
    fn endings_are_those_of_the_kernel() {
        assert_eq!(ending(ExitStatus::from_raw(0)), Ending::Exited(0));
        assert_eq!(ending(ExitStatus::from_raw(3 << 8)), Ending::Exited(3));
        assert_eq!(ending(ExitStatus::from_raw(9)), Ending::Killed(9));
    }
}
