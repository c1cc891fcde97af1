//! The driver daemon, as a process that has regions sees it: where it listens, and what is said.
//!
//! A reclaimer hands the daemon a descriptor of each region at its first unpin, and says when the region is dropped. The daemon
//! then takes pages away in this process's stead. Pin and unpin go on in shared memory and tell nobody.

pub mod address;
pub(crate) mod client;
mod connection;
pub mod device;
pub mod peer;
pub mod protocol;
pub mod socket;
mod wakes;
