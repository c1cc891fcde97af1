//! What ten thousand regions cost the daemon.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::os::fd::AsFd;
use std::time::Instant;

use ashmem::driver::protocol::{REGIONS_MAX, Request, WORDS_MAX};
use ashmem::{Region, page_size};
use common::{Client, Daemon, options, place};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const REGIONS: u64 = 10_000;

/// KiB.
const MOST: u64 = 32 << 10;

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn daemon() {
    common::serve();
}

#[test]
fn ten_thousand_regions() {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < REGIONS + 1000) {
        eprintln!("needs more descriptors than {:?}", limit.maximum);
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("raised");
    let (_dir, path) = place();
    let mut daemon = Daemon::start(&path);
    let client = Client::greeted(&path);
    let options = options();
    let regions: Vec<Region> = (0..REGIONS)
        .map(|number| {
            let region = options.create(format!("one of many {number}"), 4 * page_size()).expect("a region");
            region.map().expect("mapped").fill(0, 4 * page_size(), 1).expect("filled");
            region.unpin(..).expect("unpinned");
            region
        })
        .collect();
    let memory = |daemon: &Daemon, when: &str| {
        let [all, own, shared] = ["VmRSS:", "RssAnon:", "RssShmem:"].map(|field| daemon.status(field));
        println!("{when}: {all} KiB, of which {own} KiB are its own and {shared} KiB shared");
        all
    };
    memory(&daemon, "nothing registered");
    let started = Instant::now();
    for id in 0..REGIONS / 2 {
        client.register(id, &regions[id as usize]);
    }
    assert!(client.settle().is_empty());
    let each = started.elapsed() / (REGIONS / 2) as u32;
    let started = Instant::now();
    for first in (REGIONS / 2..REGIONS).step_by(REGIONS_MAX) {
        let ids: Vec<u64> = (first..(first + REGIONS_MAX as u64).min(REGIONS)).collect();
        let files: Vec<_> = ids.iter().map(|id| regions[*id as usize].as_fd()).collect();
        client.send(&Request::Register(ids).encode(), &files);
    }
    assert!(client.settle().is_empty());
    let together = started.elapsed() / (REGIONS / 2) as u32;
    println!("registered one by one in {each:?} each, {REGIONS_MAX} at once in {together:?} each");
    assert!(memory(&daemon, "registered") <= MOST);

    let started = Instant::now();
    let snapshot = client.snapshot();
    println!("answered in {:?}", started.elapsed());
    assert_eq!(snapshot.regions.len() as u64, REGIONS);
    let unpinned: u64 = snapshot.regions.iter().map(|region| region.unpinned).sum();
    assert_eq!(unpinned, REGIONS * 4 * page_size());
    memory(&daemon, "answered");

    let started = Instant::now();
    assert_eq!(daemon.reclaim(u64::MAX), REGIONS * 4 * page_size());
    println!("reclaimed in {:?}", started.elapsed());
    assert!(memory(&daemon, "reclaimed") <= MOST);

    let started = Instant::now();
    for first in (0..REGIONS).step_by(WORDS_MAX) {
        client.say(&Request::Release((first..(first + WORDS_MAX as u64).min(REGIONS)).collect()));
    }
    assert!(client.settle().is_empty());
    println!("released in {:?}", started.elapsed());
    daemon.stop();
}
