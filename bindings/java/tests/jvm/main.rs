//! The Java layer, tested in JVMs. Without a JDK the tests say that they are skipped; in CI that is a failure.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod binder;
mod harness;
mod memory;
mod native_library;
mod parcel;
mod seed;
