//! The region of a window: the control block, and behind it the buffers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ashmem::{Mapping, page_size};
use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

use super::SLOTS;
use super::slots::Slots;
use crate::rect::{Damage, Rect, Size};
use crate::{Error, Result};

/// Rectangles that a frame says it has changed; more become one around all of them.
pub(crate) const RECTS: usize = 4;

/// Bytes from line to line: processors fetch pairs of cache lines.
const LINE: u64 = 128;
/// What the producer writes apart from slots.
const BELL: u64 = 0;
/// What the consumer does: the release fence, and whether the window is closed.
const RELEASED: u64 = LINE;
const CLOSED: u64 = LINE + 4;
/// A line for each slot: its word, its acquire fence, its damage.
const FIRST_SLOT: u64 = 2 * LINE;
const FENCE: u64 = 8;
const DAMAGE: u64 = 16;

const _: () =
    assert!(FIRST_SLOT + SLOTS as u64 * LINE <= 4096, "the control block fits into the smallest page");
const _: () = assert!(DAMAGE + 8 * RECTS as u64 <= LINE, "a slot fits into its line");
const _: () = assert!(Size::MAX <= u16::MAX as u32, "an edge fits into a quarter of a word");

/// Where things are in the region of a window of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: Size,
    /// From one buffer to the next.
    step: u64,
}

impl Layout {
    pub(crate) fn new(size: Size) -> Layout {
        Layout { size, step: size.bytes().next_multiple_of(page_size()) }
    }

    /// Bytes of the region.
    pub(crate) fn bytes(&self) -> u64 {
        page_size() + SLOTS as u64 * self.step
    }

    /// Where a row of a buffer starts.
    pub(crate) fn row(&self, slot: usize, y: u32) -> u64 {
        page_size() + slot as u64 * self.step + u64::from(y) * self.size.stride()
    }
}

/// The words of a window's region.
pub(crate) struct Control<'a>(pub(crate) &'a Mapping);

impl<'a> Control<'a> {
    fn u32(&self, offset: u64) -> Result<&'a AtomicU32> {
        self.0.atomic_u32(offset).map_err(Error::memory("find a word of the control block"))
    }

    fn u64(&self, offset: u64) -> Result<&'a AtomicU64> {
        self.0.atomic_u64(offset).map_err(Error::memory("find a word of the control block"))
    }

    pub(crate) fn slots(&self) -> Result<Slots<'a>> {
        let slot = |i: u64| FIRST_SLOT + i * LINE;
        Ok(Slots {
            words: [self.u64(slot(0))?, self.u64(slot(1))?, self.u64(slot(2))?],
            fences: [self.u32(slot(0) + FENCE)?, self.u32(slot(1) + FENCE)?, self.u32(slot(2) + FENCE)?],
        })
    }

    pub(crate) fn bell(&self) -> Result<&'a AtomicU32> {
        self.u32(BELL)
    }

    pub(crate) fn released(&self) -> Result<&'a AtomicU32> {
        self.u32(RELEASED)
    }

    fn closed(&self) -> Result<&'a AtomicU32> {
        self.u32(CLOSED)
    }

    /// Whether the consumer has said that it takes no more frames.
    pub(crate) fn is_closed(&self) -> Result<bool> {
        Ok(self.closed()?.load(Ordering::Acquire) != 0)
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.closed()?.store(1, Ordering::Release);
        ring(self.released()?);
        Ok(())
    }

    /// Says what a frame changes, before it is queued.
    pub(crate) fn write_damage(&self, slot: usize, damage: &Damage) -> Result<()> {
        let all = [damage.bounds()];
        let rects = if damage.rects().len() > RECTS { &all } else { damage.rects() };
        for i in 0..RECTS {
            let word = rects.get(i).map_or(0, |rect| pack(*rect));
            self.damage(slot, i)?.store(word, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What an acquired frame says that it changes, within the window.
    pub(crate) fn read_damage(&self, slot: usize, size: Size) -> Result<Damage> {
        let mut damage = Damage::none();
        for i in 0..RECTS {
            let rect = unpack(self.damage(slot, i)?.load(Ordering::Relaxed));
            damage.add(rect.intersection(Rect::of_size(size)));
        }
        Ok(damage)
    }

    fn damage(&self, slot: usize, i: usize) -> Result<&'a AtomicU64> {
        self.u64(FIRST_SLOT + slot as u64 * LINE + DAMAGE + 8 * i as u64)
    }
}

/// The four edges, which fit: rectangles of damage are within the window.
fn pack(rect: Rect) -> u64 {
    [rect.left, rect.top, rect.right, rect.bottom]
        .into_iter()
        .fold(0, |word, edge| word << 16 | u64::from(edge.clamp(0, i32::from(u16::MAX)) as u16))
}

fn unpack(word: u64) -> Rect {
    let edge = |shift: u32| i32::from((word >> shift) as u16);
    Rect::new(edge(48), edge(32), edge(16), edge(0))
}

/// Counts, and wakes whoever sleeps on the count.
pub(crate) fn ring(count: &AtomicU32) {
    count.fetch_add(1, Ordering::Release);
    // Cannot fail for memory that is mapped.
    let _ = futex::wake(count, Flags::empty(), u32::MAX >> 1);
}

/// Sleeps while a count is `seen`, at most that long. It may return earlier.
pub(crate) fn sleep(count: &AtomicU32, seen: u32, most: Duration) {
    let most = Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    };
    // EAGAIN, EINTR and ETIMEDOUT all mean that the caller looks again.
    let _ = futex::wait(count, Flags::empty(), seen, Some(&most));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_word_of_damage_is_a_rectangle_within_the_window(word: u64) {
            let size = Size { width: 100, height: 50 };
            let rect = unpack(word);
            prop_assert_eq!(pack(rect), word);
            let inside = rect.intersection(Rect::of_size(size));
            prop_assert!(inside.width() <= 100 && inside.height() <= 50);
        }
    }
}
