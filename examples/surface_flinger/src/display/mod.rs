//! Where composed frames go: nowhere, to PNG files, to a Wayland compositor.

mod png;
mod wayland;

use std::path::Path;
use std::time::Duration;

use self::png::Frames;
pub use self::png::{read_picture, write_picture};
pub use self::wayland::Events;
use self::wayland::Wayland;
use crate::Result;
use crate::compositor::{Screen, ShownWindow};
use crate::rect::Damage;

/// Where composed frames go.
#[derive(Default)]
pub struct Display {
    frames: Option<Frames>,
    wayland: Option<Wayland>,
}

impl Display {
    /// Nowhere; they can be read from the compositor.
    #[must_use]
    pub fn none() -> Display {
        Display::default()
    }

    /// Each frame to a PNG file in a directory as well, which is made if it is not there. In its `frames.jsonl` is a line of JSON for
    /// each: which frames of which windows it shows.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn with_png(mut self, directory: &Path) -> Result<Display> {
        self.frames = Some(Frames::new(directory)?);
        Ok(self)
    }

    /// To a window of the Wayland compositor that `$WAYLAND_DISPLAY` names. It sets the pace.
    ///
    /// # Errors
    /// [`Error::Wayland`](crate::Error::Wayland).
    pub fn with_wayland(mut self) -> Result<Display> {
        self.wayland = Some(Wayland::connect()?);
        Ok(self)
    }

    pub(crate) fn events(&self) -> Option<Events> {
        self.wayland.as_ref().map(Wayland::events)
    }

    pub(crate) fn buffers(&self) -> usize {
        if self.wayland.is_some() { wayland::BUFFERS } else { 1 }
    }

    pub(crate) fn start(&mut self, screen: &Screen) -> Result<()> {
        self.wayland.as_mut().map_or(Ok(()), |wayland| wayland.start(screen))
    }

    pub(crate) fn sets_the_pace(&self) -> bool {
        self.wayland.is_some()
    }

    /// Waits until the next frame is wanted, at most that long.
    pub(crate) fn wait(&mut self, most: Duration) -> Result<()> {
        self.wayland.as_mut().map_or(Ok(()), |wayland| wayland.wait(most))
    }

    /// A buffer that nobody reads, if a frame is wanted.
    pub(crate) fn free_buffer(&self) -> Option<usize> {
        self.wayland.as_ref().map_or(Some(0), Wayland::free_buffer)
    }

    /// Shows a buffer as the frame of that number.
    pub(crate) fn show(
        &mut self,
        screen: &Screen,
        buffer: usize,
        damage: &Damage,
        number: u64,
        shown: impl Iterator<Item = ShownWindow>,
    ) -> Result<()> {
        if let Some(wayland) = &mut self.wayland {
            wayland.show(buffer, damage)?;
        }
        if let Some(frames) = &mut self.frames {
            frames.write(screen, buffer, number, shown)?;
        }
        Ok(())
    }

    /// Whether the user has closed the window.
    pub(crate) fn is_ended(&self) -> bool {
        self.wayland.as_ref().is_some_and(Wayland::is_closed)
    }
}
