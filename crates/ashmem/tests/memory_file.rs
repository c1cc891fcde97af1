//! Memory files: random operations against a naive model, many threads at once, and processes that are killed.
//!
//! The other process is this test binary again, running the ignored test `worker`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Error, MemoryFile, Reclaimer, Region, page_size};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Read {
        offset: u64,
        len: usize,
    },
    Write {
        offset: u64,
        len: usize,
        value: u8,
    },
    ReadBytes {
        buffer: usize,
        src: u64,
        dest: usize,
        count: usize,
    },
    WriteBytes {
        buffer: usize,
        src: usize,
        dest: u64,
        count: usize,
        value: u8,
    },
    Input(Input),
    Output {
        len: usize,
        value: u8,
    },
    SeekOutput(u64),
    AllowPurging(bool),
    Purge,
    /// All pages but the first.
    PurgeRest,
    PurgeAll,
    Deactivate,
    Close,
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Read(usize),
    Skip(u64),
    Mark,
    Reset,
    Seek(u64),
}

/// An offset or a length, somewhat beyond the end at times.
fn place(length: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..length,
        2 => Just(length),
        2 => length..length + 20,
        4 => 0..20u64,
        1 => any::<u64>(),
    ]
}

fn operation(length: u64) -> impl Strategy<Value = Operation> {
    // Lengths are allocated, so they are never huge.
    let len = move || place(length).prop_map(move |len| (len % (length + 30)) as usize);
    let some = move || place(length).prop_map(|count| count as usize);
    let value = || 1..=u8::MAX;
    let input = prop_oneof![
        4 => len().prop_map(Input::Read),
        2 => place(length).prop_map(Input::Skip),
        1 => Just(Input::Mark),
        1 => Just(Input::Reset),
        1 => place(length).prop_map(Input::Seek),
    ];
    prop_oneof![
        10 => (place(length), len()).prop_map(|(offset, len)| Operation::Read { offset, len }),
        8 => (place(length), len(), value())
            .prop_map(|(offset, len, value)| Operation::Write { offset, len, value }),
        6 => (len(), place(length), some(), some())
            .prop_map(|(buffer, src, dest, count)| Operation::ReadBytes { buffer, src, dest, count }),
        6 => (len(), some(), place(length), some(), value()).prop_map(|(buffer, src, dest, count, value)| {
            Operation::WriteBytes { buffer, src, dest, count, value }
        }),
        8 => input.prop_map(Operation::Input),
        4 => (len(), value()).prop_map(|(len, value)| Operation::Output { len, value }),
        2 => place(length).prop_map(Operation::SeekOutput),
        4 => Just(Operation::AllowPurging(true)),
        3 => Just(Operation::AllowPurging(false)),
        5 => Just(Operation::Purge),
        2 => Just(Operation::PurgeRest),
        2 => Just(Operation::PurgeAll),
        1 => prop_oneof![2 => Just(Operation::Deactivate), 1 => Just(Operation::Close)],
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Deactivated,
    Closed,
    OutOfBounds,
    Purged,
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Deactivated { .. } => Failure::Deactivated,
        Error::Closed { .. } => Failure::Closed,
        Error::AccessOutOfBounds { .. } => Failure::OutOfBounds,
        Error::Purged { .. } => Failure::Purged,
        error => panic!("not expected of a memory file: {error:?}"),
    }
}

fn stream_failure(error: io::Error) -> Failure {
    failure(error.get_ref().expect("an error of the crate").downcast_ref().expect("an error of the crate"))
}

struct Model {
    contents: Vec<u8>,
    active: bool,
    open: bool,
    allowed: bool,
    /// Which pages were taken away since the file was written, or made purgeable.
    gone: Vec<bool>,
}

impl Model {
    fn is_purged(&self) -> bool {
        self.gone.contains(&true)
    }

    fn make_whole(&mut self) {
        if self.is_purged() {
            self.contents.fill(0);
            self.gone.fill(false);
        }
    }

