//! Looking at everything, again and again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use ashmem::Policy;
use ashmem::pressure::{PressureSource, SystemPressure};
use ashmem_driver::snapshot::{Limit, Purge};
use serde::Serialize;

use crate::error::Error;
use crate::memory::memory_of_system;
use crate::tools::line::Line;
use crate::tools::seen::{Seen, Source};

/// Everything at one moment. Sizes are in bytes; the names are those of the JSON documents.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Look {
    /// Since the first one began.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub at: Duration,
    pub source: Source,
    pub driver: Option<Driver>,
    /// Why a daemon that seems to be there has told nothing, or why nothing could be seen.
    pub trouble: Option<String>,
    /// Processes that were looked at, or have registered something.
    pub processes: u64,
    /// Processes that may not be looked at.
    pub hidden_processes: u64,
    pub limits: Vec<Limit>,
    /// Of the last ten seconds, percent in which something waited for memory.
    pub pressure: Option<f64>,
    pub regions: Vec<Line>,
    /// Since the look before; the latest last.
    pub purges: Vec<Event>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Driver {
    pub process: u32,
    pub version: String,
    pub uptime_seconds: f64,
}

/// Pages that were taken away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    pub ago_seconds: f64,
    pub name: String,
    pub inode: u64,
    /// Where, if it is known.
    pub start: Option<u64>,
    /// Where they end.
    pub end: Option<u64>,
    /// Memory that this freed; or else how much was taken away, in memory or not.
    pub bytes: u64,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Remembers what it has seen before, to tell what is new.
pub struct Looker {
    began: Instant,
    last: Option<Instant>,
    /// Made when it is needed: it has the kernel watch for stalls.
    pressure: Option<SystemPressure>,
    /// What of each region was purged, by its inode.
    purged: HashMap<u64, u64>,
    /// The daemon's process, and the last of its purges.
    purges_of: (u32, u64),
    /// The regions that it has told of purges of, in the last look.
    told: HashSet<u64>,
}

impl Looker {
    pub fn new() -> Looker {
        Looker {
            began: Instant::now(),
            last: None,
            pressure: None,
            purged: HashMap::new(),
            purges_of: (0, 0),
            told: HashSet::new(),
        }
    }

    pub fn look(&mut self) -> Result<Look, Error> {
        let now = Instant::now();
        let look = self.describe(Seen::look()?, now);
        self.last = Some(now);
        Ok(look)
    }

    fn describe(&mut self, seen: Seen, now: Instant) -> Look {
        let mut look = Look {
            at: now.saturating_duration_since(self.began),
            source: seen.source,
            trouble: seen.trouble,
            processes: seen.processes,
            hidden_processes: seen.hidden,
            pressure: pressure(),
            regions: seen.regions,
            ..Look::default()
        };
        let mut found = self.newly_purged(&look.regions);
        match seen.driver {
            Some(snapshot) => {
                look.purges = self.new_purges(snapshot.process, snapshot.purges, now);
                // What it does not tell of was done by others. It tells of purges after it has counted, so that they can come a
                // look before the counts.
                let told = look.purges.iter().map(|event| event.inode).collect();
                let told_before = std::mem::replace(&mut self.told, told);
                found
                    .retain(|event| !self.told.contains(&event.inode) && !told_before.contains(&event.inode));
                look.purges.append(&mut found);
                look.limits = snapshot.limits;
                let (process, version) = (snapshot.process, snapshot.version);
                look.driver = Some(Driver { process, version, uptime_seconds: snapshot.uptime_seconds });
            }
            None => look.purges = found,
        }
        if look.limits.is_empty() {
            look.limits = self.limits();
        }
        look
    }

    /// Regions of which more is purged than the last time.
    fn newly_purged(&mut self, regions: &[Line]) -> Vec<Event> {
        let before = std::mem::take(&mut self.purged);
        self.purged = regions.iter().map(|line| (line.inode, line.purged)).collect();
        let event = |line: &Line| {
            let bytes = line.purged.checked_sub(*before.get(&line.inode)?)?;
            let (name, inode) = (line.name.clone(), line.inode);
            (bytes > 0).then_some(Event { ago_seconds: 0.0, name, inode, start: None, end: None, bytes })
        };
        regions.iter().filter_map(event).collect()
    }

    /// What a daemon has not told of before. Of another daemon than the last time, what has happened since then: the rest was seen
    /// otherwise.
    fn new_purges(&mut self, process: u32, purges: Vec<Purge>, now: Instant) -> Vec<Event> {
        let (known_process, known) = self.purges_of;
        let since = self.last.map(|last| now.saturating_duration_since(last).as_secs_f64());
        let is_new = |purge: &Purge| match since {
            Some(_) if process == known_process => purge.number > known,
            Some(since) => purge.ago_seconds <= since,
            None => true,
        };
        let last = purges.iter().map(|purge| purge.number).max();
        let event = |purge: Purge| Event {
            ago_seconds: purge.ago_seconds,
            name: purge.name,
            inode: purge.inode,
            start: Some(purge.start),
            end: Some(purge.end),
            bytes: purge.freed,
        };
        let known = if process == known_process { known } else { 0 };
        self.purges_of = (process, last.map_or(known, |last| last.max(known)));
        purges.into_iter().filter(is_new).map(event).collect()
    }

