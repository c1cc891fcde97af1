//! The slots under every interleaving that matters, by loom.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64 as Plain;
use loom::thread;

use super::SLOTS;
use super::slots::Slots;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

struct Queue {
    words: [AtomicU64; SLOTS],
    fences: [AtomicU32; SLOTS],
    /// A pixel of each buffer, accessed in no order of its own.
    pixels: [Plain; SLOTS],
}

impl Queue {
    fn new() -> Arc<Queue> {
        Arc::new(Queue {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            fences: std::array::from_fn(|_| AtomicU32::new(0)),
            pixels: std::array::from_fn(|_| Plain::new(0)),
        })
    }

    fn slots(&self) -> Slots<'_> {
        Slots { words: self.words.each_ref(), fences: self.fences.each_ref() }
    }

    /// Draws a frame, before or after it is queued. False if there is no free buffer.
    fn draw(&self, frame: u64, is_early: bool) -> bool {
        let slots = self.slots();
        let Some((slot, was)) = slots.dequeue().expect("honest") else { return false };
        if is_early {
            slots.queue(slot, was, frame).expect("honest");
        }
        self.pixels[slot].store(frame, Ordering::Relaxed);
        if !is_early {
            slots.queue(slot, was, frame).expect("honest");
        }
        slots.signal(slot, frame);
        true
    }

    /// Shows the next frame, if it is there, and releases the one before.
    fn show(&self, shown: &mut Option<(usize, u64)>) {
        let slots = self.slots();
        let frame = shown.map_or(0, |(_, frame)| frame) + 1;
        if let Some(slot) = slots.acquire(frame).expect("honest") {
            assert_eq!(self.pixels[slot].load(Ordering::Relaxed), frame, "old pixels, or new ones too early");
            if let Some((slot, frame)) = shown.replace((slot, frame)) {
                slots.release(slot, frame).expect("honest");
            }
        }
        if let Some((slot, frame)) = *shown {
            assert_eq!(self.pixels[slot].load(Ordering::Relaxed), frame, "drawn over while it is shown");
        }
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// Frames are shown whole and in order, and nothing is taken for corrupt, whoever is faster.
#[test]
fn frames_are_shown_whole_and_in_order() {
    for is_early in [false, true] {
        check(move || {
            let queue = Queue::new();
            let draws = thread::spawn({
                let queue = queue.clone();
                move || {
                    let mut frame = 1;
                    for _ in 0..4 {
                        frame += u64::from(queue.draw(frame, is_early));
                    }
                }
            });
            let mut shown = None;
            for _ in 0..3 {
                queue.show(&mut shown);
            }
            draws.join().expect("no panic");
            queue.show(&mut shown);
            assert!(shown.is_some());
        });
    }
}
