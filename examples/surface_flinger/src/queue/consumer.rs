//! The consumer's side of a queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ashmem::{Mapping, Region};

use super::control::{Control, Layout, ring, sleep};
use crate::rect::{Damage, Size};
use crate::{Error, Result};

/// Who shows. Of what is in the region it believes nothing but pixels.
pub(crate) struct Consumer {
    mapping: Mapping,
    layout: Layout,
    shown: Option<Shown>,
}

/// The frame that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) slot: usize,
    pub(crate) frame: u64,
}

impl Consumer {
    /// Makes the region of a window.
    pub(crate) fn create(size: Size) -> Result<(Consumer, Region)> {
        let layout = Layout::new(size);
        let region = Region::options()
            .never_purgeable()
            .create("window", layout.bytes())
            .map_err(Error::memory("make a window's buffers"))?;
        let mapping = region.map().map_err(Error::memory("map a window's buffers"))?;
        Ok((Consumer { mapping, layout, shown: None }, region))
    }

    pub(crate) fn size(&self) -> Size {
        self.layout.size
    }

    pub(crate) fn shown(&self) -> Option<Shown> {
        self.shown
    }

    /// Takes the next frame, if it is there, and releases the one before. Gives what has changed.
    pub(crate) fn latch(&mut self) -> Result<Option<Damage>> {
        let control = Control(&self.mapping);
        let slots = control.slots()?;
        let frame = self.shown.map_or(0, |shown| shown.frame) + 1;
        let Some(slot) = slots.acquire(frame)? else { return Ok(None) };
        let damage = control.read_damage(slot, self.layout.size)?;
        if let Some(before) = self.shown.replace(Shown { slot, frame }) {
            slots.release(before.slot, before.frame)?;
            ring(control.released()?);
        }
        Ok(Some(damage))
    }

    /// The count that [`Consumer::wait`] takes; to be read before [`Consumer::latch`].
    pub(crate) fn bell(&self) -> Result<u32> {
        Ok(Control(&self.mapping).bell()?.load(Ordering::Acquire))
    }

    /// Sleeps until the producer has done something since the bell was `seen`, at most that long.
    pub(crate) fn wait(&self, seen: u32, most: Duration) -> Result<()> {
        sleep(Control(&self.mapping).bell()?, seen, most);
        Ok(())
    }

    /// Copies pixels of the frame that is shown.
    pub(crate) fn read_row(&self, shown: Shown, x: u32, y: u32, into: &mut [u32]) -> Result<()> {
        let offset = self.layout.row(shown.slot, y) + 4 * u64::from(x);
        self.mapping.read_slice(offset, into).map_err(Error::memory("read a window's pixels"))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Fails for no mapping of this size.
        let _ = Control(&self.mapping).close();
    }
}
