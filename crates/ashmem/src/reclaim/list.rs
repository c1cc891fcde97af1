//! The regions of a reclaimer: those that it looks after alone, and those that the daemon has.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use crate::region::Inner;

/// By number. They are not kept alive: a region that is dropped takes itself out.
///
/// What is upgraded here may be the last reference in the end, so it has to be dropped where nothing is locked.
#[derive(Default)]
pub(super) struct List {
    alone: HashMap<u64, Weak<Inner>>,
    handed: HashMap<u64, Weak<Inner>>,
    /// Of the first, those that the daemon does not want.
    refused: HashSet<u64>,
}

impl List {
    /// Puts a region into the list, unless it is there.
    pub(super) fn insert(&mut self, inner: &Arc<Inner>) {
        let id = inner.registration.id();
        if !self.handed.contains_key(&id) {
            self.alone.entry(id).or_insert_with(|| Arc::downgrade(inner));
        }
        inner.registration.mark_listed();
    }

    /// Takes one out, and says whether the daemon had it.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        self.alone.remove(&id);
        self.refused.remove(&id);
        self.handed.remove(&id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alone.is_empty() && self.handed.is_empty()
    }

    /// All that the program has.
    pub(super) fn all(&self) -> Vec<Arc<Inner>> {
        self.alone.values().chain(self.handed.values()).filter_map(Weak::upgrade).collect()
    }

    /// Those that the daemon does not have.
    pub(super) fn alone(&self) -> Vec<Arc<Inner>> {
        self.alone.values().filter_map(Weak::upgrade).collect()
    }

    /// Those that it has.
    pub(super) fn handed(&self) -> Vec<Arc<Inner>> {
        self.handed.values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn ids_alone(&self) -> impl Iterator<Item = u64> {
        self.alone.keys().copied()
    }

    /// Whether the daemon has it, or does not want it.
    pub(super) fn is_settled(&self, id: u64) -> bool {
        self.handed.contains_key(&id) || self.refused.contains(&id)
    }

    pub(super) fn is_handed(&self, id: u64) -> bool {
        self.handed.contains_key(&id)
    }

    pub(super) fn handed_len(&self) -> usize {
        self.handed.len()
    }

    pub(super) fn has_handed(&self) -> bool {
        !self.handed.is_empty()
    }

    pub(super) fn get_alone(&self, id: u64) -> Option<Arc<Inner>> {
        self.alone.get(&id)?.upgrade()
    }

    pub(super) fn get_handed(&self, id: u64) -> Option<Arc<Inner>> {
        self.handed.get(&id)?.upgrade()
    }

    /// The daemon has it now.
    pub(super) fn hand_over(&mut self, id: u64) {
        if let Some(region) = self.alone.remove(&id) {
            self.handed.insert(id, region);
        }
    }

    /// The daemon does not want it.
    pub(super) fn refuse(&mut self, id: u64) {
        if let Some(region) = self.handed.remove(&id) {
            self.alone.insert(id, region);
        }
        if self.alone.contains_key(&id) {
            self.refused.insert(id);
        }
    }

    /// There is no daemon any more.
    pub(super) fn take_all_back(&mut self) {
        self.alone.extend(self.handed.drain());
        self.refused.clear();
    }
}
