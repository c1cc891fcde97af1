//! A peer that writes what it likes into a cache's index and pin state, while the cache is used.
#![no_main]

use std::time::Duration;

use ashmem::{BuildError, Cache, CacheOptions, Error, Lookup, Reclaimer, Region, page_size};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const PAGES: u64 = 24;
const KEYS: u8 = 12;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Writes a word of the index, or of anything else that is mapped.
    Scribble {
        word: u16,
        value: Value,
    },
    Get(u8),
    Build {
        key: u8,
        pages: u8,
        bytes: u16,
    },
    FailToBuild(u8),
    Remove(u8),
    Purge,
    Look,
    Reopen,
}

/// Numbers that may be taken for a page, a length or a version, and any others.
#[derive(Arbitrary, Debug)]
enum Value {
    Small(u16),
    Run { first: u8, pages: u8 },
    Any(u64),
}

impl Value {
    fn word(&self) -> u64 {
        match self {
            Value::Small(value) => u64::from(*value),
            Value::Run { first, pages } => u64::from(*first) << 32 | u64::from(*pages),
            Value::Any(value) => *value,
        }
    }
}

fn options() -> CacheOptions {
    let reclaimer = Reclaimer::builder().without_thread().build();
    Cache::options()
        .region(Region::options().reclaimer(&reclaimer))
        .entries(8)
        .budget(PAGES * page_size())
        .patience(Duration::from_millis(50))
}

fuzz_target!(|steps: Vec<Step>| {
    let mut cache = options().create("fuzz", PAGES * page_size()).expect("a cache");
    let peer = Region::from_fd(cache.region().share_read_write().expect("reopened")).expect("a region");
    let mapping = peer.map().expect("mapped");
    for step in steps.iter().take(60) {
        match step {
            Step::Scribble { word, value } => {
                let at = u64::from(*word) * 8 % (mapping.len() - 8);
                mapping.write_at(at / 8 * 8, &value.word().to_ne_bytes()).expect("inside");
            }
            Step::Get(key) => {
                if let Lookup::Hit(entry) = cache.get(&[key % KEYS + 1]).expect("a lookup needs nothing") {
                    assert!(entry.len() <= PAGES * page_size());
                    entry.read_vec(0, entry.len()).expect("inside");
                }
            }
            Step::Build { key, pages, bytes } => {
                let len = u64::from(pages % 8) * page_size() + u64::from(*bytes) + 1;
                let built = cache.get_or_build(&[key % KEYS + 1], len, |view| view.fill(0, view.len(), *key));
                match built {
                    Ok(entry) => assert_eq!(entry.len(), len),
                    Err(BuildError::Region(Error::CacheFull { .. })) => {}
                    Err(error) => panic!("an error that the documentation does not name: {error}"),
                }
            }
            Step::FailToBuild(key) => {
                let failed = cache.get_or_build(&[key % KEYS + 1], 5000, |_| Err::<(), ()>(()));
                drop(failed);
            }
            Step::Remove(key) => drop(cache.remove(&[key % KEYS + 1]).expect("a removal needs nothing")),
            Step::Purge => drop(cache.region().purge().expect("purged")),
            Step::Look => {
                assert!(cache.keys().expect("keys").iter().all(|key| key.len() <= Cache::KEY_MAX));
                let _ = cache.stats().expect("counted");
            }
            Step::Reopen => {
                let region =
                    Region::from_fd(cache.region().share_read_write().expect("reopened")).expect("a region");
                match options().open(region) {
                    Ok(again) => cache = again,
                    // The index says how large it is, and the peer may have written there.
                    Err(Error::NotACache { .. } | Error::BudgetTooSmall { .. }) => {}
                    Err(error) => panic!("an error that the documentation does not name: {error}"),
                }
            }
        }
    }
});
