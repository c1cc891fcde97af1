//! Apps in this process: what they lose, how they end, and what they get for rubbish.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use ashmem::Region;
use ashmem::driver::socket;
use proptest::prelude::*;

use super::*;
use crate::lane::{Head, Writer};
use crate::shared::Shared;
use crate::socket::{Heard, hear, introduce};
use crate::{LogReader, Logger, Query, Record, WhenFull};

const DEADLINE: Duration = Duration::from_secs(60);

fn open(directory: &Path) -> Collector {
    Collector::options().interval(Duration::from_millis(1)).open(directory).unwrap()
}

fn records(directory: &Path) -> Vec<Record> {
    let mut reader = LogReader::open(directory, Query::default()).unwrap();
    std::iter::from_fn(|| reader.next_records().unwrap()).flatten().collect()
}

fn messages(directory: &Path) -> Vec<String> {
    records(directory).into_iter().map(|record| String::from_utf8(record.message).unwrap()).collect()
}

/// Steps until something is so.
fn step_until(collector: &mut Collector, mut is_so: impl FnMut(&Collector) -> bool) -> Vec<Error> {
    let start = Instant::now();
    let mut errors = Vec::new();
    while !is_so(collector) {
        assert!(start.elapsed() < DEADLINE);
        // Without apps, a step would wait for one.
        if collector.apps() == 0 {
            collector.welcome(&mut Step::default());
            thread::yield_now();
            continue;
        }
        errors.extend(collector.step().unwrap().errors);
    }
    errors
}

#[test]
fn losses_are_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut collector = open(directory.path());
    let logger = Logger::options().lanes(1).lane_size(64 << 10).connect(directory.path()).unwrap();
    let long = "x".repeat(10_000);
    let taken = (0..20).filter(|_| logger.log(Level::Info, "big", &long)).count();
    assert_eq!((taken, logger.lost()), (6, 14));
    thread::scope(|scope| {
        scope.spawn(|| assert!(!logger.log(Level::Info, "homeless", "there is one lane")));
    });
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    assert!(logger.log(Level::Info, "big", "there is room again"));
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    let told: Vec<String> =
        messages(directory.path()).into_iter().filter(|message| *message != long).collect();
    let expected = [
        "1 records lost: there was no lane for their threads",
        "14 records lost: the lane was full",
        "there is room again",
    ];
    assert_eq!(told, expected);
    // Nor are they told again.
    drop(collector);
    let mut collector = open(directory.path());
    logger.log(Level::Info, "big", "another collector");
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    assert_eq!(messages(directory.path()).len(), 6 + 4);
}

#[test]
fn a_thread_gives_its_lane_back() {
    let directory = tempfile::tempdir().unwrap();
    let logger = Logger::options().lanes(1).connect(directory.path()).unwrap();
    for number in 0..5 {
        thread::scope(|scope| {
            let logged =
                scope.spawn(|| logger.log_fmt(Level::Info, "thread", format_args!("number {number}")));
            assert!(logged.join().unwrap());
        });
    }
    let mut collector = open(directory.path());
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    let threads: std::collections::HashSet<u32> =
        records(directory.path()).iter().map(|record| record.thread).collect();
    assert_eq!((messages(directory.path()).len(), threads.len()), (5, 5));
}

#[test]
fn a_thread_can_have_a_lane_in_its_hands() {
    let directory = tempfile::tempdir().unwrap();
    let logger = Logger::options().lanes(1).connect(directory.path()).unwrap();
    let mut mine = logger.for_thread().unwrap();
    assert!(logger.for_thread().is_none(), "there is one lane");
    let long = "\u{20ac}".repeat(crate::MESSAGE_MAX);
    assert!(mine.log(Level::Info, "short", "text") && mine.log(Level::Info, &long, &long));
    assert!(mine.log_fmt(Level::Info, "a tag that is longer than a word", format_args!("number {}", 3)));
    drop(mine);
    assert!(logger.for_thread().is_some());
    let mut collector = open(directory.path());
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    let records = records(directory.path());
    assert_eq!((&records[0].tag[..], &records[0].message[..]), (&b"short"[..], &b"text"[..]));
    assert_eq!(records[1].tag, "\u{20ac}".repeat(crate::TAG_MAX / 3).as_bytes());
    assert_eq!(records[1].message, "\u{20ac}".repeat(crate::MESSAGE_MAX / 3).as_bytes());
    assert_eq!(
        (&records[2].tag[..], &records[2].message[..]),
        (&b"a tag that is longer than a word"[..], &b"number 3"[..])
    );
}

