//! The clock that both sides read.

use std::time::Duration;

use rustix::thread::{ClockId as SleepClock, clock_nanosleep_absolute};
use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, which is one for all processes.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * SECOND + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Sleeps until then; whatever happens in between does not move that.
pub fn sleep_until(nanoseconds: u64) {
    let until = Timespec {
        tv_sec: i64::try_from(nanoseconds / SECOND).unwrap_or(i64::MAX),
        // Less than a second.
        tv_nsec: (nanoseconds % SECOND) as _,
    };
    while clock_nanosleep_absolute(SleepClock::Monotonic, &until) == Err(rustix::io::Errno::INTR) {}
}

/// As many nanoseconds, or all that there are.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How often which time was measured: in steps of 10 µs, up to a quarter of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Histogram {
    /// By the step; longer times count in the last one.
    counts: std::collections::BTreeMap<u64, u64>,
}

impl Histogram {
    const STEP: u64 = 10_000;
    const MOST: u64 = 25_000;

    /// Counts a time in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        *self.counts.entry((nanoseconds / Self::STEP).min(Self::MOST)).or_default() += 1;
    }

    /// Counts all that another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (&step, &count) in &other.counts {
            let sum = self.counts.entry(step.min(Self::MOST)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// How many times were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The time in nanoseconds that a share of all times is not above, to the next step; 1 is the longest.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.len() as f64 * share).ceil() as u64;
        let mut sum = 0u64;
        let found = self.counts.iter().find(|(_, count)| {
            sum = sum.saturating_add(**count);
            sum >= wanted
        });
        found.or(self.counts.last_key_value()).map(|(step, _)| (step + 1) * Self::STEP)
    }

    /// Starts of the steps in nanoseconds, and their counts; those without any are left out.
    pub fn steps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().map(|(step, count)| (step * Self::STEP, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_that_was_counted() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        assert_eq!(one.quantile(0.5), None);
        (0..99).for_each(|_| one.add(15_000));
        other.add(u64::MAX);
        one.merge(&other);
        assert_eq!(one.len(), 100);
        assert_eq!(one.quantile(0.5), Some(20_000));
        assert_eq!(one.quantile(0.99), Some(20_000));
        assert_eq!(one.quantile(1.0), Some(250_010_000));
    }

    #[test]
    fn sleeping_ends_after_its_time() {
        let until = now() + 1_000_000;
        sleep_until(until);
        assert!(now() >= until);
        sleep_until(0);
    }
}
