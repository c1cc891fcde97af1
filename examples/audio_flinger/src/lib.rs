//! Sound of many processes, mixed by one: Android's `AudioTrack` and `AudioFlinger` over shared memory.
//!
//! A client asks the mixer for a track and gets a binder and a descriptor. The binder starts, pauses, flushes and stops the track. The
//! descriptor is a region with a control block and the samples: the client writes sound and moves its position, the mixer reads and
//! moves its own, and who waits for the other sleeps on a futex in that block. Nothing else goes between the two.
//!
//! ```
//! use std::time::Duration;
//!
//! use ashmem_binder::ServiceManager;
//! use audio_flinger::{AudioFlinger, Clock, MixerOptions, Server, TrackOptions};
//!
//! # let directory = tempfile::tempdir()?;
//! # let address = format!("unix://{}/services", directory.path().display());
//! // One process mixes. The offline clock goes as fast as the clients do.
//! let services = ServiceManager::at(&address)?;
//! let server = Server::start(&services, MixerOptions { clock: Clock::Offline, ..MixerOptions::default() })?;
//! # let handle = server.handle();
//! # let mixing = std::thread::spawn(move || server.run(&mut |_: &[i16]| Ok(())));
//!
//! // Others play.
//! let flinger = AudioFlinger::connect(&services)?;
//! let mut track = flinger.create_track(&TrackOptions::streaming(44_100, 2))?;
//! track.set_volume(0.5, 0.5)?;
//! track.start()?;
//! track.write(&vec![0.25; 44_100 * 2])?;
//! track.stop()?;
//! assert!(track.wait_until_stopped(Duration::from_secs(60))?);
//! # drop(track);
//! # handle.finish();
//! # mixing.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trust
//!
//! The mixer reads each word of a client once, checks it, and goes on with the checked copy; a track whose words make no sense is
//! ended ([`Fault`]), and the others do not notice. A client trusts the mixer as little: what it says is checked, and no wait is
//! without end once the mixer has died.

#[cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "loom runs the positions and the timestamp alone")
)]
mod shared;

#[cfg(not(loom))]
mod audio_track;
#[cfg(not(loom))]
mod client;
#[cfg(not(loom))]
pub mod decode;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod interface;
#[cfg(not(loom))]
pub mod mixer;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
pub mod output;
#[cfg(not(loom))]
mod server;
#[cfg(not(loom))]
pub mod time;

#[cfg(not(loom))]
pub use self::{
    audio_track::AudioTrack,
    client::AudioFlinger,
    error::{Error, Result},
    mixer::{Clock, MixerOptions, Report},
    options::{Mode, TrackOptions},
    server::{Handle, Server},
    shared::{Fault, State, Timestamp},
};