    /// Where an access of the file, and of a buffer of `buffer.0` bytes at `buffer.1`, is allowed.
    fn begin(&self, offset: u64, count: usize, buffer: (usize, usize)) -> Result<usize, Failure> {
        let fits = |offset: u64, count: usize, len: usize| offset as u128 + count as u128 <= len as u128;
        if !self.active {
            return Err(Failure::Deactivated);
        }
        if !fits(offset, count, self.contents.len()) || !fits(buffer.1 as u64, count, buffer.0) {
            return Err(Failure::OutOfBounds);
        }
        Ok(offset as usize)
    }

    fn read(&self, offset: u64, count: usize, buffer: (usize, usize)) -> Result<Vec<u8>, Failure> {
        let offset = self.begin(offset, count, buffer)?;
        if self.is_purged() {
            Err(Failure::Purged)
        } else {
            Ok(self.contents[offset..offset + count].to_vec())
        }
    }

    fn write(&mut self, offset: u64, count: usize, buffer: (usize, usize), value: u8) -> Result<(), Failure> {
        let offset = self.begin(offset, count, buffer)?;
        if count > 0 {
            self.make_whole();
        }
        self.contents[offset..offset + count].fill(value);
        Ok(())
    }

    fn allow(&mut self, allow: bool) -> Result<bool, Failure> {
        if self.allowed == allow {
            return Ok(allow);
        }
        if !self.open {
            return Err(Failure::Closed);
        }
        self.make_whole();
        self.allowed = allow;
        Ok(!allow)
    }

    /// Returns how many pages go.
    fn purge(&mut self, first: usize) -> u64 {
        if !self.allowed {
            return 0;
        }
        let kept: Vec<_> = self.gone[first..].iter_mut().filter(|gone| !**gone).collect();
        let taken = kept.len() as u64;
        kept.into_iter().for_each(|gone| *gone = true);
        taken
    }
}