#[test]
fn who_waits_in_vain_waits_once() {
    let directory = tempfile::tempdir().unwrap();
    let wait = WhenFull::Wait(Duration::from_millis(20));
    let logger =
        Logger::options().lanes(1).lane_size(64 << 10).when_full(wait).connect(directory.path()).unwrap();
    let long = "x".repeat(10_000);
    let start = Instant::now();
    let taken = (0..10_000).filter(|_| logger.log(Level::Info, "big", &long)).count();
    // Ten thousand waits would be more than three minutes.
    assert!(taken == 6 && start.elapsed() < DEADLINE);
}

#[test]
fn the_log_crate_s_macros_log() {
    let directory = tempfile::tempdir().unwrap();
    let logger = Logger::connect(directory.path()).unwrap();
    let write = |level, text: &str| {
        let mut record = log::Record::builder();
        log::Log::log(&logger, &record.level(level).target("target").args(format_args!("{text}!")).build());
    };
    write(log::Level::Trace, "quiet");
    write(log::Level::Error, "loud");
    let mut collector = open(directory.path());
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    let records = records(directory.path());
    let seen: Vec<_> =
        records.iter().map(|record| (record.level, &record.tag[..], &record.message[..])).collect();
    assert_eq!(seen, [(Level::Verbose, &b"target"[..], &b"quiet!"[..]), (Level::Error, b"target", b"loud!")]);
}

#[test]
fn lanes_are_merged_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let logger = Logger::options().clock(crate::Clock::Precise).connect(directory.path()).unwrap();
    let turn = std::sync::Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _turn = turn.lock().unwrap();
                    logger.log(Level::Info, "turns", "mine");
                }
            });
        }
    });
    let mut collector = open(directory.path());
    step_until(&mut collector, |_| logger.flush(Duration::ZERO));
    let times: Vec<u64> = records(directory.path()).iter().map(|record| record.time).collect();
    assert!(times.len() == 600 && times.is_sorted());
}

/// A connection whose region is in the test's hands.
fn hostile(directory: &Path) -> (Shared, OwnedFd) {
    let shared = Shared::create(4, 64 << 10).unwrap();
    let connection = introduce(directory, shared.region()).unwrap();
    (shared, connection)
}

#[test]
fn a_region_that_is_handed_over_twice_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut collector = open(directory.path());
    let (shared, _first) = hostile(directory.path());
    step_until(&mut collector, |collector| collector.apps() == 1);
    let second = introduce(directory.path(), shared.region()).unwrap();
    step_until(&mut collector, |_| hear(&second) == Heard::Gone);
    let lane = shared.lane(0).unwrap();
    assert!(lane.claim(1));
    let head = Head::new(1, 1, Level::Info, 0, 3).unwrap();
    Writer::new(&lane).unwrap().put(&lane, head, b"", b"one");
    step_until(&mut collector, |_| lane.is_empty());
    assert_eq!((messages(directory.path()), collector.apps()), (vec!["one".to_owned()], 1));
}

#[test]
fn a_region_that_is_corrupt_from_the_start_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut collector = open(directory.path());
    let shared = Shared::create(1, 64 << 10).unwrap();
    shared.region().map().unwrap().atomic_u64(4096 + 16 * 8).unwrap().store(u64::MAX, Ordering::Release);
    let connection = introduce(directory.path(), shared.region()).unwrap();
    let errors = step_until(&mut collector, |_| hear(&connection) == Heard::Refused);
    // Without apps, the error was in a step that nobody has looked at.
    assert!(errors.is_empty() && collector.apps() == 0, "{errors:?}");
}

