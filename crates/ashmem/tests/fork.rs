//! Regions across `fork(2)`, with and without other threads in the middle of something.
//!
//! Children use this crate and end with `_exit(2)`; their parents wait with a deadline and kill them after it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "fork, _exit and waitpid")]

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::pressure::ManualPressure;
use ashmem::{Contents, Error, Mapping, MemoryFile, PinStatus, Policy, Pool, Reclaimer, Region, page_size};

/// How often something that should take milliseconds is looked at, a millisecond apart, until that is a failure. (Counted, as
/// the clock goes on while a virtual machine stands still.)
const LOOKS: u32 = 30_000;
const LOOK: Duration = Duration::from_millis(1);

/// In a region of these tests.
const PAGES: u64 = 40;

/// What a child exits with when it panics; smaller codes are its own.
const PANICKED: i32 = 99;

fn size() -> u64 {
    PAGES * page_size()
}

/// A forked process, killed on drop.
struct Child(libc::pid_t);

impl Child {
    /// Forks; the child does `action` and exits with its answer, 0 when all is well.
    fn fork(action: impl FnOnce() -> i32) -> Child {
        // SAFETY: the child calls only code that this test is about (the crate promises to work after fork), the allocator, which glibc
        // keeps usable, and `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            let code = catch_unwind(AssertUnwindSafe(action)).unwrap_or(PANICKED);
            exit(code);
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

    fn kill(self) {
        drop(self);
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

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// In a child: ends it with `code` unless `condition`.
fn require(code: i32, condition: bool) {
    if !condition {
        exit(code);
    }
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

fn idle() -> Reclaimer {
    Reclaimer::builder().without_thread().build()
}

fn filled(reclaimer: &Reclaimer) -> (Region, Mapping) {
    let region = Region::options().reclaimer(reclaimer).create("forked", size()).expect("a region");
    let mapping = region.map().expect("mapped");
    mapping.fill(0, size(), 1).expect("inside");
    (region, mapping)
}

/// Keeps a budget of nothing, undisturbed by the system's memory.
fn strict() -> Reclaimer {
    let pressure = ManualPressure::new().expect("an eventfd");
    Reclaimer::builder().policy(Policy::new().budget(0)).pressure(pressure).build()
}

#[test]
fn parent_and_child_share_the_pin_state() {
    let (region, mapping) = filled(&idle());
    let page = page_size();
    region.unpin(..).expect("unpinned");
    let child = Child::fork(|| {
        require(1, region.pin(..).is_ok_and(|contents| contents == Contents::Intact));
        require(2, mapping.read_vec(size() - 1, 1).is_ok_and(|bytes| bytes == [1]));
        require(3, mapping.write_at(0, b"child").is_ok());
        require(4, region.unpin(page..2 * page).is_ok() && region.unpin(20 * page..).is_ok());
        require(5, region.purge().is_ok_and(|bytes| bytes == 21 * page));
        require(6, region.pin(page..2 * page).is_ok_and(Contents::is_purged));
        require(7, region.unpin(3 * page..4 * page).is_ok());
        0
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(mapping.read_vec(0, 5).expect("inside"), b"child");
    let stats = region.stats().expect("healthy");
    assert_eq!((stats.pinned_pages, stats.unpinned_pages, stats.purged_pages), (19, 1, 20));
    assert_eq!(region.pin_status(3 * page..4 * page).expect("healthy"), PinStatus::Unpinned);
    assert_eq!(region.pin(..20 * page).expect("pinned"), Contents::Intact);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

#[test]
fn a_first_unpin_in_the_child_is_seen_by_the_parent() {
    for purge in [true, false] {
        let (region, _mapping) = filled(&idle());
        let child = Child::fork(|| {
            require(1, region.unpin(..).is_ok());
            require(2, !purge || region.purge().is_ok_and(|bytes| bytes == size()));
            0
        });
        assert_eq!(child.wait(), Ok(0));
        assert_eq!(region.pin_status(..).expect("healthy"), PinStatus::Unpinned);
        assert_eq!(region.pin(..).expect("pinned").is_purged(), purge);
    }
}

fn memory_file() -> (MemoryFile, Region) {
    let options = Region::options().reclaimer(&idle());
    let file = MemoryFile::with_options(&options, "forked", size()).expect("a memory file");
    let peer = Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
    file.write_at(0, &vec![1; size() as usize]).expect("inside");
    (file, peer)
}

fn is_purged(file: &MemoryFile) -> bool {
    matches!(file.read_at(0, &mut [0]), Err(Error::Purged { .. }))
}

fn last_byte(file: &MemoryFile) -> Option<u8> {
    let mut byte = [0];
    file.read_at(size() - 1, &mut byte).ok().map(|()| byte[0])
}

#[test]
fn parent_and_child_see_a_memory_file_purged() {
    let (file, peer) = memory_file();
    let _ = file.allow_purging(true).expect("purgeable");
    let child = Child::fork(|| {
        require(1, last_byte(&file) == Some(1));
        require(2, peer.purge().is_ok_and(|bytes| bytes == size()));
        require(3, is_purged(&file) && is_purged(&file));
        0
    });
    assert_eq!(child.wait(), Ok(0));
    assert!(is_purged(&file), "the child's reads have not taken note of it");
    let child = Child::fork(|| {
        require(1, is_purged(&file));
        require(2, file.write_at(size() - 1, &[2]).is_ok());
        0
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(last_byte(&file), Some(2));
}

/// Forks while a thread reads a memory file that may not be purged: in the child nobody does, so the child can have it purged.
#[test]
fn accesses_of_the_parent_hold_nothing_in_the_child() {
    let (file, peer) = memory_file();
    let done = AtomicBool::new(false);
    let ends = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; size() as usize];
            while !done.load(Ordering::Relaxed) {
                // The child has it purged meanwhile.
                let _ = file.read_at(0, &mut bytes);
            }
        });
        let ends: Vec<_> = (0..20)
            .map(|_| {
                let child = Child::fork(|| {
                    require(1, last_byte(&file) == Some(1));
                    require(2, file.allow_purging(true).is_ok_and(|before| !before));
                    require(3, eventually(|| peer.purge().is_ok() && is_purged(&file)));
                    0
                });
                let end = child.wait();
                // What the child unpinned is pinned, and made whole, again.
                let switched = [true, false].map(|allow| file.allow_purging(allow).is_ok());
                let written = file.write_at(0, &vec![1; size() as usize]).is_ok();
                end.map(|code| (code, switched, written))
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        ends
    });
    assert_eq!(ends, vec![Ok((0, [true, true], true)); 20]);
}

#[test]
fn the_buffers_of_a_pool_stay_the_parents() {
    let reclaimer = idle();
    let pool = Pool::options().region(Region::options().reclaimer(&reclaimer)).build();
    let buffers = [1, 2, 3].map(|value| {
        let buffer = pool.take(size()).expect("a buffer");
        buffer.fill(0, size(), value).expect("inside");
        buffer
    });
    let [idle_id, dropped_id, kept_id] = buffers.each_ref().map(|buffer| buffer.region().file_id().ok());
    let [unused, dropped, kept] = buffers;
    drop(unused);
    let dropped = std::cell::Cell::new(Some(dropped));
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let child = Child::fork(|| {
        let before = descriptors();
        require(1, pool.idle() == 0);
        require(11, descriptors() + 1 == before);
        let Ok(own) = pool.take(size()) else { return 2 };
        let own_id = own.region().file_id().ok();
        require(3, !own.is_warm() && ![idle_id, dropped_id, kept_id].contains(&own_id));
        require(4, own.fill(0, size(), 9).is_ok());
        drop(dropped.take());
        require(5, pool.idle() == 0);
        require(6, kept.read_vec(size() - 1, 1).is_ok_and(|bytes| bytes == [3]));
        // Its own it gives back and takes again.
        drop(own);
        require(7, pool.idle() == 1);
        require(8, pool.take(size()).is_ok_and(|own| own.is_warm() && own.region().file_id().ok() == own_id));
        let grandchild = Child::fork(|| {
            require(21, pool.idle() == 0);
            i32::from(!pool.take(size()).is_ok_and(|own| own.region().file_id().ok() != own_id))
        });
        let code = grandchild.wait().unwrap_or(9);
        require(code, code == 0);
        i32::from(pool.idle() != 1) * 10
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(pool.idle(), 1);
    let again = pool.take(size()).expect("a buffer");
    assert!(again.is_warm());
    assert_eq!(again.region().file_id().ok(), idle_id);
    assert_eq!(again.read_vec(0, size()).expect("inside"), vec![1; size() as usize]);
    let dropped = dropped.take().expect("not taken in this process");
    assert_eq!(reclaimer.purge_all().bytes, 0);
    for (buffer, value) in [(&again, 1), (&dropped, 2), (&kept, 3)] {
        assert_eq!(buffer.region().purge().expect("purged"), 0, "it is pinned");
        assert_eq!(buffer.read_vec(0, size()).expect("inside"), vec![value; size() as usize]);
    }
    drop(dropped);
    assert_eq!(reclaimer.purge_all().bytes, size(), "the parent gives back what it has");
}

#[test]
fn a_child_has_a_reclaimer_thread_of_its_own() {
    let reclaimer = strict();
    let (region, mapping) = filled(&reclaimer);
    region.unpin(..).expect("unpinned");
    assert!(eventually(|| region.resident().is_ok_and(|bytes| bytes == 0)), "the parent's thread works");
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    // In every state that the parent's thread may be in.
    for round in 0..20 {
        if round % 2 == 0 {
            region.unpin(..).expect("unpinned");
        }
        let child = Child::fork(|| {
            require(1, !reclaimer.is_running());
            let threads = reclaimer.metrics().threads;
            for _ in 0..2 {
                require(2, region.pin(..).is_ok());
                require(3, mapping.fill(0, size(), 2).is_ok());
                require(4, region.unpin(..).is_ok());
                require(5, reclaimer.is_running() && reclaimer.metrics().threads == threads + 1);
                require(6, eventually(|| region.stats().is_ok_and(|stats| stats.purged_pages == PAGES)));
            }
            let own = Region::options().reclaimer(&reclaimer).create("own", size());
            require(7, own.is_ok());
            let Ok(own) = own else { return 7 };
            require(8, own.map().is_ok_and(|mapping| mapping.fill(0, size(), 3).is_ok()));
            require(9, own.unpin(..).is_ok());
            require(10, eventually(|| own.resident().is_ok_and(|bytes| bytes == 0)));
            0
        });
        assert_eq!(child.wait(), Ok(0), "round {round}");
        assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    }
    mapping.fill(0, size(), 4).expect("inside");
    region.unpin(..).expect("unpinned");
    assert!(eventually(|| region.resident().is_ok_and(|bytes| bytes == 0)), "the parent's thread goes on");
}

#[test]
fn the_global_reclaimer_works_in_a_child() {
    let region = Region::create("global", size()).expect("a region");
    region.unpin(..).expect("unpinned");
    let child = Child::fork(|| {
        Reclaimer::global().set_policy(Policy::new().budget(0));
        let again = region.as_fd().try_clone_to_owned().map(Region::from_fd);
        require(1, matches!(again, Ok(Ok(_))));
        require(2, region.pin(..).is_ok());
        require(3, region.map().is_ok_and(|mapping| mapping.fill(0, size(), 3).is_ok()));
        require(4, region.unpin(..).is_ok());
        require(5, Reclaimer::global().is_running());
        require(6, eventually(|| region.resident().is_ok_and(|bytes| bytes == 0)));
        0
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

#[test]
fn grandchildren() {
    let (region, mapping) = filled(&strict());
    let generation = mapping.atomic_u32(0).expect("aligned");
    let descend = || -> i32 {
        require(1, region.pin(..).is_ok());
        generation.fetch_add(1, Ordering::SeqCst);
        require(2, region.unpin(page_size()..).is_ok());
        require(3, region.purge().is_ok());
        0
    };
    generation.store(0, Ordering::SeqCst);
    let child = Child::fork(|| {
        require(11, descend() == 0);
        let grandchild = Child::fork(|| {
            require(21, descend() == 0);
            Child::fork(descend).wait().unwrap_or(22)
        });
        let code = grandchild.wait().unwrap_or(12);
        require(code, code == 0);
        require(13, region.pin(..).is_ok_and(Contents::is_purged));
        descend()
    });
    assert_eq!(child.wait(), Ok(0));
    assert_eq!(generation.load(Ordering::SeqCst), 4);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
}

/// Purges, unless others are so busy with that that the lock is never free.
fn try_purge(region: &Region) -> ashmem::Result<()> {
    match region.purge() {
        Ok(_) | Err(Error::PurgeLocked { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Threads of the parent are anywhere in the crate when it forks; no child inherits a lock that nobody will release.
#[test]
fn children_of_a_busy_parent_never_hang() {
    let threaded = strict();
    let (busy, _) = filled(&threaded);
    let (region, _) = filled(&idle());
    region.unpin(..).expect("unpinned");
    busy.unpin(..).expect("unpinned");
    let stop = AtomicBool::new(false);
    let turns = [const { AtomicU32::new(0) }; 5];
    let work: [&(dyn Fn() + Sync); 5] = [
        &|| try_purge(&region).expect("purged"),
        &|| {
            let _ = busy.pin(..).expect("pinned");
            busy.unpin(..).expect("unpinned");
        },
        &|| assert!(threaded.reclaim(1 << 20).pages < u64::MAX),
        &|| {
            let (new, _) = filled(&threaded);
            new.unpin(..).expect("unpinned");
            let copy = new.as_fd().try_clone_to_owned().expect("a descriptor");
            let _ = Region::from_fd(copy).expect("a region").pin(..).expect("pinned");
        },
        &|| {
            let _ = region.pin(page_size()..).expect("pinned");
            region.unpin(page_size()..).expect("unpinned");
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
            let child = Child::fork(|| {
                for (number, region) in [(1, &region), (2, &busy)] {
                    require(10 + number, region.pin(..).is_ok());
                    require(20 + number, region.unpin(..).is_ok());
                    require(30 + number, try_purge(region).is_ok());
                }
                let (own, _) = filled(&threaded);
                require(3, own.unpin(..).is_ok() && threaded.is_running());
                let _ = threaded.purge_all();
                require(4, eventually(|| own.resident().is_ok_and(|bytes| bytes == 0)));
                0
            });
            let seen = turns.each_ref().map(|turns| turns.load(Ordering::Relaxed));
            match child.wait() {
                Ok(0) => {}
                other => return Err(format!("round {round}: {other:?}")),
            }
            // The parent goes on.
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
    let _ = region.pin(..).expect("pinned");
    assert_eq!(region.stats().expect("healthy").pinned_pages, PAGES);
}

#[test]
fn a_child_killed_in_a_purge_wedges_nobody() {
    let (region, mapping) = filled(&idle());
    region.unpin(..).expect("unpinned");
    let progress = Region::create("progress", page_size()).expect("a region").map().expect("mapped");
    let count: &AtomicU64 = progress.atomic_u64(0).expect("aligned");
    for round in 0..150u64 {
        let before = count.load(Ordering::SeqCst);
        let child = Child::fork(|| {
            loop {
                require(1, region.purge().is_ok());
                require(2, region.pin(..).is_ok() && mapping.fill(0, size(), 1).is_ok());
                require(3, region.unpin(..).is_ok());
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert!(eventually(|| count.load(Ordering::SeqCst) > before), "round {round}: the child is wedged");
        std::thread::sleep(Duration::from_micros(round * 7 % 300));
        child.kill();
        let _ = region.pin(..).unwrap_or_else(|error| panic!("round {round}: {error}"));
        mapping.fill(0, size(), 9).expect("inside");
        assert_eq!(region.purge().expect("not wedged"), 0);
        assert_eq!(mapping.read_vec(0, size()).expect("inside"), vec![9; size() as usize]);
        region.unpin(..).expect("unpinned");
        assert_eq!(region.purge().expect("not wedged"), size());
    }
}
