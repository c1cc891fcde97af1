//! Windows of many processes, composed by one.
//!
//! A [`Composer`] finds the compositor by Binder and makes a [`Window`], which is a region with a control block and three buffers. The program
//! draws into a [`Buffer`] where the compositor will read it, and queues it: no pixel is copied from process to process, and after a window was
//! made no byte goes through a socket. The [compositor] takes the frames of all windows and composes what has changed, with z-order
//! and alpha, into one more region, which goes to PNG files or, as the pool of a `wl_shm`, to a Wayland compositor.
//!
//! Stands for what is between a view and SurfaceFlinger in Android: `Surface`, `BufferQueue`, `SurfaceComposerClient`.
//!
//! ```text
//! client            for programs that draw
//! queue/            slots, fences and damage in the region of a window
//! service           the Binder interfaces
//! compositor/       layers, composing, the screen
//! display/          PNG files, Wayland
//! rect, pixel, picture
//! animation         what the program's own producers draw
//! ```
//!
//! [`Window`] has an example.

// Under loom only the slots are there, and their users are not.
#![cfg_attr(loom, allow(dead_code))]

mod queue;
mod sync;

#[cfg(not(loom))]
mod whole {
    pub use crate::client::{Buffer, Composer, PendingFrame, Window};
    pub use crate::error::{Error, Result};
    pub use crate::rect::{Damage, Rect, Size};
    pub use crate::service::{Placement, WindowOptions};
}
#[cfg(not(loom))]
pub use self::whole::*;

#[cfg(not(loom))]
pub mod animation;
#[cfg(not(loom))]
mod client;
#[cfg(not(loom))]
pub mod compositor;
#[cfg(not(loom))]
pub mod display;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
pub mod picture;
#[cfg(not(loom))]
pub mod pixel;
#[cfg(not(loom))]
mod rect;
#[cfg(not(loom))]
pub mod service;
