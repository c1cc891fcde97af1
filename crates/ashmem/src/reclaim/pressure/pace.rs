//! How often to count what nobody announces.

use std::time::Duration;

/// Counting goes on often while the count changes, and less and less often while it does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    seen: Option<u64>,
    pause: Duration,
}

impl Pace {
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(1);

    /// How long to pause after `count` was seen: `shortest` if it is another than before, else half as long again as the last time, up to
    /// a second. Counting took `spent`, and is to take at most a twentieth of the time.
    pub fn pause(&mut self, count: u64, shortest: Duration, spent: Duration) -> Duration {
        let is_quiet = self.seen.replace(count) == Some(count);
        let longer = self.pause + self.pause / 2;
        self.pause = if is_quiet { longer.clamp(shortest, Pace::LONGEST.max(shortest)) } else { shortest };
        self.pause.max(20 * spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(50);

    #[test]
    fn slows_down_while_nothing_changes() {
        let mut pace = Pace::default();
        let mut pauses = (0..20).map(|_| pace.pause(7, SHORTEST, Duration::ZERO));
        assert_eq!(pauses.next(), Some(SHORTEST));
        assert_eq!(pauses.next(), Some(SHORTEST * 3 / 2));
        assert_eq!(pauses.last(), Some(Pace::LONGEST));
        assert_eq!(pace.pause(8, SHORTEST, Duration::ZERO), SHORTEST);
    }

    #[test]
    fn counting_takes_little_of_the_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.pause(7, SHORTEST, Duration::from_millis(100)), Duration::from_secs(2));
        assert_eq!(pace.pause(7, Duration::from_secs(3), Duration::ZERO), Duration::from_secs(3));
    }
}
