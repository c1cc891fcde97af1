//! What Linux knows.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::file::{BUFFER_SIZE, KeptFile, open_dir};
use super::mounts::{Hierarchy, directories, membership};
use super::parse::parse_meminfo;
use super::psi::{Answer, Trigger};
use super::wait::{deadline, poll_until};
use super::{Headroom, PressureSource, Reading, Woken, cgroup_v1, cgroup_v2};

/// How often to look whether the process was moved to another cgroup, or a cgroup without a limit got one.
/// Desktops move a program into its own cgroup just after its start.
const REFRESH: Duration = Duration::from_secs(5);

/// How short memory is according to Linux: the default source.
///
/// Headrooms, in this order:
/// - the system: `MemAvailable` and `MemTotal` of `/proc/meminfo`;
/// - cgroup v2: `memory.max` or `memory.high`, for the process's cgroup and each one above it that is visible;
/// - cgroup v1: `memory.limit_in_bytes`, likewise.
///
/// A cgroup has available what it does not use, plus its inactive page cache.
///
/// Events:
/// - stalls: PSI triggers (150 ms in 2 s) on `/proc/pressure/memory`, and on `memory.pressure` of the own cgroup v2
///   where it can be written;
/// - cgroup v1 usage thresholds, where `cgroup.event_control` can be written. Only these come before the reserve
///   is reached;
/// - `memory.events` of cgroup v2, which come when a limit is met.
///
/// What the system does not have or does not allow is left out; [`describe`](PressureSource::describe) tells what
/// there is. Files stay open, so a reading takes some tens of microseconds and allocates nothing. Every few seconds
/// it notices that limits were set or that the process was moved to other cgroups; then it is time to
/// [`arm`](PressureSource::arm) again.
#[derive(Debug)]
pub struct SystemPressure {
    proc: PathBuf,
    cgroup_file: PathBuf,
    mounts_file: PathBuf,
    meminfo: Option<KeptFile>,
    trigger: Option<Trigger>,
    cgroups: Cgroups,
    /// By index of the last reading's headrooms: whether events announce it.
    announced: Vec<bool>,
    stalled: bool,
    refreshed: Instant,
    buffer: Vec<u8>,
}

/// The process's cgroups, each with those above it, its own first.
#[derive(Debug, Default)]
struct Cgroups {
    /// `/proc/self/cgroup` when they were looked up.
    text: Vec<u8>,
    v2: Vec<cgroup_v2::Level>,
    v1: Vec<cgroup_v1::Level>,
    trigger: Option<Trigger>,
}

impl Default for SystemPressure {
    fn default() -> SystemPressure {
        SystemPressure::new()
    }
}

impl SystemPressure {
    /// Opens what there is.
    #[must_use]
    pub fn new() -> SystemPressure {
        SystemPressure::with_proc(Path::new("/proc"))
    }

    /// As [`new`](SystemPressure::new) with another place for procfs, whose `self/mountinfo` tells where cgroups are.
    fn with_proc(proc: &Path) -> SystemPressure {
        let mut source = SystemPressure {
            cgroup_file: proc.join("self/cgroup"),
            mounts_file: proc.join("self/mountinfo"),
            proc: proc.to_owned(),
            meminfo: None,
            trigger: None,
            cgroups: Cgroups::default(),
            announced: Vec::new(),
            stalled: false,
            refreshed: Instant::now(),
            buffer: vec![0; BUFFER_SIZE],
        };
        source.refresh();
        source
    }

    fn refresh(&mut self) {
        self.refreshed = Instant::now();
        // Again where it failed before: perhaps for want of descriptors.
        if self.meminfo.is_none() {
            self.meminfo = KeptFile::open_path(&self.proc.join("meminfo"));
        }
        if self.trigger.is_none() {
            let dir = open_dir(&self.proc.join("pressure"));
            self.trigger = dir.and_then(|dir| Trigger::open(dir.as_fd(), c"memory"));
        }
        // Opened anew each time: an open one keeps showing the process that opened it.
        let file = KeptFile::open_path(&self.cgroup_file);
        let text = file.as_ref().and_then(|file| file.read(&mut self.buffer)).unwrap_or_default();
        if text == self.cgroups.text {
            self.cgroups.v2.iter_mut().for_each(|level| level.refresh(&mut self.buffer));
            self.cgroups.v1.iter_mut().for_each(|level| level.refresh(&mut self.buffer));
        } else {
            let text = text.to_vec();
            let mounts = std::fs::read(&self.mounts_file).unwrap_or_default();
            self.cgroups = Cgroups::find(text, &mounts, &mut self.buffer);
        }
    }

