//! A limit on memory, whoever it is for: how near it is, and what announces that it gets nearer.
//!
//! [`SystemPressure`](super::SystemPressure) has the gauges of its own process. Who reclaims for several processes in different
//! cgroups has the system's, and one for each directory that [`Membership`](super::Membership) finds.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::file::{KeptFile, open_dir};
use super::mounts::{Directory, Hierarchy, Proc};
use super::parse::parse_meminfo;
use super::psi::{Answer, Stall, Trigger};
use super::wait::{deadline, poll_until};
use super::{Headroom, Woken, cgroup_v1, cgroup_v2};

/// The system's memory, or the limit of a cgroup, which can come and go. The buffers that its functions take are to have
/// [`BUFFER_SIZE`](super::BUFFER_SIZE) bytes.
#[derive(Debug)]
pub struct Gauge {
    place: Place,
    /// When it counts as a stall; `None` where stalls are not watched.
    stall: Option<Stall>,
    pub(super) trigger: Option<Trigger>,
    pub(super) stalled: bool,
}

#[derive(Debug)]
enum Place {
    System { proc: PathBuf, meminfo: Option<KeptFile> },
    V1(cgroup_v1::Level),
    V2(cgroup_v2::Level),
}

impl Gauge {
    /// The system's memory, and stalls of any task.
    #[must_use]
    pub fn system(proc: &Proc, stall: Option<Stall>) -> Gauge {
        Gauge::new(Place::System { proc: proc.root().to_owned(), meminfo: None }, stall)
    }

    /// A cgroup, and stalls of its tasks, which cgroup v1 does not tell. `None` when its directory cannot be opened.
    #[must_use]
    pub fn cgroup(directory: &Directory, stall: Option<Stall>, buffer: &mut [u8]) -> Option<Gauge> {
        let place = match directory.hierarchy {
            Hierarchy::V1Memory => {
                Place::V1(cgroup_v1::Level::open(&directory.path, directory.is_highest, buffer)?)
            }
            Hierarchy::V2 => Place::V2(cgroup_v2::Level::open(&directory.path, buffer)?),
        };
        Some(Gauge::new(place, stall))
    }

    fn new(place: Place, stall: Option<Stall>) -> Gauge {
        let mut gauge = Gauge { place, stall, trigger: None, stalled: false };
        gauge.open();
        gauge
    }

    /// Looks whether a limit was set or removed, and opens what could not be opened before.
    pub fn refresh(&mut self, buffer: &mut [u8]) {
        match &mut self.place {
            Place::System { .. } => {}
            Place::V1(level) => level.refresh(buffer),
            Place::V2(level) => level.refresh(buffer),
        }
        self.open();
    }

    /// Opens what is not open, perhaps for want of descriptors.
    fn open(&mut self) {
        if let Place::System { proc, meminfo: meminfo @ None } = &mut self.place {
            *meminfo = KeptFile::open_path(&proc.join("meminfo"));
        }
        if let (Some(stall), None) = (self.stall, &self.trigger) {
            self.trigger = match &self.place {
                Place::System { proc, .. } => open_dir(&proc.join("pressure"))
                    .and_then(|dir| Trigger::open(dir.as_fd(), c"memory", stall)),
                Place::V1(_) => None,
                Place::V2(level) => level.trigger(stall),
            };
        }
    }

    /// Changes when it counts as a stall.
    pub fn set_stall(&mut self, stall: Option<Stall>) {
        if self.stall != stall {
            (self.stall, self.trigger) = (stall, None);
            self.open();
        }
    }

    /// What is left of the limit now, and whether an event will announce that the reserve is reached; `None` without a limit.
    #[must_use]
    pub fn headroom(&self, buffer: &mut [u8]) -> Option<(Headroom, bool)> {
        match &self.place {
            Place::System { meminfo, .. } => Some((parse_meminfo(meminfo.as_ref()?.read(buffer)?)?, false)),
            Place::V1(level) => level.headroom(buffer),
            Place::V2(level) => level.headroom(buffer).map(|headroom| (headroom, false)),
        }
    }

    /// Has the kernel announce, where it can, that only the reserve is left, which `reserve` gives for a limit in bytes. To be
    /// repeated when the limit has changed.
    pub fn arm(&mut self, reserve: &dyn Fn(u64) -> u64, buffer: &mut [u8]) {
        if let Place::V1(level) = &mut self.place {
            level.arm(reserve, buffer);
        }
    }

    /// [`arm`](Self::arm) by a thread of its own, for who has other limits to look at meanwhile. It counts once it was found by
    /// [`take_over`](Self::take_over).
    pub fn arm_meanwhile(&mut self, reserve: &dyn Fn(u64) -> u64, buffer: &mut [u8]) {
        if let Place::V1(level) = &mut self.place {
            level.arm_meanwhile(reserve, buffer);
        }
    }

