//! The commands.

pub mod child;
pub mod collect;
pub mod demo;
pub mod script;
pub mod show;
pub mod worker;
pub mod write;
