//! The limits on memory that registered regions are below.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::thread::Builder;
use std::time::Duration;

use ashmem::pressure::{
    BUFFER_SIZE, Directory, Gauge, Headroom, Pace, Proc, Stall, Woken, next_look_at, wait,
};

use crate::policy::{self, Policy};
use crate::snapshot;
use crate::table::Served;

/// Stalls count while less than so many times what is to stay available is left.
const NEAR: u64 = 4;

/// How long to leave a limit alone below which nothing is left to take, at first and at most.
const BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// The system's limit, and those of cgroups that processes with registered regions are in.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The narrowest first, the system's last.
    pub(crate) nodes: Vec<Node>,
    pub(crate) buffer: Vec<u8>,
}

/// A limit, or a cgroup that the policy has a budget for.
#[derive(Debug)]
pub(crate) struct Node {
    /// None for the system.
    directory: Option<Directory>,
    /// The processes in the cgroup or below it.
    members: HashSet<u32>,
    pub(crate) gauge: Gauge,
    headroom: policy::Headroom,
    pub(crate) budget: Option<u64>,
    /// What was read last, and whether an event will announce that the reserve is reached.
    seen: Option<(Headroom, bool)>,
    /// The limit and the reserve that the events were set for.
    armed: Option<(u64, u64)>,
    /// Whether tasks were stalled before the last reading.
    pub(crate) stalled: bool,
    pub(crate) last_stall: Option<Duration>,
    /// Of counting for the budget.
    pub(crate) pace: Pace,
    pub(crate) count_at: Duration,
    /// How long it is left alone, and until when.
    vain: Option<(Duration, Duration)>,
}

impl Limits {
    /// The system's limit alone.
    pub(crate) fn new(proc: &Proc, policy: &Policy) -> Limits {
        let gauge = Gauge::system(proc, Some(stall(policy)));
        let mut system = Node::new(None, HashSet::new(), gauge);
        system.follow(policy);
        Limits { nodes: vec![system], buffer: vec![0; BUFFER_SIZE] }
    }

    /// Has the limits of these cgroups, with the processes in them, beside the system's. What is known of the others is forgotten.
    pub(crate) fn set_cgroups(&mut self, mut members: HashMap<Directory, HashSet<u32>>, policy: &Policy) {
        let mut left = Vec::new();
        for mut node in std::mem::take(&mut self.nodes) {
            match &node.directory {
                None => self.nodes.push(node),
                Some(directory) => match members.remove(directory) {
                    Some(members) => {
                        node.members = members;
                        self.nodes.push(node);
                    }
                    None => left.push(node),
                },
            }
        }
        drop_aside(left);
        for (directory, members) in members {
            // One that was removed meanwhile limits nobody.
            let gauge = Gauge::cgroup(&directory, Some(stall(policy)), &mut self.buffer);
            let node = gauge.map(|gauge| Node::new(Some(directory), members, gauge));
            self.nodes.extend(node.map(|mut node| {
                node.follow(policy);
                node
            }));
        }
        // A cgroup comes before those above it.
        self.nodes.sort_by_key(|node| Reverse(node.depth()));
    }

    /// Another policy is in force.
    pub(crate) fn follow(&mut self, policy: &Policy) {
        for node in &mut self.nodes {
            node.follow(policy);
        }
    }

    /// Looks whether limits were set or removed.
    pub(crate) fn refresh(&mut self) {
        for node in &mut self.nodes {
            node.gauge.refresh(&mut self.buffer);
        }
    }

    /// Reads all of them.
    pub(crate) fn read(&mut self) {
        for node in &mut self.nodes {
            node.read(&mut self.buffer);
            node.stalled = node.gauge.take_stalled();
        }
    }

    /// Whether the kernel tells of stalls.
    pub(crate) fn watches_stalls(&self) -> bool {
        self.nodes.last().is_some_and(|system| system.gauge.watches_stalls())
    }

    /// The stalls that are to be done something about: tasks wait where memory is short. Gives for each limit whether there was one.
    pub(crate) fn stalls(&self) -> Vec<bool> {
        let system = self.nodes.last().filter(|system| system.stalled);
        // Who waits for memory, nobody says; where the system has enough, it is in some cgroup that has not.
        let anywhere = system.is_some_and(|system| !system.is_near());
        let stalled = |node: &Node| {
            let is_told = node.stalled || anywhere && !node.gauge.watches_stalls();
            is_told && node.is_near()
        };
        self.nodes.iter().map(stalled).collect()
    }

