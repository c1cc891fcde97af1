//! Readers while a writer replaces entries: what a key says of itself is what the index says of it.

use std::ops::Range;
use std::thread;

use super::{Found, Geometry, Index, KEY_MAX, Key, Room, mapped};
use crate::page_size;

const KEYS: u64 = 40;
const MOST_PAGES: u64 = 7;
const ROUNDS: u64 = 30_000;

/// A key that says which pages it has, in every word of it.
fn name(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(KEY_MAX / 8 - (id % 3) as usize)
}

fn pages(geometry: Geometry, id: u64) -> Range<u64> {
    let first = geometry.data().start + id * MOST_PAGES;
    first..first + 1 + id % MOST_PAGES
}

fn check(geometry: Geometry, id: u64, found: &Found) {
    let pages = pages(geometry, id);
    let len = (pages.end - pages.start) * page_size() - id;
    assert_eq!((&found.pages, found.len), (&pages, len), "key {id}");
}

/// Looks everything up; returns how many keys were there.
fn read(index: &Index<'_>, geometry: Geometry, names: &[Vec<u8>]) -> usize {
    let mut hits = 0;
    for (id, name) in (0..).zip(names) {
        // All in one set.
        let Some(found) = index.find(&Key::with_hash(name, 5)) else { continue };
        hits += 1;
        check(geometry, id, &found);
        if let Some(key) = index.key_of(&found) {
            assert_eq!(&key, name);
        }
    }
    for found in index.entries() {
        if let Some(key) = index.key_of(&found) {
            let id = u64::from_le_bytes(key[..8].try_into().unwrap());
            assert_eq!(Some(&key), names.get(id as usize), "a mixture of keys");
            check(geometry, id, &found);
        }
    }
    hits
}

/// Inserts a key where its name says; for that, one of the others may have to go.
fn write(index: &Index<'_>, geometry: Geometry, names: &[Vec<u8>], id: u64, victim: usize) {
    let key = Key::with_hash(&names[id as usize], 5);
    let room = match index.room(&key, 1) {
        Room::SetFull => {
            let victim = index.candidates(&key).nth(victim % 16).unwrap();
            assert!(index.remove(&victim));
            index.room(&key, 1)
        }
        room => room,
    };
    match room {
        Room::Place(mut place) => {
            place.pages = pages(geometry, id);
            let len = (place.pages.end - place.pages.start) * page_size() - id;
            let found = index.insert(place, len);
            assert_eq!(index.find(&key), Some(found));
        }
        Room::Present(found) => check(geometry, id, &found),
        Room::SetFull | Room::NoSpace => panic!("there is room"),
    }
}

#[test]
fn readers_never_see_a_mixture() {
    let (region, mapping, geometry) = mapped(KEYS * MOST_PAGES, 1);
    let names: Vec<Vec<u8>> = (0..KEYS).map(name).collect();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let index = Index::new(&mapping, geometry).unwrap();
            let mut random = 1_u64;
            for _ in 0..ROUNDS {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                write(&index, geometry, &names, (random >> 33) % KEYS, (random >> 50) as usize);
            }
        });
        let mapping = region.map().unwrap();
        let index = Index::new(&mapping, geometry).unwrap();
        while !writer.is_finished() {
            read(&index, geometry, &names);
        }
        assert_eq!(read(&index, geometry, &names), 16);
        assert_eq!(index.entries().count(), 16);
    });
}
