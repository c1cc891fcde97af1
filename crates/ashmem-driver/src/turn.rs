//! The loop of the thread that reclaims.
//!
//! It sleeps for ever while nothing is registered. Else it looks at the limits as often as they are near, and when something
//! happens; far from all of them no pin state is read.
//!
//! Each limit has the regions below it, that is, those that a process below it has registered. Where less is available than the
//! policy wants, the oldest of those go. The narrowest limit comes first, so that what is freed there counts for those around it.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ashmem::pressure::{Proc, Woken};
use ashmem::{Clock, Reclaimer, Region, SystemClock};

use crate::limits::{Limits, drop_aside};
use crate::membership::Memberships;
use crate::policy::Policy;
use crate::snapshot;
use crate::table::Served;

/// How often to look where processes are, and whether limits were set; at a look that there is anyway.
const REFRESH: Duration = Duration::from_secs(5);

/// Bytes to take before reading again what is available.
const STEP: u64 = 16 << 20;

/// Between counts of what is unpinned, while that changes.
const BUDGET_INTERVAL: Duration = Duration::from_millis(50);

/// When the next look is further away than this, the pin state's memory is given up.
const REST: Duration = Duration::from_millis(100);

/// Between two looks, when processes come and register one region after the other.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Between two accounts of what was found.
const NOTES: Duration = Duration::from_millis(100);

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Looks at the limits.
    pub looks: u64,
    /// Looks at a limit with too little left.
    pub shortages: u64,
    /// Stalls that something was done about.
    pub stalls: u64,
    /// Counts that found more unpinned memory than a budget.
    pub over_budget: u64,
}

/// What the loop is told, and tells.
pub trait Host {
    /// The regions to take from, at each look.
    fn served(&self) -> Vec<Served>;
    /// The policy in force.
    fn policy(&self) -> Arc<Policy>;
    /// Without a thread of its own.
    fn reclaimer(&self) -> &Reclaimer;
    /// An eventfd that is readable after regions were registered, after another policy was set, and when it is the end.
    fn wake(&self) -> BorrowedFd<'_>;
    /// Whether this is the end.
    fn is_stopping(&self) -> bool;
    /// Some ten times a second at the most, and before a longer sleep.
    fn note(&self, limits: Vec<snapshot::Limit>, counts: Counts);
}

/// Reclaims until the host is stopping.
pub fn run(host: &impl Host) {
    ashmem::be_prompt();
    let mut turn = Turn::new(Proc::default(), Box::new(SystemClock::new()), host.reclaimer().clone());
    let mut noted: Option<Instant> = None;
    while !host.is_stopping() {
        let started = Instant::now();
        let next = {
            // Not kept while asleep: it may hold what nobody has registered any more.
            let served = host.served();
            let next = turn.look(&served, &host.policy(), &|| host.is_stopping());
            // Nobody looks more often, and counting regions takes a while.
            let is_last = next.is_none_or(|next| next >= NOTES);
            if is_last || noted.is_none_or(|noted| started.duration_since(noted) >= NOTES) {
                host.note(turn.limits(&served), turn.counts);
                noted = Some(started);
            }
            next
        };
        let spent = started.elapsed();
        let woken = turn.wait(host.wake(), next);
        // Empty when it was not what ended the wait.
        let _ = rustix::io::read(host.wake(), &mut [0; 8]);
        if woken == Woken::Called && !host.is_stopping() {
            if let Some(next) = next {
                // Looks take a part of the time only, whoever calls for them. Limits that come near do not wait for that.
                turn.pause(SHORTEST_PAUSE.max(4 * spent).min(next).saturating_sub(started.elapsed()));
            }
        }
    }
}

/// What is known from one look to the next.
pub(crate) struct Turn {
    proc: Proc,
    clock: Box<dyn Clock>,
    reclaimer: Reclaimer,
    /// None while nothing is registered.
    watch: Option<Watch>,
    pub(crate) counts: Counts,
    /// It was said that there are no stall events with this policy.
    warned: bool,
}

