//! One run: caches fill up, a neighbour allocates, and what became of everybody.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::Error;
use super::age::Order as Age;
use super::cgroup::{Cgroup, Limit, Parent};
use super::crew::Member;
use super::daemon::Daemon;
use super::member::{Answer, Checked, Kind, Order, Piece};
use super::sampler::{Sampler, Timeline};
use super::stop::Stop;

/// Of the limit, in percent: what the caches have together, and what the neighbour takes.
const CACHES: u64 = 80;
const NEIGHBOUR: u64 = 60;

/// The size of a region.
pub const REGION: u64 = 2 << 20;

/// How long is looked at memory after the neighbour has all of its own.
const AFTERWARDS: Duration = Duration::from_millis(60);

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Regions, each process with its own reclaimer.
    Embedded,
    /// Regions, with the daemon.
    Driver,
    /// Memfds.
    Plain,
    /// Files on tmpfs.
    Tmpfs,
}

impl Variant {
    /// Whether what is in it can be purged.
    pub fn gives_way(self) -> bool {
        matches!(self, Variant::Embedded | Variant::Driver)
    }

    pub fn name(self) -> &'static str {
        match self {
            Variant::Embedded => "ashmem, embedded",
            Variant::Driver => "ashmem, daemon",
            Variant::Plain => "plain memfd",
            Variant::Tmpfs => "files on tmpfs",
        }
    }
}

/// What all runs have in common.
pub struct Stage {
    /// First, so that it has ended before the cgroups are put back to what they were: it may be in one of them.
    pub daemon: Option<Daemon>,
    pub parent: Parent,
    pub stop: Stop,
    /// In bytes.
    pub limit: u64,
    pub processes: u64,
    /// On tmpfs.
    pub files: Option<TempDir>,
}

/// What became of everybody.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long the neighbour took; none if it was killed.
    pub time: Option<Duration>,
    pub kills: u64,
    /// Of each cache that is still there.
    pub caches: Vec<Checked>,
    pub timeline: Option<Timeline>,
}

impl Outcome {
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.caches.iter().flat_map(|cache| cache.regions.iter().copied())
    }

    /// The order of what was purged, over all caches.
    pub fn order(&self) -> Age {
        Age::of(self.pieces())
    }

    /// The same, within each.
    pub fn order_within(&self) -> Age {
        Age::sum(self.caches.iter().map(|cache| Age::of(cache.regions.iter().copied())))
    }

    /// Bytes that are neither what was written nor zeros, or are something else than the pin said.
    pub fn wrong(&self) -> u64 {
        self.pieces().map(|piece| piece.wrong).sum()
    }

    /// Bytes that the caches' own reclaimers have freed.
    pub fn freed_here(&self) -> u64 {
        self.caches.iter().map(|cache| cache.freed_here).sum()
    }
}

impl Stage {
    /// How long the neighbour takes where nobody else is.
    pub fn alone(&self, high: bool) -> Result<Duration, Error> {
        let cgroup = self.parent.make(Limit { max: self.limit, high })?;
        let mut neighbour = Member::start(&cgroup, &OsString::from("off"), &self.stop)?;
        match neighbour.ask(&Order::Touch(self.neighbour_bytes()))? {
            Some(Answer::Touched(time)) => Ok(time),
            Some(other) => Err(unexpected(&other)),
            None => Err(Error::KilledAlone),
        }
    }

    /// The whole story.
    pub fn crowded(&self, variant: Variant, high: bool, sampled: bool) -> Result<Outcome, Error> {
        let cgroup = self.parent.make(Limit { max: self.limit, high })?;
        let _files = self.files.as_ref().map(|directory| Emptied(directory.path()));
        let mut outcome = self.play(variant, &cgroup, sampled)?;
        outcome.kills = outcome.kills.max(cgroup.kills());
        Ok(outcome)
    }

    fn play(&self, variant: Variant, cgroup: &Cgroup, sampled: bool) -> Result<Outcome, Error> {
        let driver = match (variant, &self.daemon) {
            (Variant::Driver, Some(daemon)) => daemon.socket().into_os_string(),
            _ => "off".into(),
        };
        let mut neighbour = Member::start(cgroup, &driver, &self.stop)?;
        let start = || Member::start(cgroup, &driver, &self.stop);
        let mut caches = (0..self.processes).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
        let sampler = sampled.then(|| Sampler::start(cgroup, neighbour.process())).transpose()?;

        let kind = match (variant, &self.files) {
            (Variant::Embedded | Variant::Driver, _) => Kind::Regions,
            (Variant::Tmpfs, Some(directory)) => Kind::Files(directory.path().to_owned()),
            _ => Kind::Plain,
        };
        let count = self.limit * CACHES / 100 / REGION;
        for index in 0..count as usize {
            let index = index % caches.len();
            caches[index].ask(&Order::Fill { kind: kind.clone(), size: REGION })?;
        }
        if let Some(sampler) = &sampler {
            self.stop.sleep(AFTERWARDS)?;
            sampler.mark();
        }
        let time = match neighbour.ask(&Order::Touch(self.neighbour_bytes()))? {
            Some(Answer::Touched(time)) => Some(time),
            Some(other) => return Err(unexpected(&other)),
            None => None,
        };
        // Whoever purges may be at it still, and what is pinned meanwhile could not go in its turn.
        self.stop.sleep(AFTERWARDS)?;
        let timeline = sampler.map(Sampler::finish);
        // Pinned while the neighbour still has its memory; what is gone is looked at once there is room for its zeros.
        each(&mut caches, &Order::Pin)?;
        neighbour.ask(&Order::Release)?;
        let answers = each(&mut caches, &Order::Check)?;
        let checked = |answer| match answer {
            Answer::Checked(checked) => Ok(checked),
            other => Err(unexpected(&other)),
        };
        let killed = caches.iter().chain([&neighbour]).filter(|member| member.is_killed()).count();
        Ok(Outcome {
            time,
            kills: killed as u64,
            caches: answers.into_iter().map(checked).collect::<Result<_, _>>()?,
            timeline,
        })
    }

    fn neighbour_bytes(&self) -> u64 {
        self.limit * NEIGHBOUR / 100
    }
}

/// Gives an order to all at once, and waits for the answers of those that are still there.
fn each(members: &mut [Member], order: &Order) -> Result<Vec<Answer>, Error> {
    for member in &mut *members {
        member.tell(order)?;
    }
    let answers = members.iter_mut().map(Member::hear).collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().flatten().collect())
}

fn unexpected(answer: &Answer) -> Error {
    Error::Member(format!("an answer that does not fit the order: {answer:?}"))
}

/// A directory whose files go when this does: they stay when the process that wrote them is killed.
struct Emptied<'a>(&'a Path);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.0) else { return };
        for entry in entries.flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
