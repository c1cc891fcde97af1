//! `Purgeable`: built when asked for, once, whoever asks, and never half.
//!
//! The other processes are this test binary again, running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ashmem::{BuildError, Error, Mapping, Purgeable, PurgeableOptions, Reclaimer, Region, View, page_size};

const ROLE: &str = "ASHMEM_TEST_ROLE";

/// Where a worker finds what it shares with the others besides the contents.
const DESK: &str = "ASHMEM_TEST_DESK";

fn quiet() -> ashmem::RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn options() -> PurgeableOptions {
    Purgeable::<Error>::options().region(quiet())
}

/// Writes the number of each page into it.
fn numbers(part: &View<'_>) -> Result<(), Error> {
    for at in (0..part.len()).step_by(page_size() as usize) {
        part.atomic_u64(at)?.store((part.offset() + at) / page_size() + 1, Ordering::Relaxed);
    }
    Ok(())
}

fn is_numbered(mapping: &Mapping) -> bool {
    (0..mapping.len() / page_size()).all(|page| mapping.load_u64(page * page_size()).unwrap() == page + 1)
}

#[test]
fn nothing_is_built_before_it_is_asked_for() {
    let built = Arc::new(AtomicU64::new(0));
    let count = built.clone();
    let numbered = options()
        .create("once", 100 * page_size(), move |all: &View<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            numbers(all)
        })
        .unwrap();
    assert_eq!(built.load(Ordering::Relaxed), 0);
    for round in 1..4 {
        let first = numbered.get().unwrap();
        assert_eq!(first.built_bytes(), 100 * page_size());
        assert!(is_numbered(&first));
        let second = numbered.get().unwrap();
        assert_eq!(second.built_bytes(), 0);
        assert_eq!(numbered.region().purge().unwrap(), 0, "held");
        drop((first, second));
        assert_eq!(numbered.get().unwrap().built_bytes(), 0);
        assert_eq!(built.load(Ordering::Relaxed), round);
        assert_eq!(numbered.region().purge().unwrap(), 100 * page_size());
    }
}

#[test]
fn only_what_is_gone_is_built_again() {
    let parts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = parts.clone();
    let numbered = options()
        .parts(10 * page_size() - 1)
        .create("parts", 95 * page_size() - 7, move |part: &View<'_>| {
            log.lock().unwrap().push((part.offset() / page_size(), part.len()));
            numbers(part)
        })
        .unwrap();
    assert_eq!(numbered.get().unwrap().built_bytes(), 95 * page_size() - 7);
    let whole: Vec<_> = (0..10)
        .map(|part| (10 * part, if part == 9 { 5 * page_size() - 7 } else { 10 * page_size() }))
        .collect();
    assert_eq!(std::mem::take(&mut *parts.lock().unwrap()), whole);
    let region = numbered.region();
    for keep in [[0..15, 37..40, 50..95], [0..94, 0..1, 0..1]] {
        let leases: Vec<_> = keep
            .iter()
            .map(|pages| region.lease(pages.start * page_size()..pages.end * page_size()))
            .collect();
        assert!(region.purge().unwrap() > 0);
        drop(leases);
        let before = parts.lock().unwrap().len();
        let guard = numbered.get().unwrap();
        assert!(is_numbered(&guard));
        let built: u64 = parts.lock().unwrap()[before..].iter().map(|(_, len)| len).sum();
        assert_eq!(guard.built_bytes(), built);
    }
    let rebuilt: Vec<u64> = parts.lock().unwrap().iter().map(|(first, _)| *first).collect();
    assert_eq!(rebuilt, [10, 20, 30, 40, 90]);
}

