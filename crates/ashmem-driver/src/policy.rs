//! When the daemon takes pages away, how much it takes, and how much it serves: a TOML file.
//!
//! `contrib/driver.toml` has every key, with what it means and what it is when it is not there. Unknown keys are errors.

mod error;
mod pattern;
mod values;

use std::path::Path;
use std::time::Duration;

use ashmem::page_size;
use serde::Deserialize;
use toml::Spanned;

pub use error::PolicyError;
pub use pattern::Pattern;

use self::values::{Bytes, Count, Headroom as HeadroomValue, OrNone, Time};
use crate::quota::Quota;

/// What the file says, or the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Unpinned data that may stay in memory, of all registered regions together.
    pub budget: Option<u64>,
    /// What is to stay available below each limit.
    pub headroom: Headroom,
    /// What to do when processes wait for memory.
    pub stall: Stall,
    /// What one user may have.
    pub quota: Quota,
    /// Exceptions for cgroups. The first that matches counts.
    pub cgroups: Vec<Exception>,
}

/// How much is to stay available below a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headroom {
    /// As embedded reclaimers have it: an eighth, at least 8 MiB or a quarter of a small limit, at most 512 MiB.
    #[default]
    Automatic,
    /// So many bytes; half of a limit at the most.
    Bytes(u64),
    /// So many hundredths of a percent of the limit.
    Share(u32),
}

/// When processes wait for memory, and what to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// How long they wait, in all.
    pub threshold: Duration,
    /// In what time.
    pub window: Duration,
    /// Bytes to take away then at least; an eighth of what is unpinned, if that is more.
    pub take: u64,
    /// How long until the next time.
    pub pause: Duration,
}

/// What is different for some cgroups, all processes in them and below them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// For which.
    pub path: Pattern,
    /// Unpinned data that may stay in memory. There need not be a limit.
    pub budget: Option<u64>,
    /// What is to stay available below the cgroup's limit.
    pub headroom: Option<Headroom>,
}

impl Default for Stall {
    fn default() -> Stall {
        let ashmem::pressure::Stall { threshold, window } = ashmem::pressure::Stall::default();
        Stall { threshold, window, take: 16 << 20, pause: Duration::from_millis(500) }
    }
}

impl Headroom {
    /// Bytes that are to stay available below a limit of `limit` bytes.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        match self {
            Headroom::Automatic => ashmem::Policy::new().reserve_for(limit),
            Headroom::Bytes(bytes) => ashmem::Policy::new().reserve(*bytes).reserve_for(limit),
            Headroom::Share(share) => {
                u64::try_from(u128::from(limit) * u128::from(*share) / 10_000).unwrap_or(limit)
            }
        }
    }
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    budget: OrNone<Bytes>,
    headroom: HeadroomValue,
    stall: StallTable,
    quota: QuotaTable,
    cgroup: Vec<CgroupTable>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StallTable {
    threshold: Option<Spanned<Time>>,
    window: Option<Spanned<Time>>,
    take: Option<Bytes>,
    pause: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QuotaTable {
    regions: Option<Count>,
    connections: Option<Count>,
    size: OrNone<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CgroupTable {
    path: Pattern,
    #[serde(default)]
    budget: OrNone<Bytes>,
    headroom: Option<HeadroomValue>,
}

/// Windows that the kernel takes.
const WINDOWS: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);

impl Policy {
    /// What a file says.
    ///
    /// # Errors
    /// When it cannot be read or understood: which file, line and key, and what is expected there.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|error| PolicyError::unreadable(path, &error))?;
        Policy::parse(&text, path)
    }

    /// As [`read`](Policy::read), when the text is there already. The path is for the error.
    ///
    /// # Errors
    /// As [`read`](Policy::read).
    pub fn parse(text: &str, path: &Path) -> Result<Policy, PolicyError> {
        let file: File = toml::from_str(text).map_err(|error| PolicyError::toml(path, text, &error))?;
        let quota = Quota::default();
        Ok(Policy {
            budget: file.budget.0.map(|bytes| bytes.0),
            headroom: file.headroom.0,
            stall: file.stall.check(path, text)?,
            quota: Quota {
                regions: file.quota.regions.map_or(quota.regions, |count| count.0),
                connections: file.quota.connections.map_or(quota.connections, |count| count.0),
                size: file.quota.size.0.map(|bytes| bytes.0),
            },
            cgroups: file.cgroup.into_iter().map(CgroupTable::into_exception).collect(),
        })
    }

    /// What is different for a cgroup, which is named as in `/proc/PID/cgroup`.
    #[must_use]
    pub fn exception(&self, cgroup: &Path) -> Option<&Exception> {
        self.cgroups.iter().find(|exception| exception.path.matches(cgroup))
    }
}

impl StallTable {
    fn check(self, path: &Path, text: &str) -> Result<Stall, PolicyError> {
        let default = Stall::default();
        let value =
            |time: &Option<Spanned<Time>>, default| time.as_ref().map_or(default, |time| time.get_ref().0);
        let threshold = value(&self.threshold, default.threshold);
        let window = value(&self.window, default.window);
        let at = |time: Option<Spanned<Time>>| time.map(|time| time.span());
        if !WINDOWS.contains(&window) {
            return Err(PolicyError::at(path, text, at(self.window), "expected 500ms to 10s"));
        }
        if threshold.is_zero() || threshold >= window {
            let span = at(self.threshold.or(self.window));
            let expected = "expected a `threshold` that is shorter than the `window`, and not nothing";
            return Err(PolicyError::at(path, text, span, expected));
        }
        Ok(Stall {
            threshold,
            window,
            take: self.take.map_or(default.take, |bytes| bytes.0),
            pause: self.pause.map_or(default.pause, |time| time.0),
        })
    }
}

impl CgroupTable {
    fn into_exception(self) -> Exception {
        let budget = self.budget.0.map(|bytes| bytes.0);
        Exception { path: self.path, budget, headroom: self.headroom.map(|value| value.0) }
    }
}

/// The least that a size may be.
fn least() -> u64 {
    page_size()
}

#[cfg(test)]
mod tests;
