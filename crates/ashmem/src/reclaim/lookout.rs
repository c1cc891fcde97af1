//! A pressure source, with what it said last.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Policy;
use super::pressure::{Pace, PressureSource, Reading, SystemPressure, Woken, next_look};

/// Stalls count while a limit is nearer than this many reserves.
const NEAR: u64 = 4;

pub(super) struct Lookout {
    /// The default one is made when it is first needed.
    source: Option<Box<dyn PressureSource>>,
    is_default: bool,
    reading: Reading,
    /// The limits that the source was armed for.
    armed: Option<Vec<u64>>,
    /// Of counting for a budget.
    pub(super) pace: Pace,
    /// There was an event while the daemon looks after regions, and memory has been short since.
    pub(super) is_alert: bool,
}

impl Lookout {
    pub(super) fn new(source: Option<Box<dyn PressureSource>>) -> Lookout {
        Lookout {
            is_default: source.is_none(),
            source,
            reading: Reading::default(),
            armed: None,
            pace: Pace::default(),
            is_alert: false,
        }
    }

    /// In a forked child: the default source's descriptors are the parent's, too, which would miss what the child is told.
    pub(super) fn after_fork(&mut self) {
        self.armed = None;
        if self.is_default {
            self.source = None;
        }
    }

    /// Opens what the default source looks at, in the thread that calls this: a thread that opens files on its own would do so
    /// while the program closes its own and counts on their numbers.
    pub(super) fn open(&mut self) {
        if self.is_default {
            self.source();
        }
    }

    fn source(&mut self) -> &mut dyn PressureSource {
        self.source.get_or_insert_with(|| Box::new(SystemPressure::new())).as_mut()
    }

    /// Forgets that the source was armed: the policy has changed.
    pub(super) fn disarm(&mut self) {
        self.armed = None;
    }

    pub(super) fn read(&mut self, policy: &Policy) -> &Reading {
        let mut reading = std::mem::take(&mut self.reading);
        self.source().read_into(&mut reading);
        self.reading = reading;
        let limits = || self.reading.headrooms.iter().map(|headroom| headroom.limit);
        if self.armed.as_ref().is_none_or(|armed| !armed.iter().copied().eq(limits())) {
            self.armed = Some(limits().collect());
            self.source().arm(&|limit| policy.reserve_for(limit));
        }
        // Processes elsewhere may wait for memory of their own cgroup; that is no reason to purge here.
        let reading = &mut self.reading;
        reading.stalled &= reading.headrooms.is_empty()
            || reading.headrooms.iter().any(|headroom| {
                headroom.available <= policy.reserve_for(headroom.limit).saturating_mul(NEAR)
            });
        reading
    }

    /// Whether processes were stalled at the last reading.
    pub(super) fn is_stalled(&self) -> bool {
        self.reading.stalled
    }

    /// When to look again.
    pub(super) fn next_look(&self, policy: &Policy) -> Duration {
        let reserve = |limit| policy.reserve_for(limit);
        let has_events = |index| self.source.as_ref().is_some_and(|source| source.has_events_for(index));
        next_look(&self.reading, &reserve, has_events)
    }

    /// Sees to it that the source knows what to announce.
    pub(super) fn arm(&mut self, policy: &Policy) {
        if self.armed.is_none() {
            self.read(policy);
        }
    }

    pub(super) fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        self.source().wait(wake, timeout)
    }
}
