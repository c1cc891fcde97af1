//! Random sequences of operations on both ends, against a queue.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::{PREFIX, Ring, framed};
use crate::{Error, page_size};

#[derive(Clone, Debug)]
enum Operation {
    Put(u64),
    Take(u64),
    /// In place, and then committed or not.
    PutInPlace(u64, bool),
    TakeInPlace(u64, bool),
    WaitToPut(u64),
    WaitToTake,
    /// An end is dropped and claimed again.
    NewProducer,
    NewConsumer,
}

fn len() -> impl Strategy<Value = u64> {
    let capacity = page_size();
    prop_oneof![3 => 0..64u64, 3 => 0..capacity, 1 => capacity - 20..capacity + 20]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => len().prop_map(Operation::Put),
        6 => len().prop_map(Operation::Take),
        3 => (len(), any::<bool>()).prop_map(|(len, commit)| Operation::PutInPlace(len, commit)),
        3 => (len(), any::<bool>()).prop_map(|(len, commit)| Operation::TakeInPlace(len, commit)),
        1 => len().prop_map(Operation::WaitToPut),
        1 => Just(Operation::WaitToTake),
        1 => Just(Operation::NewProducer),
        1 => Just(Operation::NewConsumer),
    ]
}

/// Bytes that are different from those before.
fn bytes(len: u64, seed: &mut u64) -> Vec<u8> {
    (0..len)
        .map(|_| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*seed >> 56) as u8
        })
        .collect()
}

fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::MessageTooLong { .. })
}

const NO_TIME: Option<Duration> = Some(Duration::from_nanos(1));

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_a_queue(operations in prop::collection::vec(operation(), 1..80), start: u64) {
        let ring = Ring::create("model", 1).unwrap();
        let capacity = ring.capacity();
        ring.start_at(start);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut queue: VecDeque<u8> = VecDeque::new();
        let (mut seed, mut put, mut taken) = (1, start, start);
        for operation in operations {
            let (used, room) = (queue.len() as u64, capacity - queue.len() as u64);
            match operation {
                Operation::Put(len) => {
                    let new = bytes(len, &mut seed);
                    let done = producer.try_write(&new).unwrap();
                    prop_assert_eq!(done as u64, len.min(room));
                    queue.extend(&new[..done]);
                    put = put.wrapping_add(done as u64);
                }
                Operation::PutInPlace(len, commit) => match producer.reserve_bytes(len).unwrap() {
                    None => prop_assert!(len == 0 || room == 0),
                    Some(reservation) => {
                        let len = reservation.window().len();
                        let new = bytes(len, &mut seed);
                        let half = len / 2;
                        reservation.write_at(half, &new[half as usize..]).unwrap();
                        reservation.write_at(0, &new[..half as usize]).unwrap();
                        prop_assert!(reservation.write_at(half, &new).is_err() || half == 0);
                        if commit {
                            reservation.commit().unwrap();
                            queue.extend(&new);
                            put = put.wrapping_add(len);
                        }
                    }
                },
                Operation::Take(len) => {
                    let mut read = vec![0; len as usize];
                    let done = consumer.try_read(&mut read).unwrap();
                    prop_assert_eq!(done as u64, len.min(used));
                    prop_assert!(queue.drain(..done).eq(read[..done].iter().copied()));
                    taken = taken.wrapping_add(done as u64);
                }
                Operation::TakeInPlace(len, consume) => match consumer.peek_bytes(len).unwrap() {
                    None => prop_assert!(len == 0 || used == 0),
                    Some(message) => {
                        let len = message.window().len();
                        let seen: Vec<u8> =
                            message.window().views().flat_map(|view| view.read_vec(0, view.len()).unwrap()).collect();
                        prop_assert!(queue.iter().take(len as usize).eq(&seen));
                        if consume {
                            message.consume().unwrap();
                            queue.drain(..len as usize);
                            taken = taken.wrapping_add(len);
                        }
                    }
                },
                Operation::WaitToPut(len) => match producer.wait_for_room(len, NO_TIME) {
                    Ok(ready) => prop_assert_eq!(ready, len <= room),
                    Err(error) => prop_assert!(is_too_long(&error) && len > capacity),
                },
                Operation::WaitToTake => prop_assert_eq!(consumer.wait(NO_TIME).unwrap(), used > 0),
                Operation::NewProducer => {
                    drop(producer);
                    producer = ring.producer().unwrap();
                }
                Operation::NewConsumer => {
                    drop(consumer);
                    consumer = ring.consumer().unwrap();
                }
            }
            prop_assert_eq!(producer.room().unwrap(), capacity - queue.len() as u64);
            prop_assert_eq!(consumer.available().unwrap(), queue.len() as u64);
            prop_assert_eq!((producer.position(), consumer.position()), (put, taken));
        }
    }

    #[test]
    fn messages_are_a_queue(operations in prop::collection::vec(operation(), 1..80), start: u64) {
        let ring = Ring::create("model", 1).unwrap();
        let capacity = ring.capacity();
        ring.start_at(start & !7);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
        let (mut seed, mut message) = (1, Vec::new());
        for operation in operations {
            let used: u64 = queue.iter().map(|message| framed(message.len() as u64).unwrap()).sum();
            prop_assert_eq!(consumer.available().unwrap(), used);
            let room = capacity - used;
            let too_long = |len| len > capacity - PREFIX;
            match operation {
                Operation::Put(len) => {
                    let new = bytes(len, &mut seed);
                    match producer.try_send(&new) {
                        Ok(true) => queue.push_back(new),
                        Ok(false) => prop_assert!(framed(len).unwrap() > room && !too_long(len)),
                        Err(error) => {
                            prop_assert!(is_too_long(&error) && too_long(len));
                        }
                    }
                }
                Operation::WaitToPut(len) if !too_long(len) => {
                    let new = bytes(len, &mut seed);
                    if producer.send_within(&new, NO_TIME).unwrap() {
                        queue.push_back(new);
                    } else {
                        prop_assert!(framed(len).unwrap() > room);
                    }
                }
                Operation::PutInPlace(len, commit) if !too_long(len) => match producer.reserve(len).unwrap() {
                    None => prop_assert!(framed(len).unwrap() > room),
                    Some(reservation) => {
                        let new = bytes(len, &mut seed);
                        reservation.write_at(0, &new).unwrap();
                        if commit {
                            reservation.commit().unwrap();
                            queue.push_back(new);
                        }
                    }
                },
                Operation::WaitToPut(_) | Operation::PutInPlace(..) => {}
                Operation::Take(_) => {
                    let received = consumer.try_receive(&mut message).unwrap();
                    prop_assert_eq!(received.then(|| message.clone()), queue.pop_front());
                }
                Operation::WaitToTake => {
                    let received = consumer.receive_within(&mut message, NO_TIME).unwrap();
                    prop_assert_eq!(received.then(|| message.clone()), queue.pop_front());
                }
                Operation::TakeInPlace(_, consume) => match consumer.peek().unwrap() {
                    None => prop_assert!(queue.is_empty()),
                    Some(found) => {
                        let mut seen = vec![0; found.window().len() as usize];
                        found.window().read_at(0, &mut seen).unwrap();
                        prop_assert_eq!(Some(&seen), queue.front());
                        if consume {
                            found.consume().unwrap();
                            queue.pop_front();
                        }
                    }
                },
                Operation::NewProducer => {
                    drop(producer);
                    producer = ring.producer().unwrap();
                }
                Operation::NewConsumer => {
                    drop(consumer);
                    consumer = ring.consumer().unwrap();
                }
            }
        }
    }
}