#[test]
fn a_part_is_built_for_somebody_who_leases_it() {
    let page = page_size();
    let size = 95 * page - 7;
    let numbered = options().parts(10 * page).create("parts", size, numbers).unwrap();
    assert_eq!(numbered.build(..).unwrap(), size);
    let region = numbered.region();
    assert!(region.purge().unwrap() > 0, "nobody has it");

    let reader = Region::from_fd(region.share_read_only().unwrap()).unwrap();
    let mapping = reader.map_read_only().unwrap();
    let gone = reader.lease(20 * page..30 * page).unwrap();
    assert!(gone.contents().is_purged());
    assert_eq!(numbered.build(25 * page + 3..25 * page + 4).unwrap(), 10 * page);
    assert_eq!(numbered.build(20 * page..30 * page).unwrap(), 0);
    assert_eq!(region.purge().unwrap(), 0, "the lease keeps what was built while it lived");
    let there = reader.lease(20 * page..30 * page).unwrap();
    drop(gone);
    assert!(!there.contents().is_purged());
    assert!((20..30).all(|at| mapping.load_u64(at * page).unwrap() == at + 1));
    assert!(reader.lease(30 * page..40 * page).unwrap().contents().is_purged());
    assert_eq!(numbered.build(size - 1..).unwrap(), 5 * page - 7);

    for outside in [size..size, size..size + 1, 5..5, 0..size + 1, 0..u64::MAX] {
        assert!(matches!(numbered.build(outside), Err(BuildError::Region(_))));
    }
    let small = options().create("small", 100, |all: &View<'_>| all.fill(0, 100, 7)).unwrap();
    assert_eq!(small.build(50..60).unwrap(), 100);
    assert_eq!(small.region().purge().unwrap(), 0, "too small to be purged");
}

#[test]
fn a_builder_that_fails_or_panics_leaves_nothing() {
    let mode = Arc::new(AtomicU64::new(1));
    let how = mode.clone();
    let numbered = options()
        .create("failing", 64 * page_size(), move |all: &View<'_>| {
            all.fill(0, all.len() / 2, 9).unwrap();
            match how.load(Ordering::Relaxed) {
                0 => {
                    numbers(all).unwrap();
                    Ok(())
                }
                1 => Err("no source"),
                _ => panic!("on purpose"),
            }
        })
        .unwrap();
    let region = numbered.region();
    for round in [1, 2, 1] {
        mode.store(round, Ordering::Relaxed);
        let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| numbered.get().map(drop)));
        match got {
            Ok(answer) => assert!(matches!(answer, Err(BuildError::Builder("no source")))),
            Err(_) => assert_eq!(round, 2),
        }
        assert_eq!(region.stats().unwrap().purged_pages, 64);
        assert_eq!(region.resident().unwrap(), 0, "nothing half-built is left");
        mode.store(0, Ordering::Relaxed);
        assert!(is_numbered(&numbered.get().unwrap()));
        assert_eq!(region.purge().unwrap(), 64 * page_size());
    }
}

#[test]
fn what_is_leased_stays_when_a_build_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let how = fails.clone();
    let reclaimer = Reclaimer::builder().without_thread().build();
    let numbered = Purgeable::<Error>::options()
        .region(Region::options().reclaimer(&reclaimer))
        .create("leased", 64 * page_size(), move |all: &View<'_>| {
            if how.load(Ordering::Relaxed) {
                return Err("no source");
            }
            numbers(all).unwrap();
            Ok(())
        })
        .unwrap();
    drop(numbered.get().unwrap());
    let region = numbered.region();
    // Counted, and by a lock of a description that only reads.
    let reader = Region::from_fd(region.share_read_only().unwrap()).unwrap();
    let leases = [region.lease(..page_size()).unwrap(), reader.lease(page_size()..3 * page_size()).unwrap()];
    assert_eq!(region.purge().unwrap(), 61 * page_size());
    fails.store(true, Ordering::Relaxed);
    let first = |pages: u64| {
        let mapping = reader.map_read_only().unwrap();
        (0..pages).all(|page| mapping.load_u64(page * page_size()).unwrap() == page + 1)
    };
    for _ in 0..2 {
        assert!(matches!(numbered.get(), Err(BuildError::Builder("no source"))));
        assert_eq!(reclaimer.purge_all().bytes, 0, "what is leased is not taken");
        reclaimer.reclaim(u64::MAX);
        assert!(first(3) && leases.iter().all(|lease| !lease.contents().is_purged()));
    }
    drop(leases);
    assert!(region.lease(..page_size()).unwrap().contents().is_purged(), "they count as purged");
    assert_eq!(reclaimer.reclaim(u64::MAX).bytes, 3 * page_size());
    fails.store(false, Ordering::Relaxed);
    assert!(is_numbered(&numbered.get().unwrap()));
}

