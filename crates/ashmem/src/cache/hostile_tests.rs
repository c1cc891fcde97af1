//! Tables and headers that say anything: no panic, and every range is inside the data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::{Counter, Found, Geometry, Index, KEY_MAX, Key, Room, mapped};
use crate::{Region, page_size};

const DATA_PAGES: u64 = 8;
const HEADER_WORDS: usize = 16;
const WAYS: usize = 16;
const RECORD_WORDS: usize = 32;

/// Two keys of one set, whose hash is that of many forged records.
const NAMES: [&[u8]; 2] = [b"a", b"somebody's key"];
const HASH: u64 = 77;

fn inside(geometry: Geometry, found: &Found) {
    let (data, pages) = (geometry.data(), &found.pages);
    assert!(data.start <= pages.start && pages.start < pages.end && pages.end <= data.end, "{found:?}");
    assert!(found.len <= (pages.end - pages.start) * page_size(), "{found:?}");
}

/// Calls everything.
fn use_all(index: &Index<'_>, geometry: Geometry) {
    for name in NAMES {
        let key = Key::with_hash(name, HASH);
        if let Some(found) = index.find(&key) {
            inside(geometry, &found);
            index.is_current(&found);
            index.key_of(&found);
        }
        for found in index.entries().chain(index.candidates(&key)) {
            inside(geometry, &found);
            if let Some(key) = index.key_of(&found) {
                assert!((1..=KEY_MAX).contains(&key.len()));
            }
        }
        for pages in [0, 1, 3, DATA_PAGES, DATA_PAGES + 1, u64::MAX] {
            match index.room(&key, pages) {
                Room::Place(place) => {
                    let found = index.insert(place, u64::MAX);
                    inside(geometry, &found);
                    index.remove(&found);
                }
                Room::Present(found) => {
                    inside(geometry, &found);
                    index.remove(&found);
                }
                Room::SetFull => {
                    if let Some(victim) = index.candidates(&key).next() {
                        index.remove(&victim);
                    }
                }
                Room::NoSpace => {}
            }
        }
    }
    for counter in Counter::ALL {
        index.count(counter, index.counted(counter));
    }
}

/// A value for word `word` of a record: mostly one that could be right.
fn value(word: usize, data_start: u64) -> BoxedStrategy<u64> {
    let likely = match word {
        0 => prop_oneof![Just(1), Just(u64::MAX), 0..4_u64].boxed(),
        1 => {
            let first = data_start.saturating_sub(1)..data_start + DATA_PAGES + 1;
            (first, 0..DATA_PAGES + 2).prop_map(|(first, pages)| first << 32 | pages).boxed()
        }
        2 => (0..3 * page_size()).boxed(),
        3 => prop_oneof![Just(1), Just(KEY_MAX as u64), 0..KEY_MAX as u64 + 2].boxed(),
        _ => prop_oneof![Just(u64::from(b'a')), Just(u64::from_le_bytes(*b"somebody"))].boxed(),
    };
    prop_oneof![8 => likely, 1 => any::<u64>(), 1 => Just(u64::MAX)].boxed()
}

fn table() -> impl Strategy<Value = Vec<u64>> {
    let data_start = Geometry::new(DATA_PAGES * page_size(), 1).unwrap().data().start;
    let hash = prop_oneof![6 => Just(HASH), 1 => Just(0), 1 => any::<u64>()];
    let hashes = prop::collection::vec(hash, WAYS);
    let record = (0..RECORD_WORDS).map(|word| value(word, data_start)).collect::<Vec<_>>();
    (hashes, prop::collection::vec(record, WAYS))
        .prop_map(|(hashes, records)| hashes.into_iter().chain(records.into_iter().flatten()).collect())
}

