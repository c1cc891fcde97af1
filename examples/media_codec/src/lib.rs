//! Android's `MediaCodec` on Linux: compressed bytes in shared input buffers, samples and pixels in shared output buffers, and between
//! them a decoder in a process of its own that can do nothing but compute.
//!
//! # Three parties
//!
//! - The **client** is a program with a [`MediaCodec`]. It fills input buffers and reads output buffers.
//! - The **codec service** ([`Service`]) is found by name over Binder. It starts decoders, watches them, and tells clients how they
//!   ended. It never looks at what they decode.
//! - A **decoder** is a process for one stream. It maps one region, closes all descriptors, and gives up every system call but a
//!   handful for memory and waiting. Then it reads the stream's first byte.
//!
//! Client and decoder hand buffers to each other by four queues of records in the region's control block, and sleep on a futex. The
//! service has no part in that. None of the three believes what another one writes: an index, a length or a format is read once,
//! checked, and that copy is used.
//!
//! # Layers
//!
//! ```text
//! client/       MediaCodec: states, who owns which buffer, what comes from the decoder
//! service/      the Binder service: nursery starts decoders, supervisor watches one
//! decoder/      the confined process: symphonia and image between input and output buffers
//!     |
//! port          one end of the shared region: queues, bell, buffers
//! queue, bell   records from one process to another; sleeping and waking
//! layout, record, format      what is where, and what it means
//! ```
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ashmem_binder::ServiceManager;
//! use media_codec::{BufferFlags, Event, MediaCodec, MediaType};
//!
//! let file = std::fs::read("music.flac")?;
//! let mut chunks = file.chunks(64 << 10).peekable();
//! let mut codec = MediaCodec::create(&ServiceManager::new()?)?;
//! codec.configure(MediaType::Flac)?;
//! codec.start()?;
//! loop {
//!     match codec.next_event(Duration::from_millis(10))? {
//!         Event::Input(index) => {
//!             let chunk = chunks.next().unwrap_or_default();
//!             let flags = if chunks.peek().is_none() { BufferFlags::END_OF_STREAM } else { BufferFlags::empty() };
//!             codec.write_input(index, 0, chunk)?;
//!             codec.queue_input_buffer(index, chunk.len(), 0, flags)?;
//!         }
//!         Event::FormatChanged(format) => println!("{format}"),
//!         Event::Output(index, info) => {
//!             let mut samples = vec![0; info.length];
//!             codec.read_output(index, 0, &mut samples)?;
//!             codec.release_output_buffer(index)?;
//!             if info.flags.contains(BufferFlags::END_OF_STREAM) {
//!                 break;
//!             }
//!         }
//!         Event::TryAgain => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bell;
mod queue;

#[cfg(not(loom))]
mod client;
#[cfg(not(loom))]
pub mod decoder;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod format;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod layout;
#[cfg(not(loom))]
mod media_type;
#[cfg(not(loom))]
mod port;
#[cfg(not(loom))]
mod protocol;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod service;

#[cfg(not(loom))]
pub use self::{
    client::{BufferInfo, Event, MediaCodec, Output, State, decode_stream},
    error::{Ending, Error, Result},
    format::{Encoding, Format},
    media_type::MediaType,
    protocol::{NAME, Usage},
    record::BufferFlags,
    service::{Service, ServiceOptions},
};
