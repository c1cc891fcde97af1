//! The producer's side of a queue.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ashmem::Mapping;

use super::control::{Control, Layout, ring, sleep};
use super::slots::Corrupt;
use crate::rect::{Damage, Rect};
use crate::{Error, Result};

/// The longest sleep before a producer asks whether the consumer is there at all.
const NAP: Duration = Duration::from_millis(100);

/// Who draws. Of what is in the region it believes nothing but that a slot is free.
pub(crate) struct Producer {
    mapping: Mapping,
    layout: Layout,
    /// The number of the next frame.
    next: u64,
    /// The frames whose pixels are in the buffers, by this side's own record.
    contents: [u64; super::SLOTS],
}

/// A slot that this side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dequeued {
    pub(crate) slot: usize,
    was: u64,
}

impl Producer {
    /// The mapping has the layout's size.
    pub(crate) fn new(mapping: Mapping, layout: Layout) -> Producer {
        Producer { mapping, layout, next: 1, contents: [0; super::SLOTS] }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn contents(&self, slot: usize) -> u64 {
        self.contents[slot]
    }

    /// Takes a free buffer, without waiting for one.
    pub(crate) fn try_dequeue(&self) -> Result<Option<Dequeued>> {
        let control = Control(&self.mapping);
        if control.is_closed()? {
            return Err(Error::WindowClosed);
        }
        Ok(control.slots()?.dequeue()?.map(|(slot, was)| Dequeued { slot, was }))
    }

    /// Takes a free buffer, and waits for it at most `timeout`. `is_gone` is asked from time to time whether there is nobody to wait for.
    pub(crate) fn dequeue(&self, timeout: Duration, is_gone: impl Fn() -> bool) -> Result<Dequeued> {
        // A moment that no clock reaches is none.
        let until = Instant::now().checked_add(timeout);
        loop {
            // Before the look at the slots, so that a release in between is not slept through.
            let released = Control(&self.mapping).released()?;
            let seen = released.load(Ordering::Acquire);
            if let Some(dequeued) = self.try_dequeue()? {
                return Ok(dequeued);
            }
            if is_gone() {
                return Err(Error::CompositorGone);
            }
            let nap = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()).min(NAP));
            if nap.is_zero() {
                return Err(Error::TimedOut { operation: "dequeue a buffer" });
            }
            sleep(released, seen, nap);
        }
    }

    /// Queues a buffer; it is shown when its fence has been signalled. Gives the frame's number.
    pub(crate) fn queue(&mut self, dequeued: Dequeued, damage: &Damage) -> Result<u64> {
        let Dequeued { slot, was } = dequeued;
        let bounds = Rect::of_size(self.layout.size);
        let damage: Damage = damage.rects().iter().map(|rect| rect.intersection(bounds)).collect();
        let frame = self.next;
        let control = Control(&self.mapping);
        control.write_damage(slot, &damage)?;
        control.slots()?.queue(slot, was, frame)?;
        self.next += 1;
        self.contents[slot] = frame;
        Ok(frame)
    }

    /// The pixels of a frame are complete.
    pub(crate) fn signal(&self, slot: usize, frame: u64) -> Result<()> {
        let control = Control(&self.mapping);
        control.slots()?.signal(slot, frame);
        ring(control.bell()?);
        Ok(())
    }

    /// Gives a buffer back. What is in it counts as nothing.
    pub(crate) fn cancel(&mut self, dequeued: Dequeued) -> Result<()> {
        self.contents[dequeued.slot] = 0;
        Ok(Control(&self.mapping).slots()?.cancel(dequeued.slot, dequeued.was)?)
    }

    /// Writes pixels into a row of a buffer.
    pub(crate) fn write_row(&self, slot: usize, x: u32, y: u32, pixels: &[u32]) -> Result<()> {
        let size = self.layout.size;
        let end = u64::from(x) + pixels.len() as u64;
        if y >= size.height || end > u64::from(size.width) {
            return Err(Error::OutsideWindow { size });
        }
        let offset = self.layout.row(slot, y) + 4 * u64::from(x);
        self.mapping.write_slice(offset, pixels).map_err(Error::memory("draw"))
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Error {
        Error::QueueCorrupt { reason: corrupt.0 }
    }
}
