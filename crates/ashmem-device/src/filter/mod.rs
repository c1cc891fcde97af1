//! Which system calls are looked at: the rules, and what the kernel and container runtimes make of them.
//!
//! A filter sees numbers and registers, and nothing that an address leads to. So it cannot tell a descriptor of the device from
//! another. What is called often (`read`, `write`) is looked at for high descriptors only, and descriptors of the device are handed
//! out from [`HIGH`] on.

mod compile;
mod numbers;
mod profile;
mod rules;

pub use compile::compile;
pub use numbers::{Abi, Call, Number, Width};
pub use profile::{BaseError, add_to, profile};
pub use rules::{Condition, HIGH, Rule, rules};
