//! A hostile peer of a ring: header words and data as it likes, before it is opened and again between any two operations.
//!
//! Every operation must return, soon, with an answer or a typed error; and nothing longer than the ring comes out of it.
#![no_main]

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ashmem::ring::{Consumer, Producer, Ring};
use ashmem::{Error, Mapping, Region, page_size};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// How long one operation may take.
const SOON: Duration = Duration::from_secs(5);

/// How long an operation waits; and the most operations of one input, as each may wait.
const WAIT: Option<Duration> = Some(Duration::from_micros(20));
const MOST_STEPS: usize = 64;

/// The words of the header that mean something: positions, what is waited for, bells, claims, and the mark.
const PLACES: [u64; 9] = [0, 16, 17, 18, 32, 33, 34, 48, 49];

#[derive(Arbitrary, Debug)]
struct Input {
    contents: Vec<Forged>,
    /// Whether the ring keeps its mark at first.
    marked: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Forged {
    place: Place,
    value: Value,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Header(u8),
    /// Where the next length is read.
    NextPrefix,
    Data(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Small(u16),
    FromTheTop(u16),
    /// Beside what is in a word of the header.
    Near(u8, i16),
    Any(u64),
}

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    TryWrite(u16),
    TryRead(u16),
    WriteWithin(u16),
    ReadWithin(u16),
    TrySend(u16),
    TryReceive,
    SendWithin(u16),
    ReceiveWithin,
    Reserve(u64, bool),
    ReserveBytes(u64, bool),
    Peek(bool),
    PeekBytes(u64, bool),
    WaitForRoom(u64),
    /// Ends are dropped and claimed again.
    NewProducer,
    NewConsumer,
    /// What the peer does.
    Forge(Vec<Forged>),
}

struct Peer {
    mapping: Mapping,
    capacity: u64,
}

impl Peer {
    fn forge(&self, contents: &[Forged]) {
        let word = |place: u64| self.mapping.atomic_u64(place * 8).expect("inside");
        let data = page_size() / 8;
        let words = self.capacity / 8;
        for forged in contents {
            let place = match forged.place {
                Place::Header(index) => PLACES[usize::from(index) % PLACES.len()],
                Place::NextPrefix => data + word(PLACES[4]).load(Ordering::SeqCst) / 8 % words,
                Place::Data(place) => data + u64::from(place) % words,
            };
            let value = match forged.value {
                Value::Small(value) => value.into(),
                Value::FromTheTop(below) => u64::MAX - u64::from(below),
                Value::Near(index, by) => {
                    let near = PLACES[usize::from(index) % PLACES.len()];
                    word(near).load(Ordering::SeqCst).wrapping_add_signed(by.into())
                }
                Value::Any(value) => value,
            };
            word(place).store(value, Ordering::SeqCst);
        }
    }
}

struct Victim {
    ring: Ring,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    buffer: Vec<u8>,
}

impl Victim {
    fn step(&mut self, step: &Step, peer: &Peer) -> Result<(), Error> {
        let capacity = self.ring.capacity();
        let buffer = &mut self.buffer;
        match (step, &mut self.producer, &mut self.consumer) {
            (Step::TryWrite(len), Some(producer), _) => {
                buffer.resize((*len).into(), 1);
                assert!(producer.try_write(buffer)? <= buffer.len());
            }
            (Step::WriteWithin(len), Some(producer), _) => {
                buffer.resize((*len).into(), 2);
                assert!(producer.write_within(buffer, WAIT)? <= buffer.len());
            }
            (Step::TrySend(len), Some(producer), _) => {
                buffer.resize((*len).into(), 3);
                producer.try_send(buffer)?;
            }
            (Step::SendWithin(len), Some(producer), _) => {
                buffer.resize((*len).into(), 4);
                producer.send_within(buffer, WAIT)?;
            }
            (Step::Reserve(len, commit), Some(producer), _) => {
                if let Some(reservation) = producer.reserve(*len)? {
                    assert!(reservation.window().len() == *len && *len < capacity);
                    reservation.window().views().try_for_each(|view| view.fill(0, view.len(), 5))?;
                    assert!(reservation.write_at(*len, &[1]).is_err());
                    if *commit {
                        reservation.commit()?;
                    }
                }
            }
            (Step::ReserveBytes(most, commit), Some(producer), _) => {
                if let Some(reservation) = producer.reserve_bytes(*most)? {
                    assert!(reservation.window().len() <= capacity.min(*most));
                    reservation.write_at(0, &[6])?;
                    if *commit {
                        reservation.commit()?;
                    }
                }
            }
            (Step::WaitForRoom(len), Some(producer), _) => {
                if producer.wait_for_room(*len, WAIT)? {
                    assert!(*len <= capacity);
                }
            }
            (Step::TryRead(len), _, Some(consumer)) => {
                buffer.resize((*len).into(), 0);
                assert!(consumer.try_read(buffer)? <= buffer.len());
            }
            (Step::ReadWithin(len), _, Some(consumer)) => {
                buffer.resize((*len).into(), 0);
                assert!(consumer.read_within(buffer, WAIT)? <= buffer.len());
            }
            (Step::TryReceive, _, Some(consumer)) => {
                if consumer.try_receive(buffer)? {
                    assert!((buffer.len() as u64) < capacity);
                }
            }
            (Step::ReceiveWithin, _, Some(consumer)) => {
                if consumer.receive_within(buffer, WAIT)? {
                    assert!((buffer.len() as u64) < capacity);
                }
            }
            (Step::Peek(consume), _, Some(consumer)) => {
                if let Some(message) = consumer.peek()? {
                    let window = message.window();
                    assert!(window.len() < capacity);
                    let seen: u64 = window.views().map(|view| view.len()).sum();
                    assert_eq!(seen, window.len());
                    window.views().try_for_each(|view| view.read_vec(0, view.len()).map(drop))?;
                    if *consume {
                        message.consume()?;
                    }
                }
            }
            (Step::PeekBytes(most, consume), _, Some(consumer)) => {
                if let Some(bytes) = consumer.peek_bytes(*most)? {
                    assert!(bytes.window().len() <= capacity.min(*most));
                    if *consume {
                        bytes.consume()?;
                    }
                }
            }
            (Step::NewProducer, ..) => {
                self.producer = None;
                self.producer = Some(self.ring.producer()?);
            }
            (Step::NewConsumer, ..) => {
                self.consumer = None;
                self.consumer = Some(self.ring.consumer()?);
            }
            (Step::Forge(contents), ..) => peer.forge(contents),
            // The end could not be claimed.
            _ => {}
        }
        Ok(())
    }
}

fuzz_target!(|input: Input| {
    let made = Ring::create("hostile", page_size()).expect("a ring");
    let duplicate = || made.as_fd().try_clone_to_owned().expect("a duplicate");
    let mapping = Region::from_fd(duplicate()).expect("a region").map().expect("mapped");
    let peer = Peer { mapping, capacity: made.capacity() };
    let mark = peer.mapping.load_u64(0).expect("inside");
    peer.forge(&input.contents);
    if input.marked {
        peer.mapping.atomic_u64(0).expect("inside").store(mark, Ordering::SeqCst);
    }
    let Ok(ring) = Ring::from_fd(duplicate()) else {
        assert!(!input.marked, "a ring that is one is refused");
        return;
    };
    let mut victim =
        Victim { producer: ring.producer().ok(), consumer: ring.consumer().ok(), ring, buffer: Vec::new() };
    for step in input.steps.iter().take(MOST_STEPS) {
        let start = Instant::now();
        let answer = victim.step(step, &peer);
        let taken = start.elapsed();
        assert!(taken < SOON, "{step:?} took {taken:?}");
        match answer {
            Ok(())
            | Err(Error::RingCorrupt { .. } | Error::RingPeerGone { .. } | Error::MessageTooLong { .. }) => {}
            Err(error) => panic!("an error that the documentation does not name: {error}"),
        }
    }
});