    /// Takes over what [`arm_meanwhile`](Self::arm_meanwhile) has achieved so far.
    pub fn take_over(&mut self) {
        if let Place::V1(level) = &mut self.place {
            level.take_over();
        }
    }

    /// Whether the kernel tells of stalls here.
    #[must_use]
    pub fn watches_stalls(&self) -> bool {
        self.trigger.is_some()
    }

    /// Whether tasks were stalled since this was last asked.
    pub fn take_stalled(&mut self) -> bool {
        let answer = self.trigger.as_ref().map_or(Answer::Quiet, Trigger::ask);
        self.note(answer);
        std::mem::take(&mut self.stalled)
    }

    fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Quiet => {}
            Answer::Fired => self.stalled = true,
            Answer::Gone => self.trigger = None,
        }
    }

    /// What a wait polls, in the order in which `settle` expects the answers.
    fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        let trigger = self.trigger.as_ref().map(AsFd::as_fd);
        let prioritised = trigger.into_iter().chain(match &self.place {
            Place::V2(level) => level.events(),
            _ => None,
        });
        let crossed = match &self.place {
            Place::V1(level) => level.events(),
            _ => None,
        };
        let prioritised = prioritised.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::PRI));
        prioritised.chain(crossed.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
    }

    /// Keeps what the events say and makes them quiet.
    fn settle(&mut self, answers: &mut dyn Iterator<Item = PollFlags>, buffer: &mut [u8]) {
        let mut next = || answers.next().unwrap_or(PollFlags::empty());
        if self.trigger.is_some() {
            self.note(Trigger::judge(next()));
        }
        match &mut self.place {
            Place::V1(level) if level.events().is_some() && !next().is_empty() => level.acknowledge(buffer),
            Place::V2(level) if level.events().is_some() && !next().is_empty() => level.acknowledge(buffer),
            _ => {}
        }
    }

    /// What there is, a line each, for people.
    #[must_use]
    pub fn describe(&self, buffer: &mut [u8]) -> Vec<String> {
        let (name, line) = match &self.place {
            Place::System { .. } => {
                let line =
                    self.headroom(buffer).map(|(seen, _)| format!("system: {} bytes of memory", seen.limit));
                ("system", line)
            }
            Place::V1(level) => ("cgroup v1", Some(level.describe(buffer))),
            Place::V2(level) => ("cgroup v2", Some(level.describe(buffer))),
        };
        let stalls = self.trigger.is_some().then(|| format!("{name}: stall events"));
        line.into_iter().chain(stalls).collect()
    }
}

/// Sleeps until an event of one of the gauges, until `wake`, if there is one, is readable (which is left as it is), or for `timeout`;
/// without a timeout for as long as it takes. Signals do not end it.
pub fn wait(
    gauges: &mut [&mut Gauge],
    wake: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
    buffer: &mut [u8],
) -> Woken {
    let deadline = deadline(timeout);
    let mut fds: Vec<PollFd<'_>> =
        wake.into_iter().map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)).collect();
    fds.extend(gauges.iter().flat_map(|gauge| gauge.watched()));
    if !poll_until(&mut fds, deadline) {
        return Woken::TimedOut;
    }
    let answers: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    let mut answers = answers.into_iter();
    let called = wake.is_some() && answers.next().is_some_and(|called| !called.is_empty());
    for gauge in gauges {
        gauge.settle(&mut answers, buffer);
    }
    if called { Woken::Called } else { Woken::Event }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_watched_when_somebody_asks() {
        let mut gauge = Gauge::system(&Proc::default(), None);
        assert!(!gauge.watches_stalls() && !gauge.take_stalled());
        gauge.set_stall(Some(Stall::default()));
        if !gauge.watches_stalls() {
            println!("SKIPPED: no memory triggers on this system");
        }
        gauge.set_stall(None);
        assert!(!gauge.watches_stalls());
    }

    #[test]
    fn what_cannot_be_opened_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffer = vec![0; super::super::BUFFER_SIZE];
        let mut gauge = Gauge::system(&Proc::at(dir.path()), Some(Stall::default()));
        assert_eq!(gauge.headroom(&mut buffer), None);
        std::fs::write(dir.path().join("meminfo"), "MemTotal: 8 kB\nMemAvailable: 4 kB\n").unwrap();
        gauge.refresh(&mut buffer);
        assert_eq!(gauge.headroom(&mut buffer), Some((Headroom { available: 4096, limit: 8192 }, false)));
    }
}
