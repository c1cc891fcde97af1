//! `Cache`: entries come, go, and are built again, within the budget, for several processes.
//!
//! The other processes are this test binary again, running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ashmem::{BuildError, Cache, CacheOptions, Error, Lookup, Mapping, Reclaimer, Region, View, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";

fn quiet() -> ashmem::RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn options() -> CacheOptions {
    Cache::options().region(quiet())
}

/// Contents that say which key they belong to, from the first byte to the last.
fn write_number(number: u64) -> impl Fn(&View<'_>) -> Result<(), Error> {
    move |view: &View<'_>| {
        let words = view.len() / 8;
        for at in 0..words {
            view.write_at(8 * at, &(number ^ at).to_le_bytes())?;
        }
        view.fill(8 * words, view.len() % 8, number as u8)
    }
}

fn has_number(mapping: &Mapping, number: u64) -> bool {
    let bytes = mapping.read_vec(0, mapping.len()).unwrap();
    let (words, rest) = bytes.as_chunks_of_eight();
    words.iter().enumerate().all(|(at, word)| *word == number ^ at as u64)
        && rest.iter().all(|byte| *byte == number as u8)
}

trait InEights {
    fn as_chunks_of_eight(&self) -> (Vec<u64>, &[u8]);
}

impl InEights for [u8] {
    fn as_chunks_of_eight(&self) -> (Vec<u64>, &[u8]) {
        let chunks = self.chunks_exact(8);
        let rest = chunks.remainder();
        (chunks.map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect(), rest)
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

/// Lengths of all kinds, the same each time.
fn length(number: u64) -> u64 {
    1 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (12 * page_size())
}

fn get(cache: &Cache, number: u64) -> Result<bool, BuildError<Error>> {
    let entry = cache.get_or_build(&key(number), length(number), write_number(number))?;
    assert_eq!(entry.len(), length(number));
    assert!(has_number(&entry, number), "entry {number} has other contents");
    Ok(entry.is_built())
}

fn pages(number: u64) -> u64 {
    length(number).div_ceil(page_size())
}

#[test]
fn entries_are_built_once_and_found() {
    let cache = options().create("cache", 1000 * page_size()).unwrap();
    assert!(matches!(cache.get(&key(1)).unwrap(), Lookup::Missing));
    for round in 0..3 {
        for number in 0..50 {
            assert_eq!(get(&cache, number).unwrap(), round == 0);
        }
    }
    let stats = cache.stats().unwrap();
    assert_eq!((stats.hits, stats.misses, stats.inserted, stats.entries), (100, 51, 50, 50));
    assert_eq!((stats.purged, stats.rebuilt, stats.evicted), (0, 0, 0));
    let entry = cache.get(&key(7)).unwrap().hit().unwrap();
    assert!(has_number(&entry, 7) && !entry.is_built());
    assert_eq!(cache.keys().unwrap().len(), 50);
}

#[test]
fn what_the_reclaimer_took_is_reported_or_built_again() {
    let cache = options().create("cache", 1000 * page_size()).unwrap();
    for number in 0..20 {
        get(&cache, number).unwrap();
    }
    let held = cache.get(&key(3)).unwrap().hit().unwrap();
    let all: u64 = (0..20).map(pages).sum();
    assert_eq!(cache.region().purge().unwrap(), (all - pages(3)) * page_size());
    assert!(has_number(&held, 3));
    assert!(matches!(cache.get(&key(4)).unwrap(), Lookup::Purged));
    assert!(!get(&cache, 3).unwrap());
    assert!(get(&cache, 4).unwrap());
    assert!(!get(&cache, 4).unwrap());
    let stats = cache.stats().unwrap();
    assert_eq!((stats.rebuilt, stats.purged, stats.entries), (1, 2, 20));
}

#[test]
fn the_oldest_make_way_for_the_budget() {
    let index = options().entries(100).create("cache", 1000 * page_size()).unwrap();
    let fixed = index.stats().unwrap().resident_bytes;
    let budget = fixed + 100 * page_size();
    let cache = options().entries(100).budget(budget).create("cache", 1000 * page_size()).unwrap();
    let one = |number: u64| {
        let entry = cache.get_or_build(&key(number), 10 * page_size(), write_number(number)).unwrap();
        assert!(cache.stats().unwrap().resident_bytes <= budget);
        entry.is_built()
    };
    for number in 0..30 {
        assert!(one(number));
        if number > 0 {
            assert!(!one(0), "the one that is used all the time stays");
        }
    }
    assert!(!one(29) && !one(28));
    assert!(matches!(cache.get(&key(1)).unwrap(), Lookup::Purged));
    assert!(one(1));

    // As long as everything is in use, there is no room.
    let held: Vec<_> = (0..30).rev().filter_map(|number| cache.get(&key(number)).unwrap().hit()).collect();
    assert!(held.len() >= 8);
    let refused = cache.get_or_build(b"more", 50 * page_size(), write_number(1));
    assert!(matches!(refused, Err(BuildError::Region(Error::CacheFull { .. }))));
    drop(held);
    assert!(cache.get_or_build(b"more", 50 * page_size(), write_number(1)).unwrap().is_built());
    let too_large = cache.get_or_build(b"too large", 101 * page_size(), write_number(1));
    assert!(matches!(too_large, Err(BuildError::Region(Error::CacheFull { .. }))));
}

/// The index counts, and what an insert is the first to write of it.
#[test]
fn the_index_grows_within_the_budget() {
    let index = options().entries(500).create("cache", 1000 * page_size()).unwrap().region().size();
    let budget = index - 1000 * page_size() + 20 * page_size();
    let cache = options().entries(500).budget(budget).create("cache", 1000 * page_size()).unwrap();
    let (mut held, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        match cache.get_or_build(&key(number), 1, write_number(number)) {
            Ok(entry) => held.push(entry),
            Err(BuildError::Region(Error::CacheFull { .. })) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(cache.stats().unwrap().resident_bytes <= budget, "entry {number}, {refused} refused");
        // Enough to have written to pages of the index that nobody had.
        if refused == 20 {
            break;
        }
    }
    assert!(held.len() >= 15, "{} entries", held.len());
}

/// What a builder that failed had been given is free for the next.
#[test]
fn what_a_failed_builder_left_goes_before_any_entry() {
    let empty = options().entries(16).create("cache", 1000 * page_size()).unwrap();
    let budget = empty.stats().unwrap().resident_bytes + 100 * page_size();
    let cache = options().entries(16).budget(budget).create("cache", 1000 * page_size()).unwrap();
    for number in 0..4 {
        assert!(cache.get_or_build(&key(number), 10 * page_size(), write_number(number)).unwrap().is_built());
    }
    let failed = cache.get_or_build(b"failed", 40 * page_size(), |_| Err("no source"));
    assert!(matches!(failed, Err(BuildError::Builder("no source"))));
    assert!(cache.get_or_build(b"other", 40 * page_size(), write_number(9)).unwrap().is_built());
    for number in 0..4 {
        assert!(cache.get(&key(number)).unwrap().hit().is_some(), "entry {number} had to go");
    }
}

#[test]
fn the_oldest_make_way_when_the_pages_are_used_up() {
    let cache = options().entries(64).create("cache", 100 * page_size()).unwrap();
    let held = cache.get_or_build(&key(1000), length(1000), write_number(1000)).unwrap();
    for number in 0..400 {
        assert!(get(&cache, number).unwrap());
        assert!(!get(&cache, number).unwrap());
    }
    assert!(has_number(&held, 1000));
    drop(held);
    assert!(!get(&cache, 1000).unwrap(), "it was in use all the time");
    assert!(cache.stats().unwrap().evicted > 100);
    assert!(matches!(
        cache.get_or_build(b"larger than all", 101 * page_size(), write_number(1)),
        Err(BuildError::Region(Error::CacheFull { .. }))
    ));
    assert!(cache.get_or_build(b"all of it", 100 * page_size(), write_number(5)).unwrap().is_built());
    assert_eq!(cache.stats().unwrap().entries, 1);
}

#[test]
fn more_entries_than_the_table_has() {
    let cache = options().entries(8).create("cache", 1000 * page_size()).unwrap();
    for number in 0..200 {
        assert!(get(&cache, number).unwrap());
    }
    let stats = cache.stats().unwrap();
    assert_eq!((stats.inserted, stats.evicted + stats.entries), (200, 200));
    assert!(stats.entries <= 16);
}

/// Old entries lie everywhere; a large one needs pages that lie together, and takes no more of them than that.
#[test]
fn a_large_entry_takes_the_oldest_place() {
    let cache = options().entries(600).create("cache", 600 * page_size()).unwrap();
    let one = |number: u64| cache.get_or_build(&key(number), 1, write_number(number)).unwrap().is_built();
    for number in 0..600 {
        assert!(one(number));
    }
    for number in (0..600).filter(|number| number % 7 == 3) {
        assert!(!one(number));
    }
    let held = cache.get(&key(5)).unwrap().hit().unwrap();
    let before = cache.stats().unwrap();
    assert!(cache.get_or_build(b"large", 60 * page_size(), write_number(1)).unwrap().is_built());
    let after = cache.stats().unwrap();
    let gone = after.evicted - before.evicted;
    assert!((40..=61).contains(&gone), "{gone} entries gone");
    assert!(has_number(&held, 5));
}

#[test]
fn an_entry_larger_than_half_the_budget_is_built_again() {
    let budget = 100 * page_size();
    let cache = options().entries(8).budget(budget).create("cache", 1000 * page_size()).unwrap();
    let index = cache.region().size() - 1000 * page_size();
    let len = (80 * page_size()).min(budget - index);
    drop(cache.get_or_build(b"large", len, write_number(1)).unwrap());
    // A reader of a part comes in between.
    let reader = Region::from_fd_with(cache.region().share_read_only().unwrap(), quiet()).unwrap();
    let lease = reader.lease(index..index + 60 * page_size()).unwrap();
    assert!(cache.region().purge().unwrap() > 0);
    drop(lease);
    let again = cache.get_or_build(b"large", len, write_number(1)).unwrap();
    assert!(again.is_built() && has_number(&again, 1));
    assert!(cache.stats().unwrap().resident_bytes <= budget);
    assert!(matches!(
        options().entries(1000).budget(budget).create("cache", 1000 * page_size()),
        Err(Error::BudgetTooSmall { .. })
    ));
}

#[test]
fn another_length_replaces_and_removing_removes() {
    let cache = options().create("cache", 1000 * page_size()).unwrap();
    for len in [1, 5000, 4096, 3] {
        let entry = cache.get_or_build(b"key", len, write_number(len)).unwrap();
        assert!(entry.is_built() && has_number(&entry, len) && entry.len() == len);
        assert!(!cache.remove(b"key").unwrap(), "it is in use");
        let refused = cache.get_or_build(b"key", len + 1, write_number(0));
        assert!(matches!(refused, Err(BuildError::Region(Error::EntryInUse { len: there })) if there == len));
    }
    assert!(cache.remove(b"key").unwrap());
    assert!(!cache.remove(b"key").unwrap());
    assert_eq!(cache.stats().unwrap().entries, 0);
}

#[test]
fn a_builder_that_fails_panics_or_asks_for_itself() {
    let cache = options().create("cache", 1000 * page_size()).unwrap();
    let failed = cache.get_or_build(b"key", 9000, |view| {
        view.fill(0, 9000, 1).unwrap();
        Err("no source")
    });
    assert!(matches!(failed, Err(BuildError::Builder("no source"))));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = cache.get_or_build(b"key", 9000, |view| -> Result<(), Error> {
            view.fill(0, 9000, 1)?;
            panic!("on purpose")
        });
    }));
    assert!(panicked.is_err());
    assert!(matches!(cache.get(b"key").unwrap(), Lookup::Purged), "nothing half-built is seen");
    let resident = cache.stats().unwrap().resident_bytes;
    let again =
        cache.get_or_build(b"key", 9000, |_| match cache.get_or_build(b"key", 9000, write_number(2)) {
            Err(BuildError::Region(error @ Error::BuildReentered)) => Err(error.to_string()),
            _ => Ok(()),
        });
    assert!(matches!(again, Err(BuildError::Builder(_))));
    // Another key is fine, and so is replacing this one, which is in use.
    let nested = cache.get_or_build(b"key", 9000, |view| {
        assert!(cache.get_or_build(b"key", 100, write_number(2)).is_err());
        let other = cache.get_or_build(b"other", 100, write_number(2)).map_err(|error| error.to_string())?;
        assert!(has_number(&other, 2));
        write_number(3)(view).map_err(|error| error.to_string())
    });
    assert!(has_number(&nested.unwrap(), 3));
    assert!(cache.stats().unwrap().resident_bytes > resident);
}

