//! The index against a map of keys, with writers that are killed between two stores.

use std::collections::HashMap;
use std::ops::Range;

use proptest::prelude::*;

use super::record::Store;
use super::{Counter, Found, Index, KEY_MAX, Key, Place, Room, mapped};
use crate::page_size;

/// Two sets, and three hashes: many keys have the hash of another.
const ENTRIES: u64 = 16;
const DATA_PAGES: u64 = 64;
const HASHES: [u64; 3] = [1, u64::MAX / 2 + 1, u64::MAX];
const WAYS: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A key, its pages, and what the last of them lacks in bytes.
    Insert(u8, u64, u64),
    /// As an insert, but the writer is killed after so many stores.
    Cut(u8, u64, usize),
    Remove(u8),
    /// Removes an entry that was there some operations ago, as it was then.
    RemoveOld(usize),
    /// Removes everything of the set of a key.
    Empty(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..60_u8;
    let pages = prop_oneof![8 => 1..3_u64, 2 => 3..20_u64, 1 => 60..70_u64];
    prop_oneof![
        12 => (key.clone(), pages.clone(), 0..5000_u64).prop_map(|(key, pages, short)| Operation::Insert(key, pages, short)),
        4 => (key.clone(), pages, 0..40_usize).prop_map(|(key, pages, stores)| Operation::Cut(key, pages, stores)),
        4 => key.clone().prop_map(Operation::Remove),
        1 => any::<usize>().prop_map(Operation::RemoveOld),
        1 => key.prop_map(Operation::Empty),
    ]
}

/// Keys of all lengths, some of them the beginning of others.
fn bytes(id: u8) -> Vec<u8> {
    let len = 1 + usize::from(id) * 37 % KEY_MAX;
    let mut bytes = vec![id / 20; len];
    bytes[len - 1] = id;
    bytes
}

fn key(id: u8, bytes: &[u8]) -> Key<'_> {
    Key::with_hash(bytes, HASHES[usize::from(id) % HASHES.len()])
}

/// What the index should say: of each key the entry.
#[derive(Default)]
struct Model {
    entries: HashMap<u8, Found>,
}

impl Model {
    fn is_free(&self, pages: &Range<u64>) -> bool {
        self.entries.values().all(|found| found.pages.end <= pages.start || pages.end <= found.pages.start)
    }

    /// Lengths of the gaps between entries.
    fn gaps(&self, data: Range<u64>) -> Vec<u64> {
        let free: Vec<bool> = data.map(|page| self.is_free(&(page..page + 1))).collect();
        free.split(|free| !free).map(|run| run.len() as u64).filter(|len| *len > 0).collect()
    }

    /// Keys that compete with this one.
    fn set(&self, index: &Index<'_>, id: u8) -> usize {
        let name = bytes(id);
        let set: Vec<Found> = index.candidates(&key(id, &name)).collect();
        assert!(set.iter().all(|found| self.entries.values().any(|entry| entry == found)));
        set.len()
    }

    fn check(&self, index: &Index<'_>) {
        for id in 0..60 {
            let name = bytes(id);
            let found = index.find(&key(id, &name));
            assert_eq!(found.as_ref(), self.entries.get(&id), "key {id}");
            if let Some(found) = found {
                assert!(index.is_current(&found));
                assert_eq!(index.key_of(&found), Some(name));
            }
        }
        let mut all: Vec<Found> = index.entries().collect();
        assert_eq!(all.len(), self.entries.len());
        all.sort_by_key(|found| found.pages.start);
        assert!(all.windows(2).all(|two| two[0].pages.end <= two[1].pages.start), "entries overlap: {all:?}");
    }

