//! Leases and guards across `fork(2)`: they are the parent's, and end with the parent; a child takes its own.
//!
//! Children use this crate and end with `_exit(2)`; who waits for one does so with a deadline and kills it after that.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "fork, prctl, _exit and waitpid")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Contents, Lease, Mapping, PinGuard, PinStatus, Reclaimer, Region, RegionOptions, page_size};

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure.
const LOOKS: u32 = 30_000;
const LOOK: Duration = Duration::from_millis(1);

/// In a region of these tests: more than may be counted page by page.
const PAGES: u64 = 1500;

/// What a child exits with when it panics; smaller codes are its own.
const PANICKED: i32 = 99;

/// A forked process, killed on drop.
struct Child(libc::pid_t);

impl Child {
    /// Forks; the child does `action` and exits with its answer, 0 when all is well. It dies with its parent only when `bound`.
    fn fork(bound: bool, action: impl FnOnce() -> i32) -> Child {
        // SAFETY: the child calls only code that this test is about (the crate promises to work after fork), the allocator, which glibc
        // keeps usable, and `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            if bound {
                // SAFETY: only asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            }
            let code = catch_unwind(AssertUnwindSafe(action)).unwrap_or(PANICKED);
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(code) };
        }
        Child(pid)
    }

    /// Whether it ended by itself in time, and with which code.
    fn wait(mut self) -> Result<i32, String> {
        for _ in 0..LOOKS {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            let answer = unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) };
            if answer == self.0 {
                self.0 = 0;
                if libc::WIFEXITED(status) {
                    return Ok(libc::WEXITSTATUS(status));
                }
                return Err(format!("ended with status {status:#x}"));
            }
            assert_eq!(answer, 0, "waitpid failed");
            std::thread::sleep(LOOK);
        }
        Err("hangs".to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: a child that was not waited for still has its process identifier.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        }
    }
}

/// With a reclaimer that has no thread, which would look at regions while they go.
fn quiet() -> RegionOptions {
    Region::options().reclaimer(&Reclaimer::builder().without_thread().build())
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    (0..LOOKS / 2).any(|_| {
        let done = condition();
        if !done {
            std::thread::sleep(LOOK);
        }
        done
    })
}

fn bytes(pages: Range<u64>) -> Range<u64> {
    pages.start * page_size()..pages.end * page_size()
}

/// Unpinned and filled.
fn region() -> Region {
    let reclaimer = Reclaimer::builder().without_thread().build();
    let region = Region::options().reclaimer(&reclaimer).create("forked", PAGES * page_size());
    let region = region.expect("a region");
    region.map().expect("mapped").fill(0, region.size(), 1).expect("inside");
    region.unpin(..).expect("unpinned");
    region
}

fn reader(region: &Region) -> Region {
    Region::from_fd_with(region.share_read_only().expect("reopened"), quiet()).expect("a region")
}

/// Words that processes share.
fn shared_words() -> Mapping {
    Region::create("words", page_size()).expect("a region").map().expect("mapped")
}

fn purged_pages(region: &Region) -> u64 {
    region.purge().expect("purged") / page_size()
}

/// Something of every kind that is held.
fn hold_all_kinds<'a>(region: &'a Region, reader: &'a Region) -> (Vec<Lease<'a>>, Vec<PinGuard<'a>>) {
    let leases = vec![
        region.lease(bytes(0..10)).expect("leased"),
        region.lease(bytes(100..1490)).expect("leased"),
        reader.lease(bytes(20..30)).expect("leased"),
    ];
    let guards = vec![
        region.pin_guard(bytes(40..50)).expect("pinned"),
        region.pin_guard(bytes(45..60)).expect("pinned"),
    ];
    (leases, guards)
}

/// Pages that those hold.
const HELD: u64 = 10 + 1390 + 10 + 20;

