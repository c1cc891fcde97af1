//! Random programs on a lane against a queue; and rubbish in its words.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::{CONTROL, Head, Lane, Reader, Writer};
use crate::Level;
use crate::sync::Ordering;

const WORDS: usize = 64;

struct Memory {
    control: Vec<AtomicU64>,
    data: Vec<AtomicU64>,
}

impl Memory {
    fn new() -> Memory {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Memory { control: zeros(CONTROL), data: zeros(WORDS) }
    }

    fn lane(&self) -> Lane<'_> {
        Lane::new(&self.control, &self.data).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    /// Thread exits, and another takes the lane.
    HandOver,
    Take(usize),
    Release,
    /// The collector is killed; the next one may know what is safe.
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let step = prop_oneof![
        4 => (bytes(20), bytes(200)).prop_map(|(tag, message)| Step::Put(tag, message)),
        1 => Just(Step::HandOver),
        4 => (1..4_usize).prop_map(Step::Take),
        2 => Just(Step::Release),
        1 => any::<bool>().prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..200)
}

type Record = (u64, Vec<u8>, Vec<u8>);

proptest! {
    #[test]
    fn a_lane_is_a_queue(start: u64, steps in steps()) {
        let memory = Memory::new();
        let lane = memory.lane();
        // Positions may be anything, and wrap.
        memory.control[super::WRITE].store(start, Ordering::Relaxed);
        memory.control[super::READ].store(start, Ordering::Relaxed);
        let mut writer = Writer::new(&lane).unwrap();
        let mut reader = Reader::new(lane, None).unwrap();
        let mut waiting: VecDeque<Record> = VecDeque::new();
        let mut taken: VecDeque<Record> = VecDeque::new();
        let (mut time, mut used) = (0, 0);
        let words = |(time, tag, message): &Record| Head::new(*time, 7, Level::Warn, tag.len(), message.len()).unwrap().words();
        for step in steps {
            match step {
                Step::Put(tag, message) => {
                    let head = Head::new(time, 7, Level::Warn, tag.len(), message.len()).unwrap();
                    writer.look(&lane).unwrap();
                    prop_assert_eq!(writer.used(), used as u64);
                    prop_assert_eq!(writer.has_room(&lane, head.words()), used + head.words() <= WORDS);
                    if used + head.words() <= WORDS {
                        writer.put(&lane, head, &tag, &message);
                        used += head.words();
                        waiting.push_back((time, tag, message));
                        time += 1;
                    }
                }
                Step::HandOver => writer = Writer::new(&lane).unwrap(),
                Step::Take(count) => {
                    reader.look(lane).unwrap();
                    for _ in 0..count {
                        let mut bytes = vec![1, 2, 3];
                        let head = reader.head(lane).unwrap();
                        let expected = waiting.pop_front();
                        prop_assert_eq!(head.is_some(), expected.is_some());
                        if let (Some(head), Some(expected)) = (head, expected) {
                            reader.take(lane, head, &mut bytes);
                            prop_assert_eq!(head.time(), expected.0);
                            prop_assert_eq!(&bytes[3..], &[&expected.1[..], &expected.2[..]].concat()[..]);
                            taken.push_back(expected);
                        }
                    }
                }
                Step::Release => {
                    reader.release(lane);
                    used -= taken.drain(..).map(|record| words(&record)).sum::<usize>();
                }
                Step::Restart(is_safe) => {
                    reader = Reader::new(lane, is_safe.then_some(reader.position())).unwrap();
                    if is_safe {
                        used -= taken.drain(..).map(|record| words(&record)).sum::<usize>();
                    } else {
                        while let Some(record) = taken.pop_back() {
                            waiting.push_front(record);
                        }
                    }
                }
            }
            prop_assert_eq!(lane.is_empty(), used == 0);
        }
    }

    #[test]
    fn rubbish_is_an_error_or_records_that_end(
        words in proptest::collection::vec((0..CONTROL + WORDS, prop_oneof![any::<u64>(), 0..200_u64]), 1..60),
        safe: Option<u64>,
    ) {
        let memory = Memory::new();
        let lane = memory.lane();
        let mut reader = Reader::new(lane, None).unwrap();
        let mut writer = Writer::new(&lane).unwrap();
        for (index, word) in words {
            let place = if index < CONTROL { &memory.control[index] } else { &memory.data[index - CONTROL] };
            place.store(word, Ordering::Relaxed);
            if reader.look(lane).is_ok() {
                let mut bytes = Vec::new();
                let mut count = 0;
                while let Ok(Some(head)) = reader.head(lane) {
                    reader.take(lane, head, &mut bytes);
                    count += 1;
                }
                prop_assert!(count <= WORDS && bytes.len() <= 8 * WORDS);
                reader.release(lane);
            }
            let head = Head::new(word, 1, Level::Debug, 3, 5).unwrap();
            if writer.look(&lane).is_ok() && writer.has_room(&lane, head.words()) {
                writer.put(&lane, head, b"tag", b"text!");
            }
            let _ = Reader::new(lane, safe);
            let _ = Writer::new(&lane);
        }
    }
}
