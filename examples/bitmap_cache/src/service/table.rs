//! All bitmaps that there are, by what they are asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashmem::Region;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::entry::{Entry, Key};
use super::roots::Identity;
use super::{Refusal, Refused};
use crate::Size;

/// Descriptors that an entry takes: its region, and one that the library locks through.
const DESCRIPTORS: u64 = 2;
/// Those that are for other things: connections, files that are being read.
const OTHERS: u64 = 256;
/// Each entry is mapped twice, and the kernel allows 65,530 mappings.
const MOST: u64 = 16_384;
/// Of so many decoded pictures it is remembered that they were.
const REMEMBERED: usize = 1 << 16;

/// Raises the limit of descriptors, and says how many entries it is enough for.
pub(super) fn most_entries() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum });
    let descriptors = if raised.is_ok() { limits.maximum } else { limits.current };
    // Half of them are for connections.
    let most = descriptors.map_or(MOST, |descriptors| descriptors.saturating_sub(OTHERS) / 2 / DESCRIPTORS);
    most.clamp(16, MOST) as usize
}

/// All entries. An entry that nobody has may go at any time; so it does once its pixels have.
pub(super) struct Table {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    clock: u64,
    /// Those that are given to who asks.
    current: HashMap<Key, Arc<Entry>>,
    /// Those, and others that somebody has still.
    all: BTreeMap<u64, Arc<Entry>>,
    decoded: HashSet<u64>,
}

/// An entry that stays in the table as long as this lives.
pub(super) struct Hold(Arc<Entry>);

impl Deref for Hold {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Table {
    pub(super) fn new(most: usize) -> Table {
        Table { most, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a picture, a new one if there is none, or the file was changed since.
    pub(super) fn hold(&self, path: &Path, size: Size, identity: Identity) -> Result<Hold, Refused> {
        let mut state = self.lock();
        let state = &mut *state;
        let key = Key { path: path.to_owned(), size };
        state.clock += 1;
        let is_same =
            |entry: &Arc<Entry>| entry.identity == identity && !entry.is_gone.load(Ordering::Acquire);
        let entry = match state.current.get(&key).filter(|entry| is_same(entry)) {
            Some(entry) => Arc::clone(entry),
            None => {
                if state.all.len() >= self.most && !state.make_place() {
                    return Err(Refused::new(
                        Refusal::Full,
                        "clients have all bitmaps that the service can open",
                    ));
                }
                state.last += 1;
                let entry = Arc::new(Entry::new(state.last, key.clone(), identity));
                state.current.insert(key, Arc::clone(&entry));
                state.all.insert(entry.number, Arc::clone(&entry));
                entry
            }
        };
        entry.used.store(state.clock, Ordering::Relaxed);
        entry.holders.fetch_add(1, Ordering::AcqRel);
        Ok(Hold(entry))
    }

    /// Nobody is given this entry any more.
    pub(super) fn discard(&self, number: u64) {
        if let Some(entry) = self.lock().all.get(&number) {
            entry.is_gone.store(true, Ordering::Release);
        }
    }

    /// Remembers that a picture was decoded; whether it had been before.
    pub(super) fn note_decoded(&self, entry: &Entry) -> bool {
        let mut hasher = DefaultHasher::new();
        (&entry.key, entry.identity).hash(&mut hasher);
        let mut state = self.lock();
        if state.decoded.len() >= REMEMBERED {
            state.decoded.clear();
        }
        !state.decoded.insert(hasher.finish())
    }

    /// Drops what nobody has and that is of no use: purged, changed, or never decoded.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        let is_useless = |entry: &Entry| {
            entry.is_gone.load(Ordering::Acquire) || !state.is_current(entry) || entry.is_incomplete()
        };
        let useless = state.all.values().filter(|entry| is_unheld(entry) && is_useless(entry));
        let useless: Vec<u64> = useless.map(|entry| entry.number).collect();
        let swept: Vec<_> = useless.into_iter().map(|number| state.remove(number)).collect();
        drop(state);
        // To unmap and free takes a while, in which others may use the table.
        drop(swept);
    }

    /// Gives up an entry that could not be decoded, unless it was before, or somebody else is at it.
    pub(super) fn give_up(&self, hold: Hold) {
        let number = hold.number;
        let has_memory = hold.region().is_some();
        drop(hold);
        if !has_memory {
            // One that got memory in between is decoded again when it is asked for.
            drop(self.lock().remove(number));
        }
    }

    /// Those that nobody has, the one that was asked for longest ago first.
    pub(super) fn unheld(&self) -> Vec<Arc<Entry>> {
        let state = self.lock();
        let mut unheld: Vec<_> = state.all.values().filter(|entry| is_unheld(entry)).cloned().collect();
        unheld.sort_by_key(|entry| entry.used.load(Ordering::Relaxed));
        unheld
    }

    /// Removes an entry and frees its memory whoever leases it, unless somebody has it by now.
    pub(super) fn take(&self, number: u64) {
        let taken = self.lock().remove(number);
        if let Some(entry) = taken {
            entry.empty();
        }
    }

    /// All memory that there is.
    pub(super) fn regions(&self) -> Vec<Region> {
        self.entries().iter().filter_map(|entry| entry.region().cloned()).collect()
    }

    /// Bytes of memory in use.
    pub(super) fn allocated(&self) -> u64 {
        self.entries().iter().map(|entry| entry.allocated()).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().all.len()
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().all.values().cloned().collect()
    }
}

fn is_unheld(entry: &Entry) -> bool {
    entry.holders.load(Ordering::Acquire) == 0
}

impl State {
    /// Removes an entry, unless somebody has it. Holders are made more under the table's lock alone, so nobody gets it meanwhile.
    fn remove(&mut self, number: u64) -> Option<Arc<Entry>> {
        let entry = self.all.get(&number).filter(|entry| is_unheld(entry))?;
        if self.is_current(entry) {
            self.current.remove(&entry.key);
        }
        self.all.remove(&number)
    }

    /// Whether it is the one that is given to who asks.
    fn is_current(&self, entry: &Entry) -> bool {
        self.current.get(&entry.key).is_some_and(|current| current.number == entry.number)
    }

    /// Removes the one that nobody has and that was asked for longest ago; false if somebody has each.
    fn make_place(&mut self) -> bool {
        let unheld = self.all.values().filter(|entry| is_unheld(entry));
        let oldest = unheld.min_by_key(|entry| entry.used.load(Ordering::Relaxed)).map(|entry| entry.number);
        let removed = oldest.and_then(|number| self.remove(number));
        removed.inspect(|entry| entry.empty()).is_some()
    }
}