fn words(mapping: &crate::Mapping, geometry: Geometry) -> &[AtomicU64] {
    mapping.atomic_u64s(0, geometry.words()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forged_tables(table in table(), counters in any::<[u64; 8]>()) {
        let (_region, mapping, geometry) = mapped(DATA_PAGES, 1);
        let words = words(&mapping, geometry);
        for (word, value) in words[8..].iter().zip(counters.iter().chain(&table)) {
            word.store(*value, Ordering::Relaxed);
        }
        let index = Index::new(&mapping, geometry).unwrap();
        for _ in 0..3 {
            use_all(&index, geometry);
        }
    }

    #[test]
    fn random_tables(seed in any::<u64>(), odd in any::<bool>()) {
        let (_region, mapping, geometry) = mapped(DATA_PAGES, 1);
        scribble(words(&mapping, geometry), seed, odd);
        use_all(&Index::new(&mapping, geometry).unwrap(), geometry);
    }

    #[test]
    fn forged_headers(
        pages in 1..200_u64,
        short in prop_oneof![4 => Just(0), 1 => 1..page_size()],
        sets in prop_oneof![0..100_u64, any::<u64>(), any::<u64>().prop_map(|sets| sets / 4224)],
    ) {
        let (_other, template, _) = mapped(1, 1);
        let region = Region::create("forged", pages * page_size() - short).unwrap();
        let mapping = region.map().unwrap();
        mapping.write_at(0, &template.read_vec(0, 8).unwrap()).unwrap();
        if mapping.len() >= 16 {
            mapping.write_at(8, &sets.to_ne_bytes()).unwrap();
        }
        if let Ok(geometry) = Geometry::read(&mapping) {
            prop_assert!(geometry.data().start < geometry.data().end);
            prop_assert_eq!(geometry.data().end * page_size(), mapping.len());
            prop_assert!(geometry.words() * 8 <= geometry.data().start * page_size());
            use_all(&Index::new(&mapping, geometry).unwrap(), geometry);
        } else {
            let fits = sets > 0 && sets < 100 && (128 + sets * 16 * 33 * 8).div_ceil(page_size()) < pages;
            prop_assert!(short > 0 || !fits, "{sets} sets in {pages} pages are refused");
        }
    }
}

/// Writes random words over the table; `odd` makes every record live.
fn scribble(words: &[AtomicU64], seed: u64, odd: bool) {
    let mut random = seed | 1;
    for (place, word) in words[HEADER_WORDS..].iter().enumerate() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let is_version = place >= WAYS && (place - WAYS) % RECORD_WORDS == 0;
        word.store(if is_version { random | u64::from(odd) } else { random }, Ordering::Relaxed);
    }
}

/// A peer that writes to the table all the time.
#[test]
fn words_that_change_under_every_look() {
    const ROUNDS: u64 = 200;
    let (region, mapping, geometry) = mapped(DATA_PAGES, 1);
    thread::scope(|scope| {
        let peer = scope.spawn(|| {
            let mapping = region.map().unwrap();
            let words = words(&mapping, geometry);
            let start = geometry.data().start;
            for round in 0..ROUNDS {
                scribble(words, round, true);
                for way in 0..WAYS {
                    let record = HEADER_WORDS + WAYS + way * RECORD_WORDS;
                    let first = start + way as u64;
                    words[HEADER_WORDS + way].store(HASH, Ordering::Relaxed);
                    words[record + 1].store(first << 32 | (round % 4), Ordering::Relaxed);
                    words[record + 2].store(round, Ordering::Relaxed);
                    words[record + 3].store(1, Ordering::Relaxed);
                    words[record + 4].store(u64::from(b'a'), Ordering::Relaxed);
                }
            }
        });
        let index = Index::new(&mapping, geometry).unwrap();
        while !peer.is_finished() {
            use_all(&index, geometry);
        }
    });
}

/// Whatever no writer writes makes the record an empty one.
#[test]
fn one_wrong_word_is_enough() {
    let name = b"honest";
    let key = Key::with_hash(name, HASH);
    let start = Geometry::new(DATA_PAGES * page_size(), 1).unwrap().data().start;
    let wrong = [
        (0, 2),
        (1, start << 32),
        (1, (start - 1) << 32 | 2),
        (1, start << 32 | (DATA_PAGES + 1)),
        (1, (start + DATA_PAGES) << 32 | 1),
        (1, u64::MAX),
        (2, page_size() + 1),
        (2, u64::MAX),
        (3, 0),
        (3, KEY_MAX as u64 + 1),
        (3, u64::MAX),
    ];
    for (word, value) in wrong {
        let (_region, mapping, geometry) = mapped(DATA_PAGES, 1);
        let index = Index::new(&mapping, geometry).unwrap();
        let Room::Place(place) = index.room(&key, 1) else { panic!("there is room") };
        let found = index.insert(place, page_size());
        assert_eq!((index.find(&key).as_ref(), index.entries().count()), (Some(&found), 1));
        words(&mapping, geometry)[HEADER_WORDS + WAYS + word].store(value, Ordering::Relaxed);
        assert_eq!(index.find(&key), None, "word {word} is {value:#x}");
        assert_eq!((index.entries().count(), index.key_of(&found)), (0, None), "word {word} is {value:#x}");
        assert!(matches!(index.room(&key, DATA_PAGES), Room::Place(_)), "it is used again");
    }
}

#[test]
fn an_index_needs_its_whole_table() {
    let (_region, mapping, geometry) = mapped(1000, 1000);
    let (_other, smaller, _) = mapped(1, 1);
    assert!(matches!(Index::new(&smaller, geometry), Err(crate::Error::AccessOutOfBounds { .. })));
    // An entry of a larger table is none of a smaller one.
    let large = Index::new(&mapping, geometry).unwrap();
    let name = b"in the last set";
    let Room::Place(place) = large.room(&Key::with_hash(name, u64::MAX), 1) else { panic!("there is room") };
    let found = large.insert(place, 1);
    let (_region, mapping, geometry) = mapped(1, 1);
    let small = Index::new(&mapping, geometry).unwrap();
    assert!(!small.is_current(&found) && !small.remove(&found) && small.key_of(&found).is_none());
    assert!(large.is_current(&found));
}
