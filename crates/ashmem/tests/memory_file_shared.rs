//! Memory files: many threads at once, and processes that are killed.
//!
//! The other process is this test binary again, running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Error, MemoryFile, Reclaimer, Region, page_size};

/// Runs its function at the end of its scope, also when the test has failed there: others wait for that.
struct Finally<F: Fn()>(F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A file that is purged again and again by another holder while threads read it: they see all of what was written by
/// one write, or that it was purged, and never zeros.
#[test]
fn readers_never_see_a_purge() {
    const READERS: u64 = 3;
    let length = 64 * page_size();
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let file = MemoryFile::with_options(&options, "threads", length).expect("a memory file");
    let peer = Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
    let _ = file.allow_purging(true).expect("purgeable");
    let (reads, failures, taken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    for round in 1..=50u8 {
        file.write_at(0, &vec![round; length as usize]).expect("written");
        let reading = AtomicU64::new(READERS);
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    let _end = Finally(|| {
                        let _ = reading.fetch_sub(1, Ordering::Release);
                    });
                    let mut bytes = vec![0; length as usize];
                    for _ in 0..40 {
                        match file.read_at(0, &mut bytes) {
                            Ok(()) => {
                                assert!(bytes.iter().all(|byte| *byte == round), "round {round}");
                                reads.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(Error::Purged { .. }) => {
                                failures.fetch_add(1, Ordering::Relaxed);
                                // All readers may do that: it is the same for all of them.
                                file.write_at(0, &vec![round; length as usize]).expect("written");
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            scope.spawn(|| {
                while reading.load(Ordering::Acquire) > 0 {
                    taken.fetch_add(peer.purge().expect("purged"), Ordering::Relaxed);
                }
            });
        });
        // Nobody is reading: it is unpinned, and goes.
        peer.purge().expect("purged");
        assert!(matches!(file.read_at(0, &mut [0]), Err(Error::Purged { .. })), "round {round}");
    }
    let (reads, failures, taken) = (reads.into_inner(), failures.into_inner(), taken.into_inner());
    println!("{reads} reads, {failures} found it purged; {taken} bytes taken away meanwhile");
    assert!(reads > 0);
}

/// Threads that read, write, switch purging on and off, and purge, while the file is closed: nothing crashes, and nothing
/// goes on after the close.
#[test]
fn closed_while_everybody_uses_it() {
    let length = 2 * page_size();
    for round in 0..100 {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let options = Region::options().reclaimer(&reclaimer);
        let file = MemoryFile::with_options(&options, "closed", length).expect("a memory file");
        let peer =
            Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
        let (used, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let _end = Finally(|| file.close());
                    let mut bytes = vec![0; length as usize];
                    loop {
                        let ending = closed.load(Ordering::Acquire);
                        let done = match file.read_at(0, &mut bytes) {
                            Err(Error::Purged { .. }) => file.write_at(0, &bytes),
                            done => done,
                        };
                        match done {
                            Ok(()) => assert!(!ending, "an access began after the close"),
                            Err(Error::Deactivated { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                        used.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                let _end = Finally(|| file.close());
                for allow in [true, false].into_iter().cycle() {
                    match file.allow_purging(allow) {
                        Ok(old) => assert_eq!(old, !allow),
                        Err(Error::Closed { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                    peer.purge().expect("purged");
                }
            });
            while used.load(Ordering::Relaxed) < round && !file.is_deactivated() {
                std::thread::yield_now();
            }
            file.close();
            closed.store(true, Ordering::Release);
        });
        // The last access left it as the setting says.
        let pinned = peer.stats().expect("stats").pinned_pages;
        assert_eq!(pinned, if file.is_purging_allowed() { 0 } else { 2 });
    }
}

/// Threads that each write a part of their own right after a purge: whoever comes first makes the rest zeros, and no zeros come
/// over what the others write. A reader finds the file purged, or the whole of what made it readable again.
#[test]
fn writers_after_a_purge_lose_nothing() {
    const WRITERS: usize = 3;
    let page = page_size() as usize;
    let part = 5 * page;
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let length = (WRITERS + 1) * part;
    let file = MemoryFile::with_options(&options, "writers", length as u64).expect("a memory file");
    let peer = Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
    let _ = file.allow_purging(true).expect("purgeable");
    for round in 1..=300u16 {
        let value = |writer: usize| (round as u8 | 1).wrapping_add(2 * writer as u8);
        file.write_at(0, &vec![0xFE; length]).expect("written");
        // Something is left, which may not be seen any more.
        let kept = if round % 2 == 0 { ..page_size() } else { ..0 };
        if kept.end > 0 {
            let _ = peer.pin(kept).expect("pinned");
        }
        assert!(peer.purge().expect("purged") > 0);
        let start = Barrier::new(WRITERS + 1);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (file, start) = (&file, &start);
                scope.spawn(move || {
                    start.wait();
                    file.write_at((writer * part) as u64, &vec![value(writer); part]).expect("written");
                });
            }
            start.wait();
            let mut bytes = vec![0; length];
            loop {
                match file.read_at(0, &mut bytes) {
                    Err(Error::Purged { .. }) => continue,
                    done => done.expect("read"),
                }
                let is =
                    |range: std::ops::Range<usize>, value| bytes[range].iter().all(|byte| *byte == value);
                let whole = (0..WRITERS).any(|writer| is(writer * part..(writer + 1) * part, value(writer)));
                assert!(whole, "round {round}: readable before anything was written");
                assert!(is(WRITERS * part..length, 0) && !bytes.contains(&0xFE), "round {round}: old bytes");
                break;
            }
        });
        let mut bytes = vec![0; length];
        file.read_at(0, &mut bytes).expect("read");
        for (writer, bytes) in bytes.chunks(part).enumerate() {
            let expected = if writer < WRITERS { value(writer) } else { 0 };
            assert!(
                bytes.iter().all(|byte| *byte == expected),
                "round {round}: the bytes of writer {writer}"
            );
        }
        peer.unpin(..).expect("unpinned");
    }
}

/// Threads that switch purging on and off at the same time, while others write: the file ends as the setting says, and nothing
/// that was written is lost while it is off.
/// The file is larger than what a purge takes at a time: what is written while it is between two parts stays.
#[test]
fn a_write_in_the_middle_of_a_purge_stays() {
    const LENGTH: u64 = 8 << 20;
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let file = MemoryFile::with_options(&options, "two parts", LENGTH).expect("a memory file");
    let peer = Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
    let _ = file.allow_purging(true).expect("purgeable");
    let filled = vec![1; LENGTH as usize];
    let purged = AtomicU64::new(0);
    for round in 2..150u64 {
        file.write_at(0, &filled).expect("written");
        std::thread::scope(|scope| {
            let purger = scope.spawn(|| peer.purge().expect("purged"));
            // Different moments, and all of them have to be right.
            for _ in 0..round * 37 % 1500 {
                std::hint::spin_loop();
            }
            while !purger.is_finished() {
                if peer.stats().expect("counted").purged_pages == 0 {
                    continue;
                }
                file.write_at(LENGTH - 8, &round.to_ne_bytes()).expect("written");
                let mut back = [0; 8];
                match file.read_at(LENGTH - 8, &mut back) {
                    Ok(()) => assert_eq!(u64::from_ne_bytes(back), round, "a write was lost"),
                    Err(error) => assert!(matches!(error, Error::Purged { .. }), "{error}"),
                }
                break;
            }
            purged.fetch_add(purger.join().expect("no panic"), Ordering::Relaxed);
        });
    }
    assert!(purged.into_inner() > 0);
}

#[test]
fn switched_by_several_threads() {
    let length = 2 * page_size();
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    for round in 0..60u8 {
        let file = MemoryFile::with_options(&options, "switched", length).expect("a memory file");
        let fd = file.try_clone_fd().expect("a duplicate");
        let peer = Region::from_fd_with(fd, options.clone()).expect("a region");
        let switching = AtomicU64::new(3);
        // Threads that were told that they switched it on, less those that switched it off.
        let balance = AtomicI64::new(0);
        std::thread::scope(|scope| {
            for first in [true, false, true] {
                let (file, peer, switching, balance) = (&file, &peer, &switching, &balance);
                scope.spawn(move || {
                    let _end = Finally(|| {
                        let _ = switching.fetch_sub(1, Ordering::Release);
                    });
                    for step in 0..20 {
                        let allow = (step % 2 == 0) == first;
                        if file.allow_purging(allow).expect("purgeable") != allow {
                            balance.fetch_add(if allow { 1 } else { -1 }, Ordering::Relaxed);
                        }
                        if step % 4 == 0 {
                            peer.purge().expect("purged");
                        }
                    }
                });
            }
            scope.spawn(|| {
                while switching.load(Ordering::Acquire) > 0 {
                    file.write_at(0, &[round; 100]).expect("written");
                    match file.read_at(0, &mut [0; 100]) {
                        Ok(()) | Err(Error::Purged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        });
        let allowed = file.is_purging_allowed();
        assert_eq!(balance.into_inner(), i64::from(allowed), "round {round}");
        assert_eq!(peer.stats().expect("stats").pinned_pages, if allowed { 0 } else { 2 }, "round {round}");
        let _ = file.allow_purging(false).expect("pinned");
        file.write_at(0, &[7; 100]).expect("written");
        assert_eq!(peer.purge().expect("purged"), 0);
        let mut bytes = [0; 100];
        file.read_at(0, &mut bytes).expect("read");
        assert_eq!(bytes, [7; 100]);
    }
}

const ROLE: &str = "ASHMEM_TEST_ROLE";

/// Pages of the file of a process that is to be killed: so many that it is in an access nearly all the time.
const PAGES: u64 = 2048;

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let length = PAGES * page_size();
    let file = MemoryFile::with_options(&options, "killed", length).expect("a memory file");
    let mut bytes = vec![7; length as usize];
    file.write_at(0, &bytes).expect("written");
    let _ = file.allow_purging(true).expect("purgeable");
    println!("\nfd {}", file.fd().expect("open"));
    loop {
        match role.as_str() {
            "read" => file.read_at(0, &mut bytes),
            // All of it, and the first half alone once it was purged.
            _ => file.write_at(0, &bytes[..bytes.len() / 2]),
        }
        .expect("an access");
    }
}

/// Starts a process that accesses a memory file for ever; returns the region, too.
fn start(role: &str) -> (Worker, Region) {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut worker = Worker(child.expect("started"));
    let lines = BufReader::new(worker.0.stdout.take().expect("a pipe")).lines();
    let number =
        lines.map(|line| line.expect("text")).find_map(|line| Some(line.strip_prefix("fd ")?.to_owned()));
    let path = format!("/proc/{}/fd/{}", worker.0.id(), number.expect("a number"));
    let file = File::options().read(true).write(true).open(path).expect("opened");
    let reclaimer = Reclaimer::builder().without_thread().build();
    let region = Region::from_fd_with(file.into(), Region::options().reclaimer(&reclaimer));
    (worker, region.expect("a region"))
}

/// Processes that are killed while they read or write: nothing stays pinned or held.
#[test]
fn killed_in_an_access() {
    for round in 0..20 {
        let (worker, region) = start(if round % 2 == 0 { "read" } else { "write" });
        let pinned = || region.stats().expect("healthy").pinned_pages;
        // It is in an access nearly all the time.
        assert!((0..10_000).any(|_| pinned() == PAGES), "never in an access");
        std::thread::sleep(Duration::from_micros(50 * round));
        drop(worker);
        assert_eq!(pinned(), 0, "round {round}");
        assert_eq!(region.purge().expect("purged"), PAGES * page_size(), "round {round}");
    }
}

/// A process that is killed while it writes a purged file: either all of what it wrote is there, or the file is still purged.
#[test]
fn killed_in_the_write_after_a_purge() {
    let half = PAGES / 2 * page_size();
    let (mut purged, mut whole) = (0, 0);
    for round in 0..40 {
        let (worker, region) = start("write");
        let taken = (0..200).any(|_| region.purge().expect("purged") > 0);
        std::thread::sleep(Duration::from_micros(50 * round));
        drop(worker);
        if !taken {
            continue;
        }
        if region.stats().expect("healthy").purged_pages > 0 {
            purged += 1;
            continue;
        }
        whole += 1;
        let mapping = region.map().expect("mapped");
        assert!(mapping.read_vec(0, half).expect("inside").iter().all(|byte| *byte == 7), "round {round}");
        assert!(mapping.read_vec(half, half).expect("inside").iter().all(|byte| *byte == 0), "round {round}");
    }
    println!("{purged} times still purged, {whole} times written");
    assert!(purged + whole > 0);
}
