//! What a process keeps for its holds on a region: a description of its own to lock through, and the slot that it counts in.
//!
//! All of it belongs to one process: a forked child finds the description closed, so that a parent's locks end with the parent, and
//! starts anew.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use rustix::io::Errno;

use super::Inner;
use crate::control::Control;
use crate::state::SLOTS;
use crate::sys::fork::{self, Section};
use crate::sys::lock::{self, Kind};
use crate::sys::lock_file::LockFile;
use crate::sys::memfd;
use crate::{Error, Result};

/// Lock bytes, counted from the start of the control block; that one is the purge lock. They need not exist in the file.
const SLOT_BYTES: u64 = 16;
pub(crate) const CLAIM_BYTES: u64 = 64;

/// After so many vain tries to get a slot it is tried again.
const TRY_AGAIN: u32 = 64;

/// Says that this process has no slot, in the place of its number.
const NONE: u64 = u32::MAX as u64;

#[derive(Default)]
pub(crate) struct Holder {
    /// The fork generation in the upper half, in the lower the number of the slot and one. 0 before the first hold.
    slot: AtomicU64,
    kept: Mutex<Kept>,
}

/// Only touched inside a fork section, as it is behind a mutex.
#[derive(Default)]
pub(super) struct Kept {
    /// The fork generation of the process that all this belongs to.
    generation: u32,
    file: Option<LockFile>,
    slot: Option<usize>,
    vain: u32,
    /// Read-locked ranges.
    leased: Coverage,
    /// Bytes that are write-locked for threads of this process.
    pub(super) claimed: Vec<(u64, ThreadId)>,
}

impl Holder {
    /// The slot that this process counts its holds in, once it has one.
    #[inline]
    pub(crate) fn slot(&self) -> Option<usize> {
        let word = self.slot.load(Ordering::Acquire);
        let number = word & NONE;
        (word >> 32 == u64::from(fork::generation()) && number != 0 && number != NONE)
            .then(|| number as usize - 1)
    }

    /// What is kept, for who has a section open.
    pub(super) fn kept(&self, _: &Section) -> MutexGuard<'_, Kept> {
        // Nothing panics between two changes that belong together.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = fork::generation();
        if kept.generation != generation {
            *kept = Kept { generation, ..Kept::default() };
        }
        kept
    }

    /// The slot of this process, taken now if it has none; `None` when all are taken.
    #[cold]
    pub(crate) fn take_slot(&self, region: &Inner, control: &Control) -> Result<Option<usize>> {
        let section = fork::section();
        let mut kept = self.kept(&section);
        if kept.slot.is_none() {
            if kept.vain % TRY_AGAIN == 0 {
                kept.slot = kept.with_file(region, &section, |file| Ok(free_slot(file, control)))??;
            }
            kept.vain = if kept.slot.is_none() { kept.vain.wrapping_add(1) } else { 0 };
        }
        if let Some(slot) = kept.slot {
            let word = u64::from(fork::generation()) << 32 | (slot as u64 + 1);
            self.slot.store(word, Ordering::Release);
        }
        Ok(kept.slot)
    }
}

