//! What the program can do.

pub mod bench;
pub mod decode;
mod picture;
mod plot;
pub mod service;
mod sound;