    /// The limits that apply to this process, as every reclaimer sees its own.
    fn limits(&mut self) -> Vec<Limit> {
        let policy = Policy::default();
        let system = memory_of_system("MemTotal");
        let headrooms = self.pressure.get_or_insert_default().read().headrooms;
        let limit = |headroom: ashmem::pressure::Headroom| Limit {
            name: if Some(headroom.limit) == system { "system" } else { "own cgroup" }.to_owned(),
            limit: headroom.limit,
            available: headroom.available,
            reserve: policy.reserve_for(headroom.limit),
            ..Limit::default()
        };
        headrooms.into_iter().map(limit).collect()
    }
}

/// What the kernel says of stalls for memory; none where it does not tell.
fn pressure() -> Option<f64> {
    some_avg10(&fs::read_to_string("/proc/pressure/memory").ok()?)
}

fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    percent.is_finite().then_some(percent)
}

#[cfg(test)]
mod tests {
    use ashmem_driver::Snapshot;

    use super::*;

    fn line(inode: u64, purged: u64) -> Line {
        Line::from_driver(ashmem_driver::snapshot::Region { inode, purged, ..Default::default() })
    }

    fn purge(number: u64, ago_seconds: f64) -> Purge {
        Purge { number, ago_seconds, freed: number, ..Purge::default() }
    }

    fn driver(process: u32, purges: Vec<Purge>) -> Seen {
        let snapshot = Snapshot { process, purges, ..Snapshot::default() };
        Seen { source: Source::Driver, driver: Some(snapshot), ..Seen::default() }
    }

    #[test]
    fn pressure_is_a_word_of_the_kernel_s() {
        let text = "some avg10=1.25 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.50 avg60=0.0 total=1\n";
        assert_eq!(some_avg10(text), Some(1.25));
        for text in ["", "full avg10=1", "some avg10=x", "some avg10=NaN"] {
            assert_eq!(some_avg10(text), None, "{text:?}");
        }
    }

    #[test]
    fn without_a_daemon_counts_tell_of_purges() {
        let mut looker = Looker::new();
        let mut look = |regions| {
            let seen = Seen { regions, ..Seen::default() };
            let look = looker.describe(seen, Instant::now());
            look.purges.iter().map(|event| (event.inode, event.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(look(vec![line(1, 5), line(2, 0)]), [], "nobody knows since when");
        assert_eq!(look(vec![line(1, 5), line(2, 3), line(3, 9)]), [(2, 3)]);
        assert_eq!(look(vec![line(1, 6), line(2, 0)]), [(1, 1)], "the other was pinned again");
        assert_eq!(look(vec![line(2, 7)]), [(2, 7)]);
    }

    #[test]
    fn purges_are_told_once() {
        const NOTHING: [u64; 0] = [];
        let mut looker = Looker::new();
        let start = Instant::now();
        let mut look = |seen, second| {
            let now = start + Duration::from_secs(second);
            let look = looker.describe(seen, now);
            looker.last = Some(now);
            look.purges.iter().map(|event| event.bytes).collect::<Vec<_>>()
        };
        assert_eq!(look(driver(7, vec![purge(1, 100.0), purge(2, 1.0)]), 0), [1, 2]);
        assert_eq!(look(driver(7, vec![purge(1, 101.0), purge(2, 2.0), purge(3, 0.5)]), 1), [3]);
        assert_eq!(look(driver(7, vec![]), 2), NOTHING);
        assert_eq!(look(driver(7, vec![purge(3, 2.5)]), 3), NOTHING);
        // Another one, which counts from the beginning.
        assert_eq!(look(driver(8, vec![purge(1, 1.5), purge(2, 0.1)]), 4), [2]);
        assert_eq!(look(Seen::default(), 5), NOTHING);
        assert_eq!(look(driver(8, vec![purge(2, 2.1), purge(3, 0.1)]), 6), [3]);
    }

    #[test]
    fn purges_that_the_daemon_does_not_tell_of_are_by_others() {
        let mut looker = Looker::new();
        let mut look = |purged, purges: Vec<u64>| {
            let purges =
                purges.iter().map(|number| Purge { inode: 5, ..purge(*number, 0.0) }).collect::<Vec<_>>();
            let seen = Seen { regions: vec![line(5, purged), line(6, purged)], ..driver(7, purges) };
            let now = Instant::now();
            let look = looker.describe(seen, now);
            looker.last = Some(now);
            look.purges.iter().map(|event| (event.inode, event.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(look(0, vec![]), []);
        assert_eq!(look(100, vec![1]), [(5, 1), (6, 100)]);
        assert_eq!(look(100, vec![1, 2]), [(5, 2)]);
        assert_eq!(look(110, vec![1, 2]), [(6, 10)], "of the other it was told");
        assert_eq!(look(120, vec![1, 2]), [(5, 10), (6, 10)]);
    }

    #[test]
    fn there_are_limits_without_a_daemon() {
        let limits = Looker::new().limits();
        assert!(limits.iter().any(|limit| limit.name == "system" && limit.reserve > 0), "{limits:?}");
    }
}