#[test]
fn strangers_are_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut collector = open(directory.path());
    let logger = Logger::connect(directory.path()).unwrap();
    step_until(&mut collector, |collector| collector.apps() == 1);
    let (shared, connection) = hostile(directory.path());
    drop((shared, connection));
    let connect = || socket::connect(&directory.path().join("socket")).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let region = Region::create("no logs", 8192).unwrap();
    let shared = Shared::create(1, 64 << 10).unwrap();
    let read_only = shared.region().share_read_only().unwrap();
    let strangers: Vec<OwnedFd> = (0..6).map(|_| connect()).collect();
    socket::send(&strangers[0], b"logs", &[]).unwrap();
    socket::send(&strangers[1], b"logs", &[pipe.as_fd()]).unwrap();
    socket::send(&strangers[2], b"logs", &[region.as_fd()]).unwrap();
    socket::send(&strangers[3], b"logs", &[read_only.as_fd()]).unwrap();
    socket::send(&strangers[4], b"what", &[shared.region().as_fd()]).unwrap();
    socket::send(&strangers[5], b"logs", &[shared.region().as_fd(), shared.region().as_fd()]).unwrap();
    let mut refused = 0;
    step_until(&mut collector, |_| {
        refused += strangers
            .iter()
            .filter(|stranger| socket::receive(stranger).is_ok_and(|packet| packet.is_some()))
            .count();
        refused == strangers.len()
    });
    logger.log(Level::Info, "honest", "still here");
    step_until(&mut collector, |collector| logger.flush(Duration::ZERO) && collector.apps() == 1);
    assert_eq!(messages(directory.path()), ["still here"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One app writes anything anywhere into its region, while another logs.
    #[test]
    fn rubbish_costs_only_its_writer(
        words in prop::collection::vec((0..64_u64 * 8 + 4 * 64 + 32, prop_oneof![any::<u64>(), 0..5000_u64, Just(u64::MAX)]), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut collector = open(directory.path());
        let logger = Logger::options().lanes(2).connect(directory.path()).unwrap();
        let (shared, _connection) = hostile(directory.path());
        let mapping = shared.region().map().unwrap();
        step_until(&mut collector, |collector| collector.apps() == 2);
        let mut expected = Vec::new();
        for (number, (index, value)) in words.into_iter().enumerate() {
            // The header, the control words of all lanes, or the beginning of one's data.
            let at = match index {
                0..512 => 8 * index,
                512..768 => 4096 + 8 * (index - 512),
                _ => 8192 + 8 * (index - 768),
            };
            mapping.atomic_u64(at).unwrap().store(value, Ordering::Release);
            // Positions that make the words count.
            if number % 3 == 0 {
                let write = mapping.atomic_u64(4096 + 16 * 8).unwrap();
                write.store(write.load(Ordering::Relaxed).wrapping_add(value % 64), Ordering::Release);
            }
            let message = format!("record {number}");
            prop_assert!(logger.log(Level::Info, "honest", &message));
            expected.push(message);
            let step = collector.step().unwrap();
            for error in step.errors {
                prop_assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
        }
        step_until(&mut collector, |_| logger.flush(Duration::ZERO));
        let honest: Vec<String> = records(directory.path())
            .into_iter()
            .filter(|record| record.tag == b"honest")
            .map(|record| String::from_utf8(record.message).unwrap())
            .collect();
        prop_assert_eq!(honest, expected);
    }

    /// A collector that writes anything into an app's region costs it records, which are counted.
    #[test]
    fn a_hostile_collector_stops_no_app(words in prop::collection::vec((0..64_u64, any::<u64>()), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let listener = crate::socket::listen(directory.path()).unwrap();
        let logger = Logger::options().lanes(1).lane_size(64 << 10).connect(directory.path()).unwrap();
        let connection = rustix::net::accept(&listener).unwrap();
        let packet = socket::receive(&connection).unwrap().unwrap();
        let region = Region::from_fd(packet.descriptors.into_iter().next().unwrap()).unwrap();
        let mapping = region.map().unwrap();
        for (index, value) in words {
            mapping.atomic_u64(4096 + 8 * index).unwrap().store(value, Ordering::Release);
            for _ in 0..20 {
                logger.log(Level::Info, "app", &"x".repeat(1000));
            }
        }
    }
}
