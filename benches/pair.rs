//! Two sides of a ratio, measured in turns.
//!
//! The speed of a machine that others use drifts by more than the differences that matter here. So neither side is measured
//! for long: a short batch of one, a short batch of the other, and so on, and the ratio is the median over these
//! rounds. A batch that the scheduler interrupted is one outlier, not an error of the result.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a batch should take: long against the clock's resolution, short against a time slice.
const BATCH: Duration = Duration::from_micros(400);

/// Rounds with a batch shorter than this tell more about the clock than about the operation.
const SHORTEST: Duration = Duration::from_micros(20);

/// Runs an operation that many times and says how long that took.
type Side = Box<dyn FnMut(u64) -> Duration>;

/// A side, in batches of the right size.
struct Paced {
    side: Side,
    /// Nanoseconds an operation took in the last batch.
    cost: f64,
}

impl Paced {
    fn new(side: impl FnMut(u64) -> Duration + 'static) -> Paced {
        Paced { side: Box::new(side), cost: BATCH.as_nanos() as f64 }
    }

    fn batch(&self) -> u64 {
        ((BATCH.as_nanos() as f64 / self.cost) as u64).max(1)
    }

    fn run(&mut self, count: u64) -> Duration {
        let time = (self.side)(count);
        // A batch of nothing but noise must not ask for batches without end.
        self.cost = (time.as_nanos() as f64 / count as f64).max(0.1);
        time
    }
}

/// An operation of the library, and what it is compared with, if anything.
pub struct Pair {
    ours: Paced,
    reference: Option<Paced>,
    rounds: Vec<Round>,
}

/// Nanoseconds an operation took on each side in one round.
struct Round {
    ours: f64,
    reference: Option<f64>,
}

/// Medians over all rounds, in nanoseconds an operation.
pub struct Medians {
    /// The library's operation.
    pub ours: f64,
    /// What it is compared with.
    pub reference: Option<f64>,
    /// Time of ours over time of the reference.
    pub cost: Option<f64>,
    /// Time of ours less time of the reference.
    pub extra: Option<f64>,
}

impl Pair {
    /// The library's operation against a reference.
    pub fn new(
        ours: impl FnMut(u64) -> Duration + 'static,
        reference: impl FnMut(u64) -> Duration + 'static,
    ) -> Pair {
        Pair { ours: Paced::new(ours), reference: Some(Paced::new(reference)), rounds: Vec::new() }
    }

    /// The library's operation by itself.
    pub fn alone(ours: impl FnMut(u64) -> Duration + 'static) -> Pair {
        Pair { ours: Paced::new(ours), reference: None, rounds: Vec::new() }
    }

    /// Runs at least `count` operations of ours, in whole batches with batches of the reference between them. Returns the
    /// time that `count` of them took.
    pub fn run(&mut self, count: u64) -> Duration {
        let mut total = Duration::ZERO;
        let mut done = 0;
        while done < count {
            let batch = self.ours.batch();
            let ours = self.ours.run(batch);
            total += ours;
            done += batch;
            let mut shorter = ours;
            if let Some(side) = &mut self.reference {
                shorter = shorter.min(side.run(side.batch()));
            }
            if shorter >= SHORTEST {
                let reference = self.reference.as_ref().map(|side| side.cost);
                self.rounds.push(Round { ours: self.ours.cost, reference });
            }
        }
        total.mul_f64(count as f64 / done.max(1) as f64)
    }

    /// What the rounds say; `None` when there was none of a decent length.
    pub fn medians(&self) -> Option<Medians> {
        let rounds = || self.rounds.iter();
        Some(Medians {
            ours: median(rounds().map(|round| round.ours))?,
            reference: median(rounds().filter_map(|round| round.reference)),
            cost: median(rounds().filter_map(|round| Some(round.ours / round.reference?))),
            extra: median(rounds().filter_map(|round| Some(round.ours - round.reference?))),
        })
    }
}

/// Runs `operation` `count` times.
#[inline]
pub fn time<T>(count: u64, mut operation: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        black_box(operation());
    }
    start.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
