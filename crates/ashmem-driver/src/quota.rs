//! How much one user may have.

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
