//! A peer that writes what it likes into the control block.

use std::time::Duration;

use proptest::prelude::*;

use super::model_tests::pair;
use crate::Error;
use crate::rect::{Damage, Rect};

#[derive(Clone, Debug)]
enum Step {
    /// A word somewhere in the control block; small values are more likely to mean something.
    Write(u64, u64),
    Draw,
    Latch,
}

fn step() -> impl Strategy<Value = Step> {
    let value =
        prop_oneof![any::<u64>(), 0..64u64, Just(u64::MAX), (0..8u64).prop_map(|frame| frame << 2 | 2)];
    prop_oneof![
        2 => (0..96u64, value.clone()).prop_map(|(word, value)| Step::Write(word * 8, value)),
        2 => (32..80u64, value).prop_map(|(word, value)| Step::Write(word / 16 * 128, value)),
        3 => Just(Step::Draw),
        3 => Just(Step::Latch),
    ]
}

proptest! {
    #[test]
    fn each_side_answers_or_says_what_is_wrong(steps in prop::collection::vec(step(), 0..60)) {
        let (mut producer, mut consumer, region) = pair();
        let (_, mut other, _other_region) = pair();
        let words = region.map().unwrap();
        let bounds = Rect::new(0, 0, 8, 4);
        let is_known = |error: &Error| matches!(error, Error::QueueCorrupt { .. } | Error::WindowClosed);
        for step in steps {
            match step {
                Step::Write(offset, value) => {
                    words.atomic_u64(offset).unwrap().store(value, std::sync::atomic::Ordering::SeqCst);
                }
                Step::Draw => {
                    let drawn = producer.try_dequeue().and_then(|one| {
                        let Some(one) = one else { return Ok(()) };
                        producer.write_row(one.slot, 0, 0, &[7; 8])?;
                        let frame = producer.queue(one, &Damage::from_iter([bounds]))?;
                        producer.signal(one.slot, frame)
                    });
                    prop_assert!(drawn.as_ref().err().is_none_or(is_known), "{drawn:?}");
                    let waited = producer.dequeue(Duration::ZERO, || false);
                    let is_fine = |error: &Error| is_known(error) || matches!(error, Error::TimedOut { .. });
                    prop_assert!(waited.as_ref().err().is_none_or(is_fine), "{waited:?}");
                    if let Ok(one) = waited {
                        // It may have been changed meanwhile by nobody: words are written between steps.
                        producer.cancel(one).unwrap();
                    }
                }
                Step::Latch => {
                    match consumer.latch() {
                        Ok(damage) => {
                            for rect in damage.iter().flat_map(Damage::rects) {
                                prop_assert_eq!(rect.intersection(bounds), *rect);
                            }
                        }
                        Err(error) => prop_assert!(is_known(&error), "{error}"),
                    }
                    if let Some(shown) = consumer.shown() {
                        consumer.read_row(shown, 0, 3, &mut [0; 8]).unwrap();
                    }
                    // Returns at once: somebody rang, or the time is over.
                    consumer.wait(consumer.bell().unwrap().wrapping_sub(1), Duration::from_secs(600)).unwrap();
                }
            }
            prop_assert_eq!(other.latch().unwrap(), None);
        }
    }
}