#[test]
fn small_contents_stay() {
    let built = Arc::new(AtomicU64::new(0));
    let count = built.clone();
    let small = options()
        .create("small", 8191, move |all: &View<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            numbers(all)
        })
        .unwrap();
    for _ in 0..3 {
        assert!(small.get().unwrap().load_u64(0).unwrap() == 1);
        assert_eq!(small.region().purge().unwrap(), 0);
    }
    assert_eq!(built.load(Ordering::Relaxed), 1);
}

#[test]
fn small_contents_that_somebody_else_made_stay_too() {
    let region = quiet().create("small", page_size()).unwrap();
    region.map().unwrap().fill(0, page_size(), 1).unwrap();
    region.unpin(..).unwrap();
    let small = options().open(region, numbers).unwrap();
    let guard = small.get().unwrap();
    assert_eq!((guard.built_bytes(), small.region().purge().unwrap()), (0, 0));
    drop(guard);
    assert_eq!(small.region().purge().unwrap(), 0);
    assert_eq!(small.get().unwrap().read_vec(0, 1).unwrap(), [1]);
}

#[test]
fn a_builder_may_not_ask_for_what_it_builds() {
    let this: Arc<std::sync::OnceLock<Purgeable<String>>> = Arc::default();
    let inside = this.clone();
    let made = options()
        .create("again", 64 * page_size(), move |_: &View<'_>| match inside.get().unwrap().get() {
            Ok(_) => Ok(()),
            Err(BuildError::Region(error @ Error::BuildReentered)) => Err(error.to_string()),
            Err(error) => panic!("{error}"),
        })
        .unwrap();
    assert!(this.set(made).is_ok());
    assert!(matches!(this.get().unwrap().get(), Err(BuildError::Builder(_))));
}

#[test]
fn a_builder_that_takes_too_long() {
    let (slow, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (wait, entered) = (slow.clone(), gate.clone());
    let made = options()
        .patience(Duration::ZERO)
        .create("slow", 64 * page_size(), move |all: &View<'_>| {
            entered.store(true, Ordering::SeqCst);
            while wait.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            numbers(all)
        })
        .unwrap();
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| made.get().unwrap().built_bytes());
        while !gate.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert!(matches!(made.get(), Err(BuildError::Region(Error::BuildStuck { seconds: 0 }))));
        slow.store(false, Ordering::SeqCst);
        assert_eq!(builder.join().unwrap(), 64 * page_size());
    });
    assert_eq!(made.get().unwrap().built_bytes(), 0);
}

/// Pages in one word are purged together, or not at all when somebody holds them.
#[test]
fn threads_build_once() {
    let built = Arc::new(AtomicU64::new(0));
    let count = built.clone();
    let numbered = options()
        .create("threads", 16 * page_size(), move |all: &View<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            numbers(all)
        })
        .unwrap();
    let purges = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let guard = numbered.get().unwrap();
                    assert!(is_numbered(&guard));
                    drop(guard);
                    if round % 16 == 0 && numbered.region().purge().unwrap() > 0 {
                        purges.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (built, purges) = (built.load(Ordering::Relaxed), purges.load(Ordering::Relaxed));
    assert!(built == purges || built == purges + 1, "{built} builds and {purges} purges");
    assert!(purges > 0);
}

/// What the processes share besides the contents: builds, purges that took something, and failures.
const BUILDS: u64 = 0;
const PURGES: u64 = 64;
const GO: u64 = 128;

struct Worker {
    child: Child,
}