fn check(length: u64, operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let page = page_size();
    let reclaimer = Reclaimer::builder().without_thread().build();
    let options = Region::options().reclaimer(&reclaimer);
    let file = MemoryFile::with_options(&options, "model", length).expect("a memory file");
    let peer = Region::from_fd_with(file.try_clone_fd().expect("a duplicate"), options).expect("a region");
    let mut model = Model {
        contents: vec![0; length as usize],
        active: true,
        open: true,
        allowed: false,
        gone: vec![false; length.div_ceil(page) as usize],
    };
    let mut peer_watched = false;
    let (mut input, mut output) = (file.input_stream(), file.output_stream());
    let (mut input_at, mut mark, mut output_at) = (0u64, 0u64, 0u64);
    for operation in operations {
        match operation {
            Operation::Read { offset, len } => {
                let mut bytes = vec![0xEE; len];
                let answer = file.read_at(offset, &mut bytes);
                let expected = model.read(offset, len, (len, 0));
                if expected.is_err() {
                    prop_assert!(bytes.iter().all(|byte| *byte == 0xEE), "a failed read wrote the buffer");
                }
                prop_assert_eq!(answer.map(|()| bytes).map_err(|error| failure(&error)), expected);
            }
            Operation::Write { offset, len, value } => {
                let answer = file.write_at(offset, &vec![value; len]).map_err(|error| failure(&error));
                prop_assert_eq!(answer, model.write(offset, len, (len, 0), value));
            }
            Operation::ReadBytes { buffer, src, dest, count } => {
                let mut bytes = vec![0xEE; buffer];
                let mut wanted = bytes.clone();
                let answer = file.read_bytes(&mut bytes, src, dest, count).map_err(|error| failure(&error));
                let expected = model.read(src, count, (buffer, dest));
                if let Ok(read) = &expected {
                    wanted[dest..dest + count].copy_from_slice(read);
                }
                prop_assert_eq!(answer, expected.map(drop));
                prop_assert_eq!(bytes, wanted);
            }
            Operation::WriteBytes { buffer, src, dest, count, value } => {
                let bytes = vec![value; buffer];
                let answer = file.write_bytes(&bytes, src, dest, count).map_err(|error| failure(&error));
                prop_assert_eq!(answer, model.write(dest, count, (buffer, src), value));
            }
            Operation::Input(step) => {
                let available = length.saturating_sub(input_at);
                prop_assert_eq!(input.available(), available);
                match step {
                    Input::Read(len) => {
                        let mut bytes = vec![0; len];
                        let answer = input.read(&mut bytes).map_err(stream_failure);
                        let len = len.min(available as usize);
                        bytes.truncate(len);
                        if len == 0 {
                            prop_assert_eq!(answer, Ok(0));
                        } else {
                            let expected = model.read(input_at, len, (len, 0));
                            prop_assert_eq!(answer.map(|_| bytes), expected.clone());
                            input_at += expected.map_or(0, |_| len as u64);
                        }
                    }
                    Input::Skip(count) => {
                        prop_assert_eq!(input.skip(count), count.min(available));
                        input_at += count.min(available);
                    }
                    Input::Mark => {
                        input.mark();
                        mark = input_at;
                    }
                    Input::Reset => {
                        input.reset();
                        input_at = mark;
                    }
                    Input::Seek(to) => {
                        input.seek(SeekFrom::Start(to)).expect("any place will do");
                        input_at = to;
                    }
                }
                prop_assert_eq!(input.position(), input_at);
            }
            Operation::Output { len, value } => {
                let answer = output.write(&vec![value; len]).map_err(stream_failure);
                let expected = model.write(output_at, len, (len, 0), value).map(|()| len);
                prop_assert_eq!(answer, expected);
                output_at += expected.map_or(0, |len| len as u64);
                prop_assert_eq!(output.position(), output_at);
            }
            Operation::SeekOutput(to) => {
                output.seek(SeekFrom::Start(to)).expect("any place will do");
                output_at = to;
            }
            Operation::AllowPurging(allow) => {
                let answer = file.allow_purging(allow).map_err(|error| failure(&error));
                prop_assert_eq!(answer, model.allow(allow));
            }
            Operation::Purge => {
                prop_assert_eq!(peer.purge().expect("purged"), model.purge(0) * page);
            }
            Operation::PurgeRest => {
                // The pin of another holder keeps the first page, and would hear of it if that was gone already.
                if model.allowed && !model.gone[0] {
                    let _ = peer.pin(..page.min(length)).expect("pinned");
                    prop_assert_eq!(peer.purge().expect("purged"), model.purge(1) * page);
                    peer.unpin(..page.min(length)).expect("unpinned");
                    peer_watched = true;
                }
            }
            Operation::PurgeAll => {
                // It knows a region from its first unpin until its last handle is dropped.
                let pages = if model.open || peer_watched { model.purge(0) } else { 0 };
                prop_assert_eq!(reclaimer.purge_all().pages, pages);
            }
            Operation::Deactivate => {
                file.deactivate();
                model.active = false;
            }
            Operation::Close => {
                file.close();
                (model.active, model.open) = (false, false);
            }
        }
        prop_assert_eq!(file.is_deactivated(), !model.active);
        prop_assert_eq!(file.fd().is_some(), model.open);
        prop_assert_eq!(file.is_purging_allowed(), model.allowed);
        let stats = peer.stats().expect("stats");
        let gone = model.gone.iter().filter(|gone| **gone).count() as u64;
        prop_assert_eq!(stats.purged_pages, gone);
        prop_assert_eq!(stats.pinned_pages, if model.allowed { 0 } else { model.gone.len() as u64 });
    }
    // What the model thinks is there is there; what a purge has left goes with the next write.
    if !model.is_purged() {
        let contents = peer.map().expect("mapped").read_vec(0, length).expect("inside");
        prop_assert!(contents == model.contents, "another holder sees something else");
    }
    Ok(())
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![1..10u64, 1..4 * page_size(), Just(2 * page_size())]
}

proptest! {
    // Failing cases are printed; they are not kept beside the test.
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_the_model_says(
        (length, operations) in length().prop_flat_map(|length| {
            (Just(length), prop::collection::vec(operation(length), 1..80))
        }),
    ) {
        check(length, operations)?;
    }
}

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