struct Watch {
    policy: Policy,
    limits: Limits,
    memberships: Memberships,
    processes: HashSet<u32>,
    regions: usize,
    refreshed: Duration,
    /// Pin states were looked at, and the memory for that was not given up.
    has_scanned: bool,
}

impl Turn {
    pub(crate) fn new(proc: Proc, clock: Box<dyn Clock>, reclaimer: Reclaimer) -> Turn {
        Turn { proc, clock, reclaimer, watch: None, counts: Counts::default(), warned: false }
    }

    /// Looks once, takes away what is called for, and says when to look again; never, if nothing is registered. Takes no more once it
    /// is the end.
    pub(crate) fn look(
        &mut self,
        served: &[Served],
        policy: &Policy,
        is_end: &dyn Fn() -> bool,
    ) -> Option<Duration> {
        if served.is_empty() {
            if let Some(watch) = self.watch.take() {
                drop_aside(watch);
            }
            return None;
        }
        self.counts.looks += 1;
        let now = self.clock.now();
        let (proc, clock) = (&self.proc, self.clock.as_ref());
        let watch = self.watch.get_or_insert_with(|| Watch::new(proc, policy, now));
        self.warned &= watch.policy == *policy;
        watch.update(served, policy, now);
        if !std::mem::replace(&mut self.warned, true) && !watch.limits.watches_stalls() {
            let (threshold, window) = (policy.stall.threshold, policy.stall.window);
            log::warn!("the kernel does not tell of stalls (PSI) of {threshold:?} in {window:?}");
        }
        let work = Work { served, clock, reclaimer: &self.reclaimer, counts: &mut self.counts, is_end };
        let next = watch.work(work);
        if watch.has_scanned && next >= REST {
            served.iter().for_each(|served| served.region.forget_pin_state());
            watch.has_scanned = false;
        }
        Some(next)
    }

    /// Sleeps until an event, until `wake` is readable, or for `timeout`; without a timeout, and while nothing is registered, for as long as
    /// it takes.
    pub(crate) fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        match (&mut self.watch, timeout) {
            (Some(watch), Some(_)) => watch.limits.wait(Some(wake), timeout),
            _ => ashmem::pressure::wait(&mut [], Some(wake), None, &mut []),
        }
    }

    /// Sleeps until an event, or for so long, whoever calls.
    fn pause(&mut self, time: Duration) {
        if let Some(watch) = &mut self.watch {
            watch.limits.wait(None, Some(time));
        }
    }

    /// The limits as they were at the last look.
    pub(crate) fn limits(&self, served: &[Served]) -> Vec<snapshot::Limit> {
        self.watch.as_ref().map(|watch| watch.limits.describe(served)).unwrap_or_default()
    }
}

/// What one look works with.
struct Work<'a> {
    served: &'a [Served],
    clock: &'a dyn Clock,
    reclaimer: &'a Reclaimer,
    counts: &'a mut Counts,
    is_end: &'a dyn Fn() -> bool,
}

impl Watch {
    fn new(proc: &Proc, policy: &Policy, now: Duration) -> Watch {
        Watch {
            policy: policy.clone(),
            limits: Limits::new(proc, policy),
            memberships: Memberships::new(proc.clone()),
            processes: HashSet::new(),
            regions: 0,
            refreshed: now,
            has_scanned: false,
        }
    }

    /// Follows what has changed: the policy, who has registered something, where they are, and what is limited.
    fn update(&mut self, served: &[Served], policy: &Policy, now: Duration) {
        if self.policy != *policy {
            self.policy = policy.clone();
            self.limits.follow(policy);
        }
        if std::mem::replace(&mut self.regions, served.len()) != served.len() {
            self.limits.nodes.iter_mut().for_each(|node| node.retry());
        }
        let processes: HashSet<u32> =
            served.iter().flat_map(|served| served.processes.iter().copied()).collect();
        let is_due = now.saturating_sub(self.refreshed) >= REFRESH;
        if is_due {
            self.refreshed = now;
            self.limits.refresh();
        }
        if is_due || processes != self.processes {
            self.memberships.update(&processes, is_due);
            self.processes = processes;
            self.limits.set_cgroups(self.memberships.members(), policy);
        }
        self.limits.read();
    }