#[test]
fn what_a_child_drops_is_still_the_parents() {
    let region = region();
    let reader = reader(&region);
    let (leases, guards) = hold_all_kinds(&region, &reader);
    let whole = region.lease(..).expect("leased");
    let (child_leases, child_guards) = (std::cell::Cell::new(None), std::cell::Cell::new(None));
    child_leases.set(Some((leases, whole)));
    child_guards.set(Some(guards));
    let child = Child::fork(true, || {
        drop(child_guards.take());
        drop(child_leases.take());
        // Nor does it help the child's own to be dropped.
        drop(region.lease(..));
        drop(region.pin_guard(bytes(40..50)));
        drop(reader.lease(bytes(20..30)));
        i32::from(region.purge().ok() != Some(0))
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(purged_pages(&region), 0);
    let (leases, whole) = child_leases.take().expect("not taken in this process");
    drop(whole);
    assert_eq!(purged_pages(&region), PAGES - HELD);
    assert_eq!(region.pin_status(bytes(40..60)).expect("a status"), PinStatus::Pinned);
    drop(child_guards.take());
    assert_eq!(purged_pages(&region), 20);
    drop(leases);
    assert_eq!(purged_pages(&region), HELD - 20);
}

#[test]
fn what_owns_its_region_is_the_parents_too() {
    let region = region();
    let lease = std::cell::Cell::new(region.lease_owned(bytes(0..10)).ok());
    let guard = std::cell::Cell::new(region.pin_guard_owned(bytes(40..60)).ok());
    let child = Child::fork(true, || {
        drop((lease.take(), guard.take()));
        i32::from(region.purge().ok() != Some((PAGES - 30) * page_size()))
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(purged_pages(&region), 0);
    assert!(lease.take().is_some() && guard.take().is_some());
    assert_eq!(purged_pages(&region), 30);
}

#[test]
fn a_child_that_outlives_its_parent_keeps_nothing() {
    for whole in [false, true] {
        let (region, words) = (region(), shared_words());
        let grandchild: &AtomicU64 = words.atomic_u64(0).expect("aligned");
        let parent = Child::fork(true, || {
            let reader = reader(&region);
            let all = whole.then(|| region.lease(..).expect("leased"));
            let held = hold_all_kinds(&region, &reader);
            std::mem::forget(Child::fork(false, || {
                // SAFETY: only asks for the end of the process, should nobody else ask for it.
                unsafe { libc::alarm(60) };
                grandchild.store(u64::from(std::process::id()), Ordering::SeqCst);
                loop {
                    std::thread::park();
                }
            }));
            loop {
                std::hint::black_box((&all, &held));
                std::thread::park();
            }
        });
        assert!(eventually(|| grandchild.load(Ordering::SeqCst) != 0), "no grandchild");
        assert_eq!(purged_pages(&region), if whole { 0 } else { PAGES - HELD });
        drop(parent);
        let pid = grandchild.load(Ordering::SeqCst) as libc::pid_t;
        // SAFETY: signal 0 only asks whether the process is there.
        assert_eq!(unsafe { libc::kill(pid, 0) }, 0, "the grandchild lives");
        let rest = purged_pages(&region);
        // SAFETY: the process was there a moment ago and sleeps until it is killed.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        assert_eq!(rest, if whole { PAGES } else { HELD });
    }
}

#[test]
fn a_childs_own_leases_hold() {
    let (region, words) = (region(), shared_words());
    let reader = reader(&region);
    // The parent's slot and description exist before.
    let parents = hold_all_kinds(&region, &reader);
    let ready: &AtomicU64 = words.atomic_u64(0).expect("aligned");
    let child = Child::fork(true, || {
        let _small = region.lease(bytes(60..62)).expect("leased");
        let _guard = region.pin_guard(bytes(64..66)).expect("pinned");
        let _large = region.lease(bytes(70..1495)).expect("leased");
        let _locked = reader.lease(bytes(66..68)).expect("leased");
        let _nested = region.pin_guard(bytes(45..65)).expect("pinned");
        ready.store(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    });
    assert!(eventually(|| ready.load(Ordering::SeqCst) != 0), "no child");
    let childs = (45..68).chain(70..1495);
    let both = (0..10).chain(20..30).chain(40..45).count() as u64 + childs.clone().count() as u64;
    assert_eq!(purged_pages(&region), PAGES - both);
    drop(parents);
    assert_eq!(purged_pages(&region), both - childs.clone().count() as u64);
    assert_eq!(region.pin_status(bytes(45..66)).expect("a status"), PinStatus::Pinned);
    drop(child);
    assert_eq!(purged_pages(&region), childs.count() as u64);
}

/// There are sixteen slots: sixteen children with one each leave none, and the parent's is another.
#[test]
fn every_child_takes_a_slot_of_its_own() {
    let (region, words) = (region(), shared_words());
    let ready: &AtomicU64 = words.atomic_u64(0).expect("aligned");
    let held = region.lease(..).expect("leased");
    let children: Vec<Child> = (0..20)
        .map(|number| {
            Child::fork(true, || {
                let _lease = region.lease(bytes(number * 10..number * 10 + 10)).expect("leased");
                ready.fetch_add(1, Ordering::SeqCst);
                loop {
                    std::thread::park();
                }
            })
        })
        .collect();
    assert!(eventually(|| ready.load(Ordering::SeqCst) == 20), "not all children hold");
    assert_eq!(purged_pages(&region), 0);
    drop(held);
    assert_eq!(purged_pages(&region), PAGES - 200);
    for (number, child) in children.into_iter().enumerate() {
        drop(child);
        assert_eq!(purged_pages(&region), 10, "child {number}");
    }
}

/// Threads of the parent are anywhere between taking and dropping when it forks.
#[test]
fn children_of_a_parent_that_leases_all_the_time() {
    let region = region();
    let reader = reader(&region);
    let stop = AtomicBool::new(false);
    let turns = [const { AtomicU32::new(0) }; 4];
    let work: [&(dyn Fn() + Sync); 4] = [
        &|| {
            let _whole = region.lease(..).expect("leased");
            let _part = region.lease(bytes(3..70)).expect("leased");
        },
        &|| {
            let _outer = region.pin_guard(bytes(10..40)).expect("pinned");
            let _inner = region.pin_guard(..).expect("pinned");
        },
        &|| {
            let _large = region.lease(bytes(1..1400)).expect("leased");
            let _locked = reader.lease(bytes(7..9)).expect("leased");
        },
        // A first hold on a new handle: description and slot.
        &|| {
            drop(
                Region::from_fd_with(region.share_read_write().expect("reopened"), quiet())
                    .expect("a region")
                    .lease(..)
                    .expect("leased"),
            )
        },
    ];
    let outcome = std::thread::scope(|scope| {
        for (work, turns) in work.into_iter().zip(&turns) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let round = |round: u32| {
            let child = Child::fork(true, || {
                work[..3].iter().for_each(|work| work());
                work[3]();
                let _guard = region.pin_guard(bytes(2..5)).expect("pinned");
                i32::from(region.pin_status(bytes(2..5)).expect("a status") != PinStatus::Pinned)
            });
            let seen = turns.each_ref().map(|turns| turns.load(Ordering::Relaxed));
            match child.wait() {
                Ok(0) => {}
                other => return Err(format!("round {round}: {other:?}")),
            }
            let moved =
                eventually(|| turns.iter().zip(seen).all(|(now, then)| now.load(Ordering::Relaxed) > then));
            if moved { Ok(()) } else { Err(format!("round {round}: the parent hangs")) }
        };
        // A thread that hangs would keep the scope open; the failure is shown before.
        let outcome = (0..200).try_for_each(round);
        if let Err(reason) = &outcome {
            eprintln!("{reason}");
        }
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(outcome, Ok(()));
    assert_eq!(region.stats().expect("healthy").pinned_pages, 0);
    assert_eq!(region.purge().expect("purged"), region.size(), "no count is left");
    assert_eq!(region.lease(..).expect("leased").contents(), Contents::Purged);
}
