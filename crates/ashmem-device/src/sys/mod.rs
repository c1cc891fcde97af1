//! What no library has: seccomp's system calls, and another process's memory.

mod execute;
mod lease;
mod memory;
mod notification;
mod seccomp;

pub(crate) use execute::Program;
pub(crate) use lease::lease;
pub(crate) use memory::{read, write};
pub use notification::{Answer, Listener, Notification};
pub use seccomp::{Instruction, Refusal, install};
