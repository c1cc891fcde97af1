//! How much one user may have, and how much there is for all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are free for what is not counted: the largest number that comes with a packet (253), files of `/proc`, purges,
/// answers.
const SPARE: u64 = 512;

/// Mappings that are for other things than regions.
const SPARE_MAPPINGS: u64 = 4096;

/// What one user may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Regions, each counted for each process that has registered it.
    pub regions: u64,
    /// Connected processes.
    pub connections: u64,
    /// The sizes of all regions together, in bytes, each counted once. Without a number: eight times the physical memory.
    pub size: Option<u64>,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota { regions: 16_384, connections: 1024, size: None }
    }
}

impl Quota {
    /// The limit on sizes in force.
    #[must_use]
    pub fn size_limit(&self) -> u64 {
        self.size.unwrap_or_else(|| physical_memory().saturating_mul(8))
    }
}

fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

/// How many descriptors regions and connections may take together. Raises the soft limit to the hard one.
pub(crate) fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Refused where the kernel's own limit is lower: then what there is counts.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    // Each region has a mapping, too.
    let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let mappings = mappings.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65_530_u64);
    // With few descriptors, half.
    let spare = SPARE.min(files / 2);
    (files - spare).min(mappings.saturating_sub(SPARE_MAPPINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_limited_by_what_there_is() {
        assert!(Quota::default().size_limit() > 64 << 20);
        assert_eq!(Quota { size: Some(3), ..Quota::default() }.size_limit(), 3);
    }

    #[test]
    fn some_descriptors_are_left() {
        let most = descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert!(limit.current == limit.maximum || limit.maximum.is_none());
        assert!(most > 0 && limit.current.is_none_or(|files| most < files));
    }
}
