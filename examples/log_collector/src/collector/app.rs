//! An app whose region the collector has.

use std::os::fd::OwnedFd;

use ashmem::driver::socket;

use super::acceptor::Arrival;
use crate::clock::now;
use crate::files::{Batch, HOMELESS, Origin, Progress, Store};
use crate::lane::{Corrupt, Head, Reader};
use crate::shared::{RegionId, Shared};
use crate::socket::{Heard, REFUSED, hear};
use crate::{Error, Level, Result};

/// The tag of the collector's own records.
pub(super) const OWN_TAG: &str = "log_collector";

/// Bytes that are taken from an app before it is another's turn.
const BUDGET: usize = 8 << 20;

pub(super) struct App {
    process: u32,
    shared: Shared,
    connection: OwnedFd,
    lanes: Vec<State>,
    homeless: Count,
    is_gone: bool,
    is_failed: bool,
    /// Bytes that may still be taken in this round.
    budget: usize,
}

/// What the collector knows of a lane.
struct State {
    reader: Reader,
    /// The head of the next record, once it has been looked at.
    head: Option<Head>,
    lost: Count,
    /// Records of it are in the batch.
    is_in_batch: bool,
}

/// Records that were lost.
struct Count {
    /// As it was when last looked at.
    seen: u64,
    /// How many of them are in the log.
    reported: u64,
    /// How many will be when the batch is written.
    pending: Option<u64>,
}

impl Count {
    /// `reported` is what the app's memory says, which may not know of the last frame.
    fn new(reported: u64, known: Option<Progress>) -> Count {
        let known = known.map_or(reported, |known| known.lost);
        let is_newer = known.wrapping_sub(reported) as i64 > 0;
        let reported = if is_newer { known } else { reported };
        Count { seen: reported, reported, pending: None }
    }

    /// Adds a record that says what was lost since the last one.
    fn tell(&mut self, batch: &mut Batch, process: u32, thread: u32, why: &str) {
        let count = self.seen.wrapping_sub(self.reported);
        if count > 0 {
            let message = format!("{count} records lost: {why}");
            note(batch, Level::Warn, process, thread, &message);
            self.pending = Some(self.seen);
        }
    }

    fn settle(&mut self) -> Option<u64> {
        let settled = self.pending.take()?;
        self.reported = settled;
        Some(settled)
    }
}

/// Adds a record of the collector's.
pub(super) fn note(batch: &mut Batch, level: Level, process: u32, thread: u32, message: &str) {
    let of = Origin { time: now(), process, thread };
    batch.push(of, level, (OWN_TAG.len(), message.len()), |raw| {
        raw.extend_from_slice(OWN_TAG.as_bytes());
        raw.extend_from_slice(message.as_bytes());
    });
}

impl App {
    pub(super) fn new(arrival: Arrival, store: &Store) -> Result<App> {
        let Arrival { process, shared, connection } = arrival;
        let id = shared.id();
        let corrupt = |Corrupt(reason)| {
            let _ = socket::send(&connection, REFUSED, &[]);
            Error::Corrupt { process, reason }
        };
        let mut lanes = Vec::with_capacity(shared.lanes());
        for (index, number) in (0..shared.lanes()).zip(0..) {
            let lane = shared.lane(index)?;
            let known = store.known(id, number);
            let reader = Reader::new(lane, known.map(|known| known.position)).map_err(corrupt)?;
            let lost = Count::new(lane.reported(), known);
            lanes.push(State { reader, head: None, lost, is_in_batch: false });
        }
        let reported = shared.homeless_reported()?.load(std::sync::atomic::Ordering::Acquire);
        let homeless = Count::new(reported, store.known(id, HOMELESS));
        Ok(App { process, shared, connection, lanes, homeless, is_gone: false, is_failed: false, budget: 0 })
    }

    /// Which region it is.
    pub(super) fn region(&self) -> RegionId {
        self.shared.id()
    }

    pub(super) fn connection(&self) -> Option<&OwnedFd> {
        (!self.is_gone).then_some(&self.connection)
    }

    /// Notices whether the app is gone.
    pub(super) fn hear(&mut self) {
        self.is_gone = self.is_gone || hear(&self.connection) != Heard::Nothing;
    }