impl Kept {
    /// Does something with the description that this process opens for its locks.
    pub(super) fn with_file<T>(
        &mut self,
        region: &Inner,
        section: &Section,
        action: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let writable =
                    memfd::is_writable(region.state_fd()).map_err(Error::system("look at descriptor"))?;
                let file = LockFile::open(region.state_fd(), writable, section);
                self.file.insert(file.map_err(Error::system("reopen region for leases"))?)
            }
        };
        file.with(section, action).map_err(Error::system("lock region"))
    }

    /// Read-locks a range, as far as it is not locked yet; false when somebody is in the way.
    pub(super) fn lease(&mut self, region: &Inner, section: &Section, range: &Range<u64>) -> Result<bool> {
        self.with_file(region, section, |_| Ok(()))?;
        let Some(file) = &self.file else { return Ok(false) };
        let fresh = self.leased.add(range);
        let all = file.with(section, |file| {
            for part in fresh {
                if !lock::try_set(file, Kind::Read, part.start, part.end)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        if all != Ok(true) {
            self.end_lease(section, range);
        }
        all.map_err(Error::system("lease"))
    }

    /// Gives a range back that was read-locked.
    pub(super) fn end_lease(&mut self, section: &Section, range: &Range<u64>) {
        let bare = self.leased.remove(range);
        let Some(file) = &self.file else { return };
        // Cannot fail for a range that was locked, except for want of memory to split a lock: then it stays until the file is closed.
        let _ = file.with(section, |file| {
            bare.iter().try_for_each(|part| lock::try_set(file, Kind::Unlock, part.start, part.end).map(drop))
        });
    }
}

/// Locks a slot that no living process has, and clears it.
fn free_slot(file: BorrowedFd<'_>, control: &Control) -> Result<Option<usize>> {
    let holds = control.holds();
    let lock = |slot| {
        let byte = slot_byte(control, slot);
        lock::try_set(file, Kind::Write, byte, byte + 1).map_err(Error::system("take a slot for leases"))
    };
    // Those that nobody left anything in are the cheaper ones.
    for clean in [true, false] {
        for slot in 0..SLOTS {
            if holds.is_used(slot) == clean || !lock(slot)? {
                continue;
            }
            if holds.has_row(slot) {
                let row = control.row_bytes(slot);
                if memfd::punch(file, row.start, row.end - row.start).is_err() {
                    // For somebody else to try; this process uses locks.
                    let byte = slot_byte(control, slot);
                    let _ = lock::try_set(file, Kind::Unlock, byte, byte + 1);
                    continue;
                }
            }
            holds.reset(slot);
            holds.open(slot);
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

fn slot_byte(control: &Control, slot: usize) -> u64 {
    control.layout().control_start() + SLOT_BYTES + slot as u64
}

/// The slots in which living processes count something, as seen through `file`.
pub(crate) fn live_slots(file: BorrowedFd<'_>, control: &Control) -> Vec<usize> {
    let holds = control.holds();
    let is_live = |slot: usize| {
        let byte = slot_byte(control, slot);
        // When in doubt it lives.
        lock::is_held(file, Kind::Write, byte, byte + 1).unwrap_or(true)
    };
    holds.opened().filter(|slot| holds.is_used(*slot) && is_live(*slot)).collect()
}

/// How often each byte is covered by ranges, of which many may overlap.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// From each place up to the next, so many ranges cover it. In order; starts and ends with nothing covered.
    steps: Vec<(u64, u64)>,
    /// What the last change was about, kept for its memory.
    alone: Vec<Range<u64>>,
}

impl Coverage {
    /// The index of the step at `place`, which is put there if there is none.
    fn step(&mut self, place: u64) -> usize {
        match self.steps.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => index,
            Err(index) => {
                let count = self.count_before(index);
                self.steps.insert(index, (place, count));
                index
            }
        }
    }

    fn count_before(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.steps[before].1)
    }

    /// Adds or removes a range that was added, and returns the parts of it that nothing else covers.
    fn change(&mut self, range: &Range<u64>, add: bool) -> &[Range<u64>] {
        let (first, last) = (self.step(range.start), self.step(range.end));
        self.alone.clear();
        for index in first..last {
            let (from, to) = (self.steps[index].0, self.steps[index + 1].0);
            let count = &mut self.steps[index].1;
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count != u64::from(add) {
                continue;
            }
            match self.alone.last_mut() {
                Some(part) if part.end == from => part.end = to,
                _ => self.alone.push(from..to),
            }
        }
        // Between them the differences are what they were.
        for index in [last, first] {
            if self.steps[index].1 == self.count_before(index) {
                self.steps.remove(index);
            }
        }
        &self.alone
    }

    /// Adds a range, and returns the parts of it that were not covered before.
    pub(super) fn add(&mut self, range: &Range<u64>) -> &[Range<u64>] {
        self.change(range, true)
    }

    /// Removes a range that was added, and returns the parts of it that are not covered any more.
    pub(super) fn remove(&mut self, range: &Range<u64>) -> &[Range<u64>] {
        self.change(range, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn coverage_counts_like_an_array(
            steps in proptest::collection::vec((0u64..40, 1u64..20, any::<bool>(), any::<prop::sample::Index>()), 1..60),
        ) {
            let mut coverage = Coverage::default();
            let mut counts = [0u32; 64];
            let mut added: Vec<Range<u64>> = Vec::new();
            let bytes = |ranges: &[Range<u64>]| ranges.iter().cloned().flatten().collect::<Vec<u64>>();
            for (start, len, add, which) in steps {
                if add || added.is_empty() {
                    let range = start..start + len;
                    let fresh: Vec<u64> = range.clone().filter(|byte| counts[*byte as usize] == 0).collect();
                    range.clone().for_each(|byte| counts[byte as usize] += 1);
                    prop_assert_eq!(bytes(coverage.add(&range)), fresh);
                    added.push(range);
                } else {
                    let range = added.swap_remove(which.index(added.len()));
                    range.clone().for_each(|byte| counts[byte as usize] -= 1);
                    let bare: Vec<u64> = range.clone().filter(|byte| counts[*byte as usize] == 0).collect();
                    prop_assert_eq!(bytes(coverage.remove(&range)), bare);
                }
            }
            for range in added.drain(..) {
                coverage.remove(&range);
            }
            prop_assert!(coverage.steps.is_empty());
        }
    }
}
