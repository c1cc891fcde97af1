//! Memory files: random operations against a naive model.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{self, Read, Seek, SeekFrom, Write};

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
