//! Which regions are registered, and by whom.

use ashmem::Region;

/// A region as whoever reclaims sees it.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "nobody reclaims yet")]
pub(crate) struct Served {
    pub(crate) region: Region,
    /// The processes that have registered it.
    pub(crate) processes: Vec<u32>,
}