    /// Asks for room, and checks that the answer is the right one.
    fn room<'k>(
        &self,
        index: &Index<'k>,
        data: Range<u64>,
        key: &Key<'k>,
        id: u8,
        pages: u64,
    ) -> Option<Place<'k>> {
        let gaps = self.gaps(data.clone());
        match index.room(key, pages) {
            Room::Present(found) => {
                assert_eq!(Some(&found), self.entries.get(&id));
                None
            }
            Room::SetFull => {
                assert_eq!(self.set(index, id), WAYS);
                None
            }
            Room::NoSpace => {
                assert!(gaps.iter().all(|gap| *gap < pages), "no space for {pages} pages in {gaps:?}");
                None
            }
            Room::Place(place) => {
                assert!(!self.entries.contains_key(&id) && self.set(index, id) < WAYS);
                assert_eq!(place.pages.end - place.pages.start, pages);
                assert!(data.start <= place.pages.start && place.pages.end <= data.end);
                assert!(self.is_free(&place.pages), "{:?} are taken", place.pages);
                Some(place)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_inserted_is_found_until_it_is_removed(operations in prop::collection::vec(operation(), 1..120)) {
        let (_region, mapping, geometry) = mapped(DATA_PAGES, ENTRIES);
        let index = Index::new(&mapping, geometry).unwrap();
        let (mut model, mut old) = (Model::default(), Vec::new());
        for operation in operations {
            match operation {
                Operation::Insert(id, pages, short) => {
                    let name = bytes(id);
                    if let Some(place) = model.room(&index, geometry.data(), &key(id, &name), id, pages) {
                        let (range, len) = (place.pages.clone(), (pages * page_size()).saturating_sub(short));
                        let found = index.insert(place, len);
                        prop_assert_eq!((&found.pages, found.len), (&range, len));
                        old.push(found.clone());
                        model.entries.insert(id, found);
                    }
                }
                Operation::Cut(id, pages, count) => {
                    let name = bytes(id);
                    if let Some(place) = model.room(&index, geometry.data(), &key(id, &name), id, pages) {
                        let (stores, found) = place.stores(1);
                        let all: Vec<_> = stores.collect();
                        if all.len() <= count {
                            model.entries.insert(id, found);
                        }
                        all.into_iter().take(count).for_each(Store::carry_out);
                    }
                }
                Operation::Remove(id) => {
                    let name = bytes(id);
                    match (index.find(&key(id, &name)), model.entries.remove(&id)) {
                        (Some(found), Some(_)) => {
                            prop_assert!(index.remove(&found));
                            prop_assert!(!index.remove(&found) && !index.is_current(&found));
                            prop_assert_eq!(index.key_of(&found), None);
                        }
                        (None, None) => {}
                        other => panic!("{other:?}"),
                    }
                }
                Operation::RemoveOld(which) if !old.is_empty() => {
                    let found: &Found = &old[which % old.len()];
                    let before = model.entries.len();
                    let key = index.key_of(found);
                    model.entries.retain(|_, entry| entry != found);
                    prop_assert_eq!(index.is_current(found), model.entries.len() < before);
                    prop_assert_eq!(key.is_some(), model.entries.len() < before);
                    prop_assert_eq!(index.remove(found), model.entries.len() < before);
                }
                Operation::RemoveOld(_) => {}
                Operation::Empty(id) => {
                    let name = bytes(id);
                    for found in index.candidates(&key(id, &name)) {
                        prop_assert!(index.remove(&found));
                        model.entries.retain(|_, entry| *entry != found);
                    }
                }
            }
            model.check(&index);
        }
    }
}

fn place<'k>(index: &Index<'k>, key: &Key<'k>, pages: u64) -> Place<'k> {
    match index.room(key, pages) {
        Room::Place(place) => place,
        _ => panic!("there is room"),
    }
}

#[test]
fn a_full_set_evicts_one_of_its_own() {
    let (_region, mapping, geometry) = mapped(DATA_PAGES, ENTRIES);
    let index = Index::new(&mapping, geometry).unwrap();
    let names: Vec<[u8; 1]> = (0..=WAYS as u8).map(|id| [id]).collect();
    let keys: Vec<Key<'_>> = names.iter().map(|name| Key::with_hash(name, 7)).collect();
    for key in &keys[..WAYS] {
        index.insert(place(&index, key, 2), 1);
    }
    assert!(matches!(index.room(&keys[WAYS], 2), Room::SetFull));
    assert!(matches!(index.room(&keys[3], 2), Room::Present(_)));
    let elsewhere = Key::with_hash(b"elsewhere", u64::MAX);
    assert!(matches!(index.room(&elsewhere, 2), Room::Place(_)));
    assert_eq!(index.candidates(&elsewhere).count(), 0);
    let victim = index.candidates(&keys[WAYS]).nth(5).unwrap();
    assert!(index.remove(&victim));
    let found = index.insert(place(&index, &keys[WAYS], 2), 1);
    assert_eq!(found.pages, victim.pages, "the gap that fits");
    assert!(matches!(index.room(&elsewhere, DATA_PAGES), Room::NoSpace));
}

/// A writer removes an entry and inserts another, of the same key or of one with the same hash, and is killed after each of
/// its stores.
#[test]
fn a_killed_writer_leaves_the_old_entry_the_new_one_or_none() {
    let (old_name, other_name) = (vec![b'o'; KEY_MAX], vec![b'n'; KEY_MAX - 3]);
    for new_name in [&old_name, &other_name] {
        let all = (0..).find(|stores| replace_and_be_killed(&old_name, new_name, *stores));
        assert_eq!(all, Some(1 + 6 + 28), "one removes; six and a key of 28 words insert");
    }
}

/// Whether so many stores were all of them.
fn replace_and_be_killed(old_name: &[u8], new_name: &[u8], killed_after: usize) -> bool {
    let (region, mapping, geometry) = mapped(DATA_PAGES, 1);
    let index = Index::new(&mapping, geometry).unwrap();
    let (old_key, new_key) = (Key::with_hash(old_name, 9), Key::with_hash(new_name, 9));
    let bystander = Key::with_hash(b"bystander", 9);
    let old = index.insert(place(&index, &old_key, 3), 3 * page_size() - 1);
    let beside = index.insert(place(&index, &bystander, 1), 0);

    let mut complete = false;
    if killed_after > 0 {
        assert!(index.remove(&old));
        let (stores, _) = place(&index, &new_key, 5).stores(5 * page_size() - 2);
        let stores: Vec<_> = stores.collect();
        complete = stores.len() == killed_after - 1;
        stores.into_iter().take(killed_after - 1).for_each(Store::carry_out);
    }

    // What another process sees.
    let others = region.map().unwrap();
    let index = Index::new(&others, geometry).unwrap();
    let (by_old, by_new) = (index.find(&old_key), index.find(&new_key));
    if killed_after == 0 {
        assert_eq!(by_old.as_ref(), Some(&old));
    } else if !complete {
        assert_eq!((by_old, by_new), (None, None), "after {killed_after} stores");
    } else {
        let new = by_new.expect("all stores were made");
        assert_eq!((new.pages.end - new.pages.start, new.len), (5, 5 * page_size() - 2));
        assert_eq!(index.key_of(&new).as_deref(), Some(new_name));
        assert_eq!(by_old.is_some(), new_name == old_name);
    }
    assert_eq!(index.is_current(&old), killed_after == 0);
    assert_eq!(index.find(&bystander).as_ref(), Some(&beside));

    // The next writers have all the rest: the largest gap, and then page by page.
    let live: Vec<Found> = index.entries().collect();
    assert_eq!(live.len(), if killed_after == 0 || complete { 2 } else { 1 });
    let mut free = DATA_PAGES - live.iter().map(|found| found.pages.end - found.pages.start).sum::<u64>();
    for id in 0.. {
        let name = [b'x', id];
        let key = Key::with_hash(&name, 9);
        let largest = (1..=free).rev().find(|pages| matches!(index.room(&key, *pages), Room::Place(_)));
        let Some(largest) = largest else { break };
        let found = index.insert(place(&index, &key, if id == 0 { largest } else { 1 }), 1);
        assert_eq!(index.find(&key).as_ref(), Some(&found));
        assert!(
            live.iter().all(|one| found.pages.end <= one.pages.start || one.pages.end <= found.pages.start)
        );
        free -= found.pages.end - found.pages.start;
    }
    assert!(live.iter().all(|found| index.is_current(found)));
    assert_eq!(free, 0, "pages are lost");
    complete
}

/// Against the rules: two writers at once were given the same record. Still no mixture is found.
#[test]
fn a_live_record_is_emptied_before_it_is_written() {
    let (first_name, second_name) = ([1; 60], [2; 60]);
    let (first, second) = (Key::with_hash(&first_name, 9), Key::with_hash(&second_name, 9));
    let all = (0..).find(|killed_after| {
        let (_region, mapping, geometry) = mapped(DATA_PAGES, 1);
        let index = Index::new(&mapping, geometry).unwrap();
        let (one, other) = (place(&index, &first, 2), place(&index, &second, 4));
        let old = index.insert(one, 1);
        let (stores, new) = other.stores(2);
        let stores: Vec<_> = stores.collect();
        let complete = stores.len() == *killed_after;
        stores.into_iter().take(*killed_after).for_each(Store::carry_out);
        assert_eq!(index.find(&first), (*killed_after == 0).then_some(old));
        assert_eq!(index.find(&second), complete.then_some(new));
        complete
    });
    assert_eq!(all, Some(6 + 8));
}

/// Reading a page that was never written would allocate it.
#[test]
fn records_never_used_take_no_memory() {
    let (region, mapping, geometry) = mapped(50_000, 50_000);
    let index = Index::new(&mapping, geometry).unwrap();
    let key = Key::new(b"the only one").unwrap();
    index.insert(place(&index, &key, 50_000), 1);
    assert_eq!(index.entries().count(), 1);
    let of_index = geometry.data().start * page_size();
    assert!(region.stats().unwrap().resident_bytes < of_index / 3, "the walk has touched records");
}

#[test]
fn counts_are_shared() {
    let (region, mapping, geometry) = mapped(1, 1);
    let other = region.map().unwrap();
    let (mine, yours) = (Index::new(&mapping, geometry).unwrap(), Index::new(&other, geometry).unwrap());
    for (by, counter) in Counter::ALL.into_iter().enumerate() {
        mine.count(counter, by as u64);
        yours.count(counter, 10);
    }
    for (by, counter) in Counter::ALL.into_iter().enumerate() {
        assert_eq!(mine.counted(counter), by as u64 + 10, "{counter:?}");
    }
    yours.count(Counter::Hits, u64::MAX);
    assert_eq!(mine.counted(Counter::Hits), 9);
    assert_eq!(super::Geometry::read(&mapping).unwrap(), geometry);
    assert_eq!(mine.entries().count(), 0);
}
