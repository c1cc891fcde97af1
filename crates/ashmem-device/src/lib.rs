//! Android's `/dev/ashmem` for programs that open it, on a kernel without the driver.

mod abi;
pub mod agent;
mod caches;
mod calls;
mod door;
mod error;
mod files;
pub mod filter;
mod holders;
mod known;
mod maps;
mod memory;
pub mod model;
mod node;
mod pins;
mod place;
mod protect;
mod reclaim;
mod run;
mod serve;
mod server;
mod state;
mod sys;
mod task;

pub use door::{serve_connection, serve_socket};
pub use error::Error;
pub use run::{greet, launch, may_be_served_by_others};
pub use server::{Options, Server, detach};

/// Seccomp's notifications, for benchmarks.
#[doc(hidden)]
pub mod notification {
    pub use crate::sys::{Answer, Instruction, Listener, Notification, Refusal, install};
}