    /// What to poll, in the order in which `settle` expects the answers.
    fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        let triggers = self.trigger.iter().chain(&self.cgroups.trigger).map(AsFd::as_fd);
        let v2 = self.cgroups.v2.iter().filter_map(cgroup_v2::Level::events);
        let v1 = self.cgroups.v1.iter().filter_map(cgroup_v1::Level::events);
        let prioritised = triggers.chain(v2).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::PRI));
        prioritised.chain(v1.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
    }

    /// Keeps what the events say and makes them quiet.
    fn settle(&mut self, mut answers: impl Iterator<Item = PollFlags>) {
        let mut next = || answers.next().unwrap_or(PollFlags::empty());
        for slot in [&mut self.trigger, &mut self.cgroups.trigger] {
            if slot.is_some() {
                note(slot, Trigger::judge(next()), &mut self.stalled);
            }
        }
        for level in &mut self.cgroups.v2 {
            if level.events().is_some() && !next().is_empty() {
                level.acknowledge(&mut self.buffer);
            }
        }
        for level in &mut self.cgroups.v1 {
            if level.events().is_some() && !next().is_empty() {
                level.acknowledge(&mut self.buffer);
            }
        }
    }
}

fn note(slot: &mut Option<Trigger>, answer: Answer, stalled: &mut bool) {
    match answer {
        Answer::Quiet => {}
        Answer::Fired => *stalled = true,
        Answer::Gone => *slot = None,
    }
}

impl PressureSource for SystemPressure {
    fn read_into(&mut self, reading: &mut Reading) {
        if self.refreshed.elapsed() >= REFRESH {
            self.refresh();
        }
        for slot in [&mut self.trigger, &mut self.cgroups.trigger] {
            let answer = slot.as_ref().map_or(Answer::Quiet, Trigger::ask);
            note(slot, answer, &mut self.stalled);
        }
        reading.stalled = std::mem::take(&mut self.stalled);
        reading.headrooms.clear();
        self.announced.clear();

        let mut add = |headroom: Headroom, announced: bool| {
            reading.headrooms.push(headroom);
            self.announced.push(announced);
        };
        let buffer = &mut self.buffer;
        if let Some(headroom) = self.meminfo.as_ref().and_then(|file| parse_meminfo(file.read(buffer)?)) {
            add(headroom, false);
        }
        for level in &self.cgroups.v2 {
            if let Some(headroom) = level.headroom(buffer) {
                add(headroom, false);
            }
        }
        for level in &self.cgroups.v1 {
            if let Some((headroom, announced)) = level.headroom(buffer) {
                add(headroom, announced);
            }
        }
    }

    fn arm(&mut self, reserve: &dyn Fn(u64) -> u64) {
        for level in &mut self.cgroups.v1 {
            level.arm(reserve, &mut self.buffer);
        }
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        let called = PollFd::from_borrowed_fd(wake, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(called).chain(self.watched()).collect();
        if !poll_until(&mut fds, deadline(timeout)) {
            return Woken::TimedOut;
        }
        let answers: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        self.settle(answers.iter().copied().skip(1));
        if answers.first().is_none_or(|called| called.is_empty()) { Woken::Event } else { Woken::Called }
    }

    fn has_events_for(&self, index: usize) -> bool {
        self.announced.get(index).copied().unwrap_or(false)
    }

    fn describe(&self) -> Vec<String> {
        let mut buffer = vec![0; BUFFER_SIZE];
        let mut lines = Vec::new();
        if let Some(headroom) = self.meminfo.as_ref().and_then(|file| parse_meminfo(file.read(&mut buffer)?))
        {
            lines.push(format!("system: {} bytes of memory", headroom.limit));
        }
        if self.trigger.is_some() {
            lines.push("system: stall events".to_owned());
        }
        if self.cgroups.trigger.is_some() {
            lines.push("cgroup v2: stall events".to_owned());
        }
        lines.extend(self.cgroups.v2.iter().map(|level| level.describe(&mut buffer)));
        lines.extend(self.cgroups.v1.iter().map(|level| level.describe(&mut buffer)));
        lines
    }
}

impl Cgroups {
    fn find(text: Vec<u8>, mounts: &[u8], buffer: &mut [u8]) -> Cgroups {
        let v2 = levels(&text, mounts, Hierarchy::V2, |path| cgroup_v2::Level::open(path, buffer));
        let v1 = levels(&text, mounts, Hierarchy::V1Memory, |path| cgroup_v1::Level::open(path, buffer));
        let trigger = v2.first().and_then(cgroup_v2::Level::trigger);
        Cgroups { text, v2, v1, trigger }
    }
}

/// Opens the cgroups of the process through the first mount that has its own.
fn levels<L>(
    text: &[u8],
    mounts: &[u8],
    hierarchy: Hierarchy,
    mut open: impl FnMut(&Path) -> Option<L>,
) -> Vec<L> {
    let Some(path) = membership(text, hierarchy) else { return Vec::new() };
    for candidate in directories(mounts, hierarchy, path) {
        let mut opened = candidate.iter().map(|directory| open(directory));
        if let Some(own) = opened.next().flatten() {
            return std::iter::once(own).chain(opened.flatten()).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