#[test]
fn bad_keys_and_lengths() {
    let cache = options().create("cache", 1000 * page_size()).unwrap();
    let long = vec![1; Cache::KEY_MAX + 1];
    for bad in [&[][..], &long] {
        assert!(matches!(cache.get(bad), Err(Error::InvalidKey { .. })));
        assert!(cache.get_or_build(bad, 1, write_number(1)).is_err());
        assert!(cache.remove(bad).is_err());
    }
    assert!(cache.get_or_build(&long[1..], 1, write_number(1)).unwrap().is_built());
    assert!(cache.get_or_build(b"empty", 0, write_number(1)).is_err());
    assert!(cache.get_or_build(b"endless", u64::MAX, write_number(1)).is_err());
    assert!(options().create("none", 0).is_err());
    assert!(matches!(options().open(Region::create("plain", 8192).unwrap()), Err(Error::NotACache { .. })));
    let reader = Region::from_fd(cache.region().share_read_only().unwrap()).unwrap();
    assert!(matches!(options().open(reader), Err(Error::ReadOnly { .. })));
}

#[test]
fn threads_of_one_process() {
    let cache = options().entries(40).budget(300 * page_size()).create("cache", 400 * page_size()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut seed = thread + 1;
                for _ in 0..3000 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    get(cache, (seed >> 40) % 60).expect("room");
                    if seed >> 60 == 0 {
                        let _ = cache.remove(&key((seed >> 30) % 60)).unwrap();
                    }
                    if (seed >> 50) % 64 == 0 {
                        cache.region().purge().unwrap();
                    }
                }
            });
        }
    });
    let stats = cache.stats().unwrap();
    assert!(stats.hits > 0 && stats.rebuilt > 0 && stats.evicted > 0, "{stats:?}");
}

