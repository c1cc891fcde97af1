//! The table: lookups without a lock, changes under one.

use std::ops::Range;

use super::Counter;
use super::key::Key;
use super::layout::{COUNTERS, Geometry, HEADER_WORDS, RECORD_WORDS};
use super::record::{Entry, Record, Store};
use super::room::best_fit;
use crate::page::page_size;
use crate::sync::{AtomicU64, Ordering};
use crate::{Mapping, Result};

/// The index of a cache in a mapping of its region. See [the rules](super).
#[derive(Clone, Copy)]
pub(crate) struct Index<'a> {
    geometry: Geometry,
    counters: &'a [AtomicU64],
    hashes: &'a [AtomicU64],
    records: &'a [AtomicU64],
}

/// An entry, as it was at one moment: these pages belonged to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    record: usize,
    version: u64,
    /// Pages of the region: one at least, all of them data.
    pub(crate) pages: Range<u64>,
    /// Length of the contents in bytes, no more than the pages have.
    pub(crate) len: u64,
}

/// An empty record and free pages for one entry, as long as the cache's lock is held.
pub(crate) struct Place<'k> {
    index: usize,
    record: Record<'k>,
    key: Key<'k>,
    /// Pages of the region.
    pub(crate) pages: Range<u64>,
}

/// What there is for an entry that is to be inserted.
pub(crate) enum Room<'k> {
    /// A record and pages.
    Place(Place<'k>),
    /// The key is there already.
    Present(Found),
    /// No record: one of [`Index::candidates`] has to go first.
    SetFull,
    /// No run of so many free pages: others have to go first.
    NoSpace,
}

impl<'a> Index<'a> {
    /// The index in `mapping`, which is of the region that the geometry was read from. Costs next to nothing.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`](crate::Error::AccessOutOfBounds) for a mapping of anything smaller, and those of
    /// [`Mapping::atomic_u64s`].
    #[inline]
    pub(crate) fn new(mapping: &'a Mapping, geometry: Geometry) -> Result<Index<'a>> {
        let words = mapping.atomic_u64s(0, geometry.words())?;
        let (header, table) = words.split_at(HEADER_WORDS);
        let (hashes, records) = table.split_at(geometry.records());
        Ok(Index { geometry, counters: &header[COUNTERS..], hashes, records })
    }

    /// Looks a key up. Without a lock, and without waiting for anybody.
    #[inline]
    pub(crate) fn find(&self, key: &Key<'_>) -> Option<Found> {
        let set = self.geometry.set(key.hash());
        set.filter(|index| self.hash(*index) == key.hash()).find_map(|index| self.find_at(index, key))
    }

    /// Whether the entry is still the one that was found: never again true once it was false. What the caller read before
    /// was read while it was.
    #[inline]
    pub(crate) fn is_current(&self, found: &Found) -> bool {
        self.record(found.record).is_some_and(|record| record.version() == found.version)
    }

    /// All entries, each as it is when its turn comes. Without a lock.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Found> + use<'a> {
        self.entries_of(0..self.geometry.records())
    }

    /// The key of an entry; `None` when it is not current any more.
    pub(crate) fn key_of(&self, found: &Found) -> Option<Vec<u8>> {
        let record = self.record(found.record)?;
        let (entry, key) = record.read(&self.geometry.data(), |key_len| Some(record.key(key_len)))?;
        (entry.version == found.version).then_some(key)
    }

    /// A record and a run of `pages` free pages (one at least) for a key. Takes time for each entry of the cache.
    ///
    /// The caller holds the cache's lock, and keeps it until it has inserted.
    pub(crate) fn room<'k>(&self, key: &Key<'k>, pages: u64) -> Room<'k>
    where
        'a: 'k,
    {
        if let Some(found) = self.find(key) {
            return Room::Present(found);
        }
        let mut empty = self.geometry.set(key.hash()).filter(|index| self.entry(*index).is_none());
        let Some((index, record)) = empty.find_map(|index| Some((index, self.record(index)?))) else {
            return Room::SetFull;
        };
        let pages = pages.max(1);
        let taken = self.entries().map(|found| found.pages).collect();
        match best_fit(taken, self.geometry.data(), pages) {
            Some(first) => Room::Place(Place { index, record, key: *key, pages: first..first + pages }),
            None => Room::NoSpace,
        }
    }

    /// The entries of the set that a key belongs to.
    pub(crate) fn candidates(&self, key: &Key<'_>) -> impl Iterator<Item = Found> + use<'a> {
        self.entries_of(self.geometry.set(key.hash()))
    }

    /// Gives the place to the key that it was asked for. `len` is the length of the contents in bytes; more than the pages
    /// have is taken for all they have.
    ///
    /// The caller has held the cache's lock since it asked for room, and has made the pages PURGED.
    pub(crate) fn insert(&self, place: Place<'_>, len: u64) -> Found {
        let (stores, found) = place.stores(len);
        stores.for_each(Store::carry_out);
        found
    }

    /// Removes an entry; false when it is not current any more. The pages are free from then on.
    ///
    /// The caller holds the cache's lock, and knows that nobody leases the pages.
    pub(crate) fn remove(&self, found: &Found) -> bool {
        self.record(found.record).is_some_and(|record| record.clear(found.version))
    }

    /// Adds to a count, which wraps.
    #[inline]
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        self.counters[counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// The pages that entries may have.
    pub(crate) fn data(&self) -> Range<u64> {
        self.geometry.data()
    }

    /// What was counted so far, by all processes.
    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    #[inline]
    fn find_at(&self, index: usize, key: &Key<'_>) -> Option<Found> {
        let record = self.record(index)?;
        let looked = record.read(&self.geometry.data(), |key_len| record.has_key(key, key_len).then_some(()));
        looked.map(|(entry, ())| Found::new(index, entry))
    }

    fn entries_of(&self, records: Range<usize>) -> impl Iterator<Item = Found> + use<'a> {
        let index = *self;
        records.filter_map(move |record| index.entry(record))
    }

    fn entry(&self, index: usize) -> Option<Found> {
        // A record that was never used is not looked at: that would allocate its memory.
        if self.hash(index) == 0 {
            return None;
        }
        let (entry, ()) = self.record(index)?.read(&self.geometry.data(), |_| Some(()))?;
        Some(Found::new(index, entry))
    }

    /// The hash at a record, which says something only while the record is live; 0 when it was never used.
    #[inline]
    fn hash(&self, index: usize) -> u64 {
        self.hashes.get(index).map_or(0, |hash| hash.load(Ordering::Relaxed))
    }

    #[inline]
    fn record(&self, index: usize) -> Option<Record<'a>> {
        let hash = self.hashes.get(index)?;
        let (words, _) = self.records.get(index * RECORD_WORDS..)?.split_first_chunk()?;
        Some(Record { hash, words })
    }
}

impl Found {
    /// The place in the table.
    pub(super) fn record(&self) -> usize {
        self.record
    }

    fn new(record: usize, Entry { version, pages, len }: Entry) -> Found {
        Found { record, version, pages, len }
    }
}

impl<'k> Place<'k> {
    /// The stores that make the entry, in their order, and the entry.
    pub(super) fn stores(self, len: u64) -> (impl Iterator<Item = Store<'k>> + use<'k>, Found) {
        let Place { index: record, pages, .. } = self;
        let len = len.min((pages.end - pages.start) * page_size());
        let (stores, version) = self.record.stores(&self.key, &pages, len);
        (stores, Found { record, version, pages, len })
    }
}
