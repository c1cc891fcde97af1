//! What a process keeps for its holds on a region: a description of its own to lock through, and the slot that it counts in.
//!
//! All of it belongs to one process. A forked child finds it emptied ([`clear_in_child`]), with the inherited description closed, so
//! that a parent's locks end with the parent.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::ThreadId;

use super::Inner;
use crate::control::Control;
use crate::state::SLOTS;
use crate::sys::fork::{self, Part, Section};
use crate::sys::lock::{self, Kind};
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
    kept: OnceLock<Arc<Mutex<Kept>>>,
}

/// Only touched inside a fork section, as it is a mutex.
#[derive(Default)]
pub(super) struct Kept {
    file: Option<OwnedFd>,
    slot: Option<usize>,
    vain: u32,
    /// Read-locked ranges.
    pub(super) leased: Coverage,
    /// Bytes that are write-locked for threads of this process.
    pub(super) claimed: Vec<(u64, ThreadId)>,
}

static ALL: Mutex<Vec<Weak<Mutex<Kept>>>> = Mutex::new(Vec::new());

fn lock_mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two changes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holder {
    /// The slot that this process counts its holds in, once it has one.
    #[inline]
    pub(crate) fn slot(&self) -> Option<usize> {
        let word = self.slot.load(Ordering::Relaxed);
        let number = word & NONE;
        (word >> 32 == u64::from(fork::generation()) && number != 0 && number != NONE)
            .then(|| number as usize - 1)
    }

    /// What is kept, for who has a section open.
    pub(super) fn kept(&self, _section: &Section) -> MutexGuard<'_, Kept> {
        let kept = self.kept.get_or_init(|| {
            fork::in_child(Part::Holders, clear_in_child);
            let kept = Arc::default();
            let mut all = lock_mutex(&ALL);
            if all.len() == all.capacity() {
                all.retain(|kept| kept.strong_count() > 0);
            }
            all.push(Arc::downgrade(&kept));
            kept
        });
        lock_mutex(kept)
    }

    /// The slot of this process, taken now if it has none; `None` when all are taken.
    #[cold]
    pub(crate) fn take_slot(&self, region: &Inner, control: &Control) -> Result<Option<usize>> {
        let section = fork::section();
        let mut kept = self.kept(&section);
        if kept.slot.is_none() {
            if kept.vain % TRY_AGAIN == 0 {
                kept.slot = free_slot(kept.file(region)?, control)?;
            }
            kept.vain = if kept.slot.is_none() { kept.vain.wrapping_add(1) } else { 0 };
        }
        if let Some(slot) = kept.slot {
            let word = u64::from(fork::generation()) << 32 | (slot as u64 + 1);
            self.slot.store(word, Ordering::Relaxed);
        }
        Ok(kept.slot)
    }
}

impl Kept {
    /// The description that this process opened for its locks.
    pub(super) fn file(&mut self, region: &Inner) -> Result<BorrowedFd<'_>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let operation = Error::system("reopen region for leases");
                let writable =
                    memfd::is_writable(region.fd()).map_err(Error::system("look at descriptor"))?;
                memfd::reopen(region.fd(), writable).map_err(operation)?
            }
        };
        let file: &OwnedFd = self.file.insert(file);
        Ok(file.as_fd())
    }

    /// Gives read-locked ranges back.
    pub(super) fn unlock(&mut self, region: &Inner, ranges: &[Range<u64>]) {
        let Ok(file) = self.file(region) else { return };
        for range in ranges {
            // Cannot fail for a range that was locked, except for want of memory to split a lock: then it stays until the file is closed.
            let _ = lock::try_set(file, Kind::Unlock, range.start, range.end);
        }
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
                memfd::punch(file, row.start, row.end - row.start)
                    .map_err(Error::system("clear a slot for leases"))?;
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

/// A forked child has no holds. Inside of fork, where no section may be opened.
fn clear_in_child() {
    for kept in lock_mutex(&ALL).iter().filter_map(Weak::upgrade) {
        *lock_mutex(&kept) = Kept::default();
    }
}

/// How often each byte is covered by ranges, of which many may overlap.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// From each key up to the next, so many ranges cover it. Starts and ends with nothing covered.
    steps: BTreeMap<u64, u64>,
}

impl Coverage {
    fn at(&self, place: u64) -> u64 {
        self.steps.range(..=place).next_back().map_or(0, |(_, count)| *count)
    }

    /// Adds or removes a range that was added, and returns the parts of it that nothing else covers.
    fn change(&mut self, range: &Range<u64>, add: bool) -> Vec<Range<u64>> {
        for place in [range.start, range.end] {
            let count = self.at(place);
            self.steps.insert(place, count);
        }
        let mut alone: Vec<Range<u64>> = Vec::new();
        let places: Vec<u64> = self.steps.range(range.start..=range.end).map(|(place, _)| *place).collect();
        for pair in places.windows(2) {
            let [from, to] = [pair[0], pair[1]];
            let Some(count) = self.steps.get_mut(&from) else { continue };
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count != u64::from(add) {
                continue;
            }
            match alone.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => alone.push(from..to),
            }
        }
        for place in places {
            let before = self.steps.range(..place).next_back().map_or(0, |(_, count)| *count);
            if self.steps.get(&place) == Some(&before) {
                self.steps.remove(&place);
            }
        }
        alone
    }

    /// Adds a range, and returns the parts of it that were not covered before.
    pub(super) fn add(&mut self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.change(range, true)
    }

    /// Removes a range that was added, and returns the parts of it that are not covered any more.
    pub(super) fn remove(&mut self, range: &Range<u64>) -> Vec<Range<u64>> {
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
            let bytes = |ranges: Vec<Range<u64>>| ranges.into_iter().flatten().collect::<Vec<u64>>();
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