struct Worker(Child);

impl Worker {
    fn start(cache: &Cache) -> Worker {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, "worker")
            .stdin(cache.region().as_fd().try_clone_to_owned().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        Worker(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn work(cache: &Cache, seed: &mut u64, budget: u64) {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    match get(cache, (*seed >> 40) % 60) {
        Ok(_) | Err(BuildError::Region(Error::CacheFull { .. })) => {}
        Err(error) => panic!("{error}"),
    }
    match *seed >> 58 {
        0 => drop(cache.remove(&key((*seed >> 30) % 60)).unwrap()),
        1 => drop(cache.region().purge().unwrap()),
        _ => {}
    }
    assert!(cache.stats().unwrap().resident_bytes <= budget, "over budget");
}

const BUDGET: u64 = 350;

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let region = Region::from_fd_with(fd, quiet()).expect("a region");
    let cache = options().budget(BUDGET * page_size()).open(region).expect("a cache");
    let mut seed = u64::from(std::process::id());
    loop {
        work(&cache, &mut seed, BUDGET * page_size());
    }
}

/// Whoever dies, and when: the others find whole entries, room for new ones, and stay within the budget.
#[test]
fn processes_are_killed() {
    let cache =
        options().entries(40).budget(BUDGET * page_size()).create("cache", 400 * page_size()).unwrap();
    let mut workers: Vec<Worker> = (0..2).map(|_| Worker::start(&cache)).collect();
    let mut seed = u64::from(std::process::id());
    for _ in 0..150 {
        let until = Instant::now() + Duration::from_micros((seed >> 33) % 15_000);
        while Instant::now() < until {
            work(&cache, &mut seed, BUDGET * page_size());
        }
        let mut victim = workers.remove((seed >> 60) as usize % workers.len());
        if victim.0.try_wait().unwrap().is_some() {
            let mut complaint = String::new();
            victim.0.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
            panic!("a worker ended by itself: {complaint}");
        }
        workers.push(Worker::start(&cache));
    }
    drop(workers);
    for number in 0..60 {
        get(&cache, number).expect("not wedged");
    }
    let stats = cache.stats().unwrap();
    assert!(stats.hits > 0 && stats.rebuilt > 0 && stats.evicted > 0, "{stats:?}");
}
