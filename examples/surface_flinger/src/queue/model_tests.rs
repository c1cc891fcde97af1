//! Random operations of both sides against a naive queue.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::SLOTS;
use super::consumer::Consumer;
use super::control::Layout;
use super::producer::{Dequeued, Producer};
use crate::rect::{Damage, Rect, Size};

const SIZE: Size = Size { width: 8, height: 4 };

/// Both sides of a queue over one region.
pub(super) fn pair() -> (Producer, Consumer, ashmem::Region) {
    let (consumer, region) = Consumer::create(SIZE).unwrap();
    let producer = Producer::new(region.map().unwrap(), Layout::new(SIZE));
    (producer, consumer, region)
}

#[derive(Clone, Debug)]
enum Operation {
    Dequeue,
    Cancel(Index),
    Queue(Index, u16),
    /// Signals the fence of one of the frames that were queued without.
    Signal(Index),
    Latch,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => Just(Operation::Dequeue),
        1 => any::<Index>().prop_map(Operation::Cancel),
        3 => any::<(Index, u16)>().prop_map(|(index, seed)| Operation::Queue(index, seed)),
        3 => any::<Index>().prop_map(Operation::Signal),
        3 => Just(Operation::Latch),
    ]
}

/// What a frame looks like, and what it says it changes.
struct Frame {
    number: u64,
    pixel: u32,
    damage: Damage,
    slot: usize,
    is_complete: bool,
}

fn damage(seed: u16) -> Damage {
    let edges = [seed & 7, seed >> 3 & 3, seed >> 5 & 7, seed >> 8 & 3].map(i32::from);
    Damage::from_iter([Rect::new(edges[0], edges[1], edges[2] + 1, edges[3] + 1)])
}

proptest! {
    #[test]
    fn it_is_a_queue_of_three_buffers(operations in prop::collection::vec(operation(), 0..120)) {
        let (mut producer, mut consumer, _region) = pair();
        let mut dequeued: Vec<Dequeued> = Vec::new();
        let mut queued: VecDeque<Frame> = VecDeque::new();
        let mut shown: Option<Frame> = None;
        for operation in operations {
            match operation {
                Operation::Dequeue => {
                    let free = SLOTS - dequeued.len() - queued.len() - usize::from(shown.is_some());
                    let got = producer.try_dequeue().unwrap();
                    prop_assert_eq!(got.is_some(), free > 0);
                    dequeued.extend(got);
                }
                Operation::Cancel(index) if !dequeued.is_empty() => {
                    let one = dequeued.swap_remove(index.index(dequeued.len()));
                    producer.cancel(one).unwrap();
                    prop_assert_eq!(producer.contents(one.slot), 0);
                }
                Operation::Queue(index, seed) if !dequeued.is_empty() => {
                    let one = dequeued.swap_remove(index.index(dequeued.len()));
                    let damage = damage(seed);
                    let number = producer.queue(one, &damage).unwrap();
                    let (pixel, slot) = (number as u32 * 77, one.slot);
                    queued.push_back(Frame { number, pixel, damage, slot, is_complete: false });
                }
                Operation::Signal(index) if !queued.is_empty() => {
                    let at = index.index(queued.len());
                    let frame = &mut queued[at];
                    if !frame.is_complete {
                        for y in 0..SIZE.height {
                            producer.write_row(frame.slot, 0, y, &[frame.pixel; 8]).unwrap();
                        }
                        producer.signal(frame.slot, frame.number).unwrap();
                        frame.is_complete = true;
                    }
                }
                Operation::Latch => {
                    let latched = consumer.latch().unwrap();
                    match queued.front() {
                        Some(frame) if frame.is_complete => {
                            prop_assert_eq!(latched, Some(frame.damage.clone()));
                            shown = queued.pop_front();
                        }
                        _ => prop_assert_eq!(latched, None),
                    }
                }
                _ => {}
            }
            prop_assert_eq!(consumer.shown().map(|s| (s.slot, s.frame)), shown.as_ref().map(|f| (f.slot, f.number)));
            if let (Some(at), Some(frame)) = (consumer.shown(), &shown) {
                let mut row = [0; 8];
                consumer.read_row(at, 0, SIZE.height - 1, &mut row).unwrap();
                prop_assert_eq!(row, [frame.pixel; 8]);
            }
        }
    }
}

#[test]
fn a_sleeping_producer_is_woken_by_a_release() {
    let (mut producer, mut consumer, _region) = pair();
    for _ in 0..SLOTS {
        let one = producer.try_dequeue().unwrap().unwrap();
        let frame = producer.queue(one, &Damage::none()).unwrap();
        producer.signal(one.slot, frame).unwrap();
    }
    let timed_out = producer.dequeue(Duration::ZERO, || false);
    assert!(matches!(timed_out, Err(crate::Error::TimedOut { .. })));
    assert!(matches!(producer.dequeue(Duration::MAX, || true), Err(crate::Error::CompositorGone)));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| producer.dequeue(Duration::MAX, || false).unwrap());
        consumer.latch().unwrap().unwrap();
        consumer.latch().unwrap().unwrap();
        waits.join().unwrap();
    });
    drop(consumer);
    assert!(matches!(producer.try_dequeue(), Err(crate::Error::WindowClosed)));
}

#[test]
fn many_rectangles_become_one_around_all() {
    let (mut producer, mut consumer, _region) = pair();
    let corners = [(0, 0), (7, 0), (0, 3), (7, 3), (3, 1)];
    let damage: Damage = corners.iter().map(|(x, y)| Rect::new(*x, *y, x + 1, y + 1)).collect();
    assert_eq!(damage.rects().len(), 5);
    let one = producer.try_dequeue().unwrap().unwrap();
    let frame = producer.queue(one, &damage).unwrap();
    producer.signal(one.slot, frame).unwrap();
    assert_eq!(consumer.latch().unwrap(), Some(Damage::from_iter([Rect::of_size(SIZE)])));
}
