//! Codecs as clients meet them: a service in a process of its own, and its decoders.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod commands;
mod confined;
mod exact;
mod faults;
mod hostile;
mod kills;
mod place;
mod samples;
mod states;
