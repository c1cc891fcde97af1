//! The Java layer, tested in JVMs. Without a JDK the tests say that they are skipped; in CI that is a failure.

mod binder;
mod harness;
mod memory;
mod native_library;
mod parcel;
mod seed;
