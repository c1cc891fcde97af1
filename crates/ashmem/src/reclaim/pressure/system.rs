//! What Linux knows.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::file::BUFFER_SIZE;
use super::gauge::{self, Gauge};
use super::mounts::{Membership, Proc};
use super::psi::Stall;
use super::{PressureSource, Reading, Woken};

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
    proc: Proc,
    /// `/proc/self/cgroup` when the cgroups were looked up.
    text: Option<Vec<u8>>,
    /// The system's, then those of the process's cgroups, each with those above it, its own first.
    gauges: Vec<Gauge>,
    /// By index of the last reading's headrooms: whether events announce it.
    announced: Vec<bool>,
    refreshed: Instant,
    buffer: Vec<u8>,
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
        let proc = Proc::at(proc);
        let system = Gauge::system(&proc, Some(Stall::default()));
        let mut source = SystemPressure {
            proc,
            text: None,
            gauges: vec![system],
            announced: Vec::new(),
            refreshed: Instant::now(),
            buffer: vec![0; BUFFER_SIZE],
        };
        source.find();
        source
    }

    fn refresh(&mut self) {
        self.refreshed = Instant::now();
        self.gauges.iter_mut().for_each(|gauge| gauge.refresh(&mut self.buffer));
        self.find();
    }

    /// Looks the cgroups up, if the process is in others than before.
    fn find(&mut self) {
        let text = self.proc.cgroups_of(None, &mut self.buffer);
        if text == self.text {
            return;
        }
        self.text = text;
        self.gauges.truncate(1);
        let text = self.text.as_deref().unwrap_or_default();
        let found = Membership::find(text, &self.proc.mounts());
        for (nth, directory) in found.directories.iter().enumerate() {
            // Of tasks elsewhere below the same limit no more is known than that they are stalled.
            let is_own = nth == 0;
            let stall = is_own.then(Stall::default);
            self.gauges.extend(Gauge::cgroup(directory, stall, &mut self.buffer));
        }
    }
}

impl PressureSource for SystemPressure {
    fn read_into(&mut self, reading: &mut Reading) {
        if self.refreshed.elapsed() >= REFRESH {
            self.refresh();
        }
        reading.stalled = false;
        reading.headrooms.clear();
        self.announced.clear();
        for gauge in &mut self.gauges {
            reading.stalled |= gauge.take_stalled();
            if let Some((headroom, announced)) = gauge.headroom(&mut self.buffer) {
                reading.headrooms.push(headroom);
                self.announced.push(announced);
            }
        }
    }

    fn arm(&mut self, reserve: &dyn Fn(u64) -> u64) {
        for gauge in &mut self.gauges {
            gauge.arm(reserve, &mut self.buffer);
        }
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        let mut gauges: Vec<&mut Gauge> = self.gauges.iter_mut().collect();
        gauge::wait(&mut gauges, Some(wake), timeout, &mut self.buffer)
    }

    fn has_events_for(&self, index: usize) -> bool {
        self.announced.get(index).copied().unwrap_or(false)
    }

    fn describe(&self) -> Vec<String> {
        let mut buffer = vec![0; BUFFER_SIZE];
        self.gauges.iter().flat_map(|gauge| gauge.describe(&mut buffer)).collect()
    }
}

#[cfg(test)]
mod tests;
