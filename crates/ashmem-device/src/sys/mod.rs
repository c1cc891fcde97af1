//! What no library has: seccomp's system calls, and another process's memory.

pub(crate) mod control;
mod detach;
mod execute;
mod lease;
mod memory;
pub(crate) mod message;
mod notification;
pub(crate) mod ptrace;
mod seccomp;
mod writable;

pub(crate) use detach::{close_inherited, ignore_signals};
pub(crate) use execute::Program;
pub(crate) use lease::lease;
pub(crate) use memory::{read, write};
pub use notification::{Answer, Listener, Notification};
pub use seccomp::{Instruction, Refusal, install};
pub(crate) use writable::Writable;