    /// Begins a round: looks what has been published, and gives the time of the next record of each lane that has one.
    pub(super) fn begin(&mut self) -> Result<Vec<(u64, usize)>> {
        self.budget = BUDGET;
        let mut found = Vec::new();
        self.homeless.seen = self.shared.homeless()?.load(std::sync::atomic::Ordering::Acquire);
        for (index, state) in self.lanes.iter_mut().enumerate() {
            let lane = self.shared.lane(index)?;
            // Before the records: those that were lost are told of behind them.
            state.lost.seen = lane.lost();
            let corrupt = |Corrupt(reason)| Error::Corrupt { process: self.process, reason };
            state.reader.look(lane).map_err(corrupt)?;
            state.head = state.reader.head(lane).map_err(corrupt)?;
            found.extend(state.head.map(|head| (head.time(), index)));
        }
        Ok(found)
    }

    /// Takes the next record of a lane into the batch, and gives the time of the one behind it, if it is to be taken in this round.
    pub(super) fn take(&mut self, index: usize, batch: &mut Batch) -> Result<Option<u64>> {
        let Some(state) = self.lanes.get_mut(index).filter(|_| !self.is_failed) else { return Ok(None) };
        let Some(head) = state.head.take() else { return Ok(None) };
        let lane = self.shared.lane(index)?;
        let of = Origin { time: head.time(), process: self.process, thread: head.thread() };
        batch.push(of, head.level(), (head.tag(), head.message()), |raw| state.reader.take(lane, head, raw));
        state.is_in_batch = true;
        self.budget = self.budget.saturating_sub(8 * head.words());
        let next = state.reader.head(lane);
        state.head = next.map_err(|Corrupt(reason)| Error::Corrupt { process: self.process, reason })?;
        Ok(state.head.map(|head| head.time()).filter(|_| self.budget > 0))
    }

    /// Adds what was lost.
    pub(super) fn tell_losses(&mut self, batch: &mut Batch) {
        self.homeless.tell(batch, self.process, 0, "there was no lane for their threads");
        for (index, state) in self.lanes.iter_mut().enumerate() {
            let thread = self.shared.lane(index).map_or(0, |lane| lane.owner());
            state.lost.tell(batch, self.process, thread, "the lane was full");
        }
    }

    /// How far the lanes are that the batch has something of.
    pub(super) fn progress(&self) -> impl Iterator<Item = Progress> + '_ {
        let region = self.shared.id();
        let homeless =
            self.homeless.pending.map(|lost| Progress { region, lane: HOMELESS, position: 0, lost });
        let lanes =
            (0..).zip(&self.lanes).filter(|(_, state)| state.is_in_batch || state.lost.pending.is_some());
        let lanes = lanes.map(move |(lane, state)| Progress {
            region,
            lane,
            position: state.reader.position(),
            lost: state.lost.pending.unwrap_or(state.lost.reported),
        });
        homeless.into_iter().chain(lanes)
    }

    /// The batch is written: lets the lanes have their room.
    pub(super) fn settle(&mut self) -> Result<()> {
        if let Some(lost) = self.homeless.settle() {
            self.shared.homeless_reported()?.store(lost, std::sync::atomic::Ordering::Release);
        }
        for (index, state) in self.lanes.iter_mut().enumerate() {
            let lane = self.shared.lane(index)?;
            if std::mem::take(&mut state.is_in_batch) {
                state.reader.release(lane);
            }
            if let Some(lost) = state.lost.settle() {
                lane.report(lost);
            }
        }
        Ok(())
    }

    /// The batch could not be written: what was taken is taken again.
    pub(super) fn rewind(&mut self) {
        self.homeless.pending = None;
        for state in &mut self.lanes {
            state.reader.rewind();
            state.is_in_batch = false;
            state.head = None;
            state.lost.pending = None;
        }
    }

    /// Gives the app up, and tells it, if it can be told anything.
    pub(super) fn fail(&mut self) {
        self.is_failed = true;
        let _ = socket::send(&self.connection, REFUSED, &[]);
    }

    /// Whether this round has left something.
    pub(super) fn has_more(&self) -> bool {
        !self.is_failed && self.lanes.iter().any(|state| !state.reader.is_at_end())
    }

    /// Whether there is nothing to do for it any more: it was gone before this round, and nothing is left.
    pub(super) fn is_over(&self) -> bool {
        let is_told = |count: &Count| count.seen == count.reported;
        let is_empty = |state: &State| state.reader.is_at_end() && is_told(&state.lost);
        self.is_failed || self.is_gone && is_told(&self.homeless) && self.lanes.iter().all(is_empty)
    }
}