    /// Sleeps until an event, until `wake`, if there is one, is readable, or for `timeout`. Limits that are left alone have no events.
    pub(crate) fn wait(&mut self, wake: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> Woken {
        let nodes = self.nodes.iter_mut().filter(|node| node.vain.is_none());
        let mut gauges: Vec<&mut Gauge> = nodes.map(|node| &mut node.gauge).collect();
        wait(&mut gauges, wake, timeout, &mut self.buffer)
    }

    /// What was found, for who asks.
    pub(crate) fn describe(&self, served: &[Served]) -> Vec<snapshot::Limit> {
        let nodes = self.nodes.iter().rev().filter(|node| node.seen.is_some() || node.budget.is_some());
        nodes.map(|node| node.describe(served)).collect()
    }
}

impl Node {
    fn new(directory: Option<Directory>, members: HashSet<u32>, gauge: Gauge) -> Node {
        Node {
            directory,
            members,
            gauge,
            headroom: policy::Headroom::Automatic,
            budget: None,
            seen: None,
            armed: None,
            stalled: false,
            last_stall: None,
            pace: Pace::default(),
            count_at: Duration::ZERO,
            vain: None,
        }
    }

    fn follow(&mut self, policy: &Policy) {
        self.gauge.set_stall(Some(stall(policy)));
        (self.headroom, self.budget) = match &self.directory {
            None => (policy.headroom, policy.budget),
            Some(directory) => {
                let exception = policy.exception(&directory.cgroup);
                let headroom = exception.and_then(|exception| exception.headroom);
                (headroom.unwrap_or(policy.headroom), exception.and_then(|exception| exception.budget))
            }
        };
        (self.armed, self.pace, self.count_at, self.vain) = (None, Pace::default(), Duration::ZERO, None);
    }

    /// How many cgroups it is below; the system is below none.
    fn depth(&self) -> usize {
        self.directory.as_ref().map_or(0, |directory| directory.cgroup.components().count())
    }

    pub(crate) fn is_above(&self, served: &Served) -> bool {
        self.directory.is_none() || served.processes.iter().any(|process| self.members.contains(process))
    }

    /// Reads what is left, and has the kernel announce what it can.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) {
        self.gauge.take_over();
        self.seen = self.gauge.headroom(buffer);
        let Some((headroom, _)) = self.seen else { return };
        let wanted = (headroom.limit, self.headroom.below(headroom.limit));
        if self.armed.replace(wanted) != Some(wanted) {
            self.gauge.arm_meanwhile(&|limit| self.headroom.below(limit), buffer);
        }
    }

    /// What is left of the limit, and what is to stay.
    fn balance(&self) -> Option<(u64, u64)> {
        let (headroom, _) = self.seen?;
        Some((headroom.available, self.headroom.below(headroom.limit)))
    }

    pub(crate) fn is_short(&self) -> bool {
        self.balance().is_some_and(|(available, reserve)| available < reserve)
    }

    fn is_near(&self) -> bool {
        self.balance().is_some_and(|(available, reserve)| available <= reserve.saturating_mul(NEAR))
    }

    /// Bytes until twice as much as is to stay available is: not every page allocated next is to call for another round.
    pub(crate) fn missing(&self) -> u64 {
        self.balance().map_or(0, |(available, reserve)| reserve.saturating_mul(2).saturating_sub(available))
    }

    /// Whether it is left alone now, as nothing was left to take a moment ago.
    pub(crate) fn is_left_alone(&self, now: Duration) -> bool {
        self.vain.is_some_and(|(_, until)| now < until)
    }

    /// Too little was available; whether anything could be done about it.
    pub(crate) fn note_attempt(&mut self, has_freed: bool, now: Duration) {
        let longer = self.vain.map_or(BACK_OFF, |(pause, _)| (2 * pause).min(LONGEST_BACK_OFF));
        self.vain = if has_freed { None } else { Some((longer, now + longer)) };
    }

    /// Enough is available.
    pub(crate) fn note_rest(&mut self) {
        self.vain = None;
    }

    /// Forgets that nothing was left to take: there is more now.
    pub(crate) fn retry(&mut self) {
        self.vain = self.vain.map(|(pause, _)| (pause, Duration::ZERO));
    }

    /// How long the next look can wait.
    pub(crate) fn next_look(&self, now: Duration) -> Option<Duration> {
        let (headroom, is_covered) = self.seen?;
        Some(match self.vain {
            Some((_, until)) => until.saturating_sub(now),
            None => next_look_at(headroom, self.headroom.below(headroom.limit), is_covered),
        })
    }

    fn describe(&self, served: &[Served]) -> snapshot::Limit {
        let (available, reserve) = self.balance().unwrap_or_default();
        snapshot::Limit {
            name: match &self.directory {
                None => "system".to_owned(),
                Some(directory) => directory.path.display().to_string(),
            },
            limit: self.seen.map_or(0, |(headroom, _)| headroom.limit),
            available,
            reserve,
            budget: self.budget,
            regions: served.iter().filter(|served| self.is_above(served)).count() as u64,
        }
    }
}

/// Drops something by a thread of its own: the kernel takes some tens of milliseconds to end an event, during which no limit would
/// be looked at.
pub(crate) fn drop_aside(what: impl Send + 'static) {
    // Where there is no thread to be had, it is dropped here.
    let _ = Builder::new().name("closing".to_owned()).spawn(move || drop(what));
}

fn stall(policy: &Policy) -> Stall {
    Stall { threshold: policy.stall.threshold, window: policy.stall.window }
}
