//! The C library as a user gets it: installed below a temporary directory, and used by programs in C and C++ that are compiled here.
//!
//! Without a C compiler these tests say that they are skipped; in CI (`CI=true`) they fail then.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;

mod cpp;
mod cutils;
mod descriptors;
mod extended;
mod install;
mod peers;
mod robust;
mod surroundings;
mod tools;
