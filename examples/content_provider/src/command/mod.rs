//! The commands: [`serve`], those of [`client`]s, and [`demo`], which [measures](measure).

pub mod argument;
pub mod client;
pub mod demo;
pub mod measure;
pub mod output;
pub mod people;
pub mod plot;
pub mod serve;

use std::sync::atomic::{AtomicBool, Ordering};

/// Fails once a signal has asked for the end.
fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