    /// Takes away what the limits call for, the narrowest first, and says when to look again.
    fn work(&mut self, mut work: Work<'_>) -> Duration {
        let mut next = Duration::MAX;
        let mut freed = 0;
        for (index, has_stalled) in self.limits.stalls().into_iter().enumerate() {
            let Some(node) = self.limits.nodes.get_mut(index) else { break };
            if freed > 0 {
                // Some of it was from below this limit, too.
                node.read(&mut self.limits.buffer);
            }
            freed += self.relieve(index, has_stalled, &mut work);
            let now = work.clock.now();
            let Some(node) = self.limits.nodes.get(index) else { break };
            next = next.min(node.next_look(now).unwrap_or(Duration::MAX));
            if node.budget.is_some() {
                next = next.min(node.count_at.saturating_sub(now).max(Duration::from_millis(1)));
            }
        }
        // The system's limit is always there, but where there is no `/proc`.
        next.clamp(Duration::from_millis(1), REFRESH)
    }

    /// Does what one limit calls for; gives the bytes that became free.
    fn relieve(&mut self, index: usize, has_stalled: bool, work: &mut Work<'_>) -> u64 {
        let stall = self.policy.stall;
        let Limits { nodes, buffer } = &mut self.limits;
        let Some(node) = nodes.get_mut(index) else { return 0 };
        let now = work.clock.now();
        let is_short = node.is_short();
        if !is_short {
            node.note_rest();
        }
        let may_take = is_short && !node.is_left_alone(now);
        work.counts.shortages += u64::from(may_take);
        let is_stall_due =
            has_stalled && node.last_stall.is_none_or(|last| now.saturating_sub(last) >= stall.pause);
        if is_stall_due {
            node.last_stall = Some(now);
            work.counts.stalls += 1;
        }
        let budget = node.budget.filter(|_| now >= node.count_at);
        if !may_take && !is_stall_due && budget.is_none() {
            return 0;
        }
        self.has_scanned = true;
        let regions: Vec<Region> = work
            .served
            .iter()
            .filter(|served| node.is_above(served))
            .map(|served| served.region.clone())
            .collect();
        let excess = budget.map_or(0, |budget| {
            let count =
                regions.iter().filter_map(|region| region.reclaimable().ok()).fold(0, u64::saturating_add);
            let spent = work.clock.now().saturating_sub(now);
            node.count_at = now + node.pace.pause(count, BUDGET_INTERVAL, spent);
            count.saturating_sub(budget)
        });
        work.counts.over_budget += u64::from(excess > 0);
        let shortage = if may_take { node.missing() } else { 0 };
        if shortage == 0 && !is_stall_due && excess == 0 {
            return 0;
        }
        // What is allocated meanwhile is answered, too, but not for ever: it may be another limit's turn.
        let most = shortage.saturating_mul(2);
        let freed = work.reclaimer.reclaim_while(&regions, &mut |progress| {
            if (work.is_end)() {
                return 0;
            }
            let freed = progress.freed.bytes;
            let step = if is_stall_due { stall.take.max(progress.unpinned / 8) } else { 0 };
            let missing = match (shortage, freed) {
                (0, _) => 0,
                (_, 0) => shortage,
                _ => {
                    node.read(buffer);
                    node.missing().min(most.saturating_sub(freed))
                }
            };
            step.max(excess).saturating_sub(freed).max(missing.min(STEP))
        });
        if may_take {
            node.read(buffer);
            node.note_attempt(freed.bytes > 0, work.clock.now());
        }
        freed.bytes
    }
}

#[cfg(test)]
mod tests;