impl Worker {
    fn start(contents: &Region, desk: &Region, role: &str) -> Worker {
        let desk = format!("/proc/{}/fd/{}", std::process::id(), desk.as_fd().as_raw_fd());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(DESK, desk)
            .stdin(contents.as_fd().try_clone_to_owned().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        Worker { child }
    }

    fn finish(mut self) {
        let status = self.child.wait().unwrap();
        let mut complaint = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert!(status.success(), "{complaint}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let desk = File::options().read(true).write(true).open(std::env::var_os(DESK).unwrap()).unwrap();
    let contents = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let [contents, desk] =
        [contents, desk.into()].map(|fd| Region::from_fd_with(fd, quiet()).expect("a region"));
    let desk = Arc::new(desk.map().unwrap());
    let notes = desk.clone();
    let stops = role == "stop";
    let build = move |all: &View<'_>| {
        let word = |at| notes.atomic_u64(at).unwrap();
        all.fill(0, all.len(), 0xee)?;
        numbers(all)?;
        // At the last moment at which the build can still be in vain.
        word(BUILDS).fetch_add(1, Ordering::SeqCst);
        if stops {
            loop {
                std::thread::park();
            }
        }
        Ok::<(), Error>(())
    };
    let numbered = options().open(contents, build).unwrap();
    let note = |at: u64| desk.atomic_u64(at).unwrap();
    if role == "race" {
        while note(GO).load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
    }
    for round in 0u64.. {
        if role == "race" && round == 1500 {
            return;
        }
        let guard = numbered.get().expect("built");
        assert!(is_numbered(&guard), "not what was built");
        drop(guard);
        if round % 4 == 0 && numbered.region().purge().expect("purged") > 0 {
            note(PURGES).fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Every purge that took something is followed by exactly one build, whoever races for it.
#[test]
fn processes_build_once() {
    let numbered = options().create("processes", 16 * page_size(), numbers).unwrap();
    let desk = Region::create("desk", page_size()).unwrap();
    let note = desk.map().unwrap();
    let workers: Vec<Worker> = (0..3).map(|_| Worker::start(numbered.region(), &desk, "race")).collect();
    note.atomic_u64(GO).unwrap().store(1, Ordering::SeqCst);
    workers.into_iter().for_each(Worker::finish);
    let (builds, purges) = (note.load_u64(BUILDS).unwrap(), note.load_u64(PURGES).unwrap());
    assert!(builds == purges || builds == purges + 1, "{builds} builds and {purges} purges");
    assert!(purges > 10, "{purges} purges");
    assert!(is_numbered(&numbered.get().unwrap()));
}

/// What a builder leaves in memory who dies is given back, too.
#[test]
fn memory_of_a_dead_builder_is_freed() {
    let numbered = options().create("half", 100 * page_size(), numbers).unwrap();
    let region = numbered.region();
    let desk = Region::create("desk", page_size()).unwrap();
    let stopped = Worker::start(region, &desk, "stop");
    while desk.map().unwrap().load_u64(BUILDS).unwrap() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(region.resident().unwrap(), 100 * page_size());
    assert_eq!(region.purge().unwrap(), 0, "it is being built");
    assert_eq!(region.resident().unwrap(), 100 * page_size());
    drop(stopped);
    region.purge().unwrap();
    assert_eq!(region.resident().unwrap(), 0);
    assert!(is_numbered(&numbered.get().unwrap()));
}

/// Whoever dies, in a builder or out of it, the others go on and never see anything half-built.
#[test]
fn processes_are_killed_while_they_build() {
    let numbered = options().create("killed", 200 * page_size(), numbers).unwrap();
    let desk = Region::create("desk", page_size()).unwrap();
    let start = || Worker::start(numbered.region(), &desk, "for ever");
    let mut workers: Vec<Worker> = (0..2).map(|_| start()).collect();
    let mut seed = std::process::id() as u64 | 1;
    for _ in 0..150 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let until = Instant::now() + Duration::from_micros((seed >> 33) % 15_000);
        while Instant::now() < until {
            let guard = numbered.get().expect("not wedged");
            assert!(is_numbered(&guard), "not what was built");
        }
        let mut victim = workers.remove((seed >> 60) as usize % workers.len());
        if victim.child.try_wait().unwrap().is_some() {
            victim.finish();
        }
        workers.push(start());
    }
    drop(workers);
    assert!(is_numbered(&numbered.get().expect("not wedged")));
    numbered.region().purge().unwrap();
    assert_eq!(numbered.region().stats().unwrap().purged_pages, 200, "the dead hold nothing");
}
