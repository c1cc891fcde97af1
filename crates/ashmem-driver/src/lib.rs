//! The driver daemon of ashmem: takes the unpinned pages of all processes that were unpinned longest ago away when memory runs
//! short, as the kernel's driver did.
//!
//! Processes hand it the descriptors of their regions over a Unix socket ([`ashmem::driver`]); everything else is in the regions
//! themselves. The command `ashmem daemon` is made of this.

#[cfg(test)]
mod fake;
#[allow(dead_code, reason = "nobody reclaims yet")]
mod limits;
#[allow(dead_code, reason = "nobody reclaims yet")]
mod membership;
pub mod policy;
mod quota;
pub mod snapshot;
mod table;
#[allow(dead_code, reason = "nobody reclaims yet")]
mod turn;

pub use policy::Policy;
pub use quota::Quota;
pub use snapshot::Snapshot;
