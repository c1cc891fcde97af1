//! When to reclaim, and how much.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// When the reclaimer takes unpinned pages away, and how much it takes.
///
/// # Examples
/// ```
/// use ashmem::{Policy, Reclaimer};
///
/// // A cache of its own that never keeps more than 64 MiB of unpinned data.
/// let reclaimer = Reclaimer::builder().policy(Policy::new().budget(64 << 20)).build();
/// let region = ashmem::Region::options().reclaimer(&reclaimer).create("tile", 1 << 20)?;
/// region.unpin(..)?;
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) budget: Option<u64>,
    pub(super) reserve: Reserve,
    pub(super) stall_step: u64,
    pub(super) stall_pause: Duration,
    pub(super) budget_interval: Duration,
}

/// How much memory has to stay available below each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    /// An eighth of the limit, within bounds.
    Proportional,
    Fixed(u64),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::new()
    }
}

impl Policy {
    /// The defaults: no budget; an eighth of every limit (of the system, and of each memory cgroup that the process is in) is
    /// kept available, at least 8 MiB or a quarter of a small limit, at most 512 MiB; when processes stall for memory
    /// (PSI), an eighth of what is unpinned goes, at least 16 MiB, at most every half second.
    #[must_use]
    pub fn new() -> Policy {
        Policy {
            budget: None,
            reserve: Reserve::Proportional,
            stall_step: 16 * MIB,
            stall_pause: Duration::from_millis(500),
            budget_interval: Duration::from_millis(50),
        }
    }

    /// At most this many bytes of unpinned data stay in memory. Looked at every 50 ms while they change, up to once a second while
    /// they do not; less often where counting takes more than a twentieth of the time.
    #[must_use]
    pub fn budget(mut self, bytes: u64) -> Policy {
        self.budget = Some(bytes);
        self
    }

    /// Keeps this many bytes available below every limit, instead of a share of it; half of a limit at the most.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Policy {
        self.reserve = Reserve::Fixed(bytes);
        self
    }

    /// When processes stall for memory: at least this many bytes are reclaimed, at most once in `pause`.
    #[must_use]
    pub fn on_stall(mut self, bytes: u64, pause: Duration) -> Policy {
        self.stall_step = bytes;
        self.stall_pause = pause;
        self
    }

    /// Bytes that have to stay available below a limit of `limit` bytes.
    #[must_use]
    pub fn reserve_for(&self, limit: u64) -> u64 {
        match self.reserve {
            Reserve::Proportional => (limit / 8).clamp((8 * MIB).min(limit / 4), 512 * MIB),
            Reserve::Fixed(bytes) => bytes.min(limit / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_follows_the_limit() {
        let policy = Policy::new();
        assert_eq!(policy.reserve_for(0), 0);
        assert_eq!(policy.reserve_for(16 * MIB), 4 * MIB);
        assert_eq!(policy.reserve_for(32 * MIB), 8 * MIB);
        assert_eq!(policy.reserve_for(256 * MIB), 32 * MIB);
        assert_eq!(policy.reserve_for(u64::MAX), 512 * MIB);
        let policy = policy.reserve(7);
        assert_eq!((policy.reserve_for(u64::MAX), policy.reserve_for(10)), (7, 5));
    }
}
