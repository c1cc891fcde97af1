//! Records from one process to another, in shared words.
//!
//! A queue has a **tail**, the number of records that were pushed, and eight places. The sender alone writes; the receiver keeps to
//! itself how many it has taken. That needs no word for the head, since each record gives away a buffer, and there are no more buffers
//! than places: who pushes into a place again has got a buffer back that was given away by the record before, or by an earlier one, so
//! that record was taken.
//!
//! A sender that breaks this rule, or writes what it likes, confuses nobody but its receiver's idea of the stream: a tail further ahead
//! than there are places is an error, and a record is checked by who knows what it means.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

/// Places, a power of two, as the tail wraps.
pub const CAPACITY: usize = 8;
/// Words of a record.
pub const RECORD: usize = 8;
/// The tail has a cache line.
const FIRST: usize = 16;
/// Words of a queue.
pub const WORDS: usize = FIRST + CAPACITY * RECORD;

/// The other side's tail says that more was pushed than there are places.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The sending end.
#[derive(Debug, Default)]
pub struct Sender {
    tail: u32,
}

impl Sender {
    /// Appends a record to the queue of these [`WORDS`] words.
    pub fn push(&mut self, words: &[AtomicU32], record: [u32; RECORD]) {
        for (word, value) in place(words, self.tail).iter().zip(record) {
            word.store(value, Ordering::Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        // Who sees the tail sees the record, and what was written to the buffer before.
        words[0].store(self.tail, Ordering::Release);
    }
}

/// The receiving end.
#[derive(Debug, Default)]
pub struct Receiver {
    head: u32,
}

impl Receiver {
    /// Takes the next record of the queue of these [`WORDS`] words.
    pub fn pop(&mut self, words: &[AtomicU32]) -> Result<Option<[u32; RECORD]>, Corrupt> {
        let waiting = words[0].load(Ordering::Acquire).wrapping_sub(self.head);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting as usize > CAPACITY {
            return Err(Corrupt);
        }
        let mut record = [0; RECORD];
        for (value, word) in record.iter_mut().zip(place(words, self.head)) {
            *value = word.load(Ordering::Relaxed);
        }
        self.head = self.head.wrapping_add(1);
        Ok(Some(record))
    }

    /// Whether there is a next record, or what makes no sense.
    pub fn is_waiting(&self, words: &[AtomicU32]) -> bool {
        words[0].load(Ordering::Acquire) != self.head
    }
}

fn place(words: &[AtomicU32], position: u32) -> &[AtomicU32] {
    let start = FIRST + position as usize % CAPACITY * RECORD;
    &words[start..start + RECORD]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn words() -> Vec<AtomicU32> {
        (0..WORDS).map(|_| AtomicU32::new(0)).collect()
    }

    proptest! {
        #[test]
        fn records_come_in_order(steps in proptest::collection::vec(any::<bool>(), 0..200), start in any::<u32>()) {
            let words = words();
            words[0].store(start, Ordering::Relaxed);
            let (mut sender, mut receiver) = (Sender { tail: start }, Receiver { head: start });
            let mut model = VecDeque::new();
            for (number, push) in steps.into_iter().enumerate() {
                if push && model.len() < CAPACITY {
                    let record = [number as u32; RECORD];
                    sender.push(&words, record);
                    model.push_back(record);
                } else {
                    prop_assert_eq!(receiver.is_waiting(&words), !model.is_empty());
                    prop_assert_eq!(receiver.pop(&words), Ok(model.pop_front()));
                }
            }
        }

        #[test]
        fn a_hostile_tail_is_an_error_or_records(tails in proptest::collection::vec(any::<u32>(), 0..50)) {
            let words = words();
            let mut receiver = Receiver::default();
            for tail in tails {
                words[0].store(tail, Ordering::Relaxed);
                let mut taken = 0;
                while let Ok(Some(_)) = receiver.pop(&words) {
                    taken += 1;
                }
                prop_assert!(taken <= CAPACITY);
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;

    /// Two buffers go round: each record must arrive as it was sent, and with what its buffer held.
    #[test]
    fn buffers_go_round() {
        loom::model(|| {
            let words = || Arc::new((0..WORDS).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
            let (filled, empty) = (words(), words());
            let buffer = Arc::new(AtomicU32::new(0));
            let thread = {
                let (filled, empty, buffer) = (filled.clone(), empty.clone(), buffer.clone());
                loom::thread::spawn(move || {
                    let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
                    for round in 1..=2 {
                        buffer.store(round, Ordering::Relaxed);
                        sender.push(&filled, [round; RECORD]);
                        while receiver.pop(&empty).expect("no peer is hostile").is_none() {
                            loom::thread::yield_now();
                        }
                    }
                })
            };
            let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
            for round in 1..=2 {
                let record = loop {
                    match receiver.pop(&filled).expect("no peer is hostile") {
                        Some(record) => break record,
                        None => loom::thread::yield_now(),
                    }
                };
                assert_eq!(record, [round; RECORD]);
                assert_eq!(buffer.load(Ordering::Relaxed), round);
                sender.push(&empty, record);
            }
            thread.join().expect("no panic");
        });
    }
}
