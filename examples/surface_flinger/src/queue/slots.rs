//! The transitions of the slots, over words wherever they are: in a region, on a stack, or in loom's model.

use super::SLOTS;
use super::word::{Slot, State};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A word that no honest peer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// The words of all slots.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a> {
    pub(crate) words: [&'a AtomicU64; SLOTS],
    /// Acquire fences: the low half of a frame's number.
    pub(crate) fences: [&'a AtomicU32; SLOTS],
}

impl Slots<'_> {
    fn load(&self, slot: usize) -> Slot {
        Slot::from_word(self.words[slot].load(Ordering::Acquire))
    }

    /// Release and acquire: who sees the new state sees what was done before, and has seen what was done before the old one.
    fn change(&self, slot: usize, from: Slot, to: Slot) -> Result<(), Corrupt> {
        self.words[slot]
            .compare_exchange(from.word(), to.word(), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(|_| Corrupt("a slot was changed by who does not have it"))
    }

    /// Producer: takes the free slot whose frame is the oldest; none when none is free. Gives the slot, and the frame that its word says was
    /// in it, which is what [`Slots::queue`] and [`Slots::cancel`] expect.
    pub(crate) fn dequeue(&self) -> Result<Option<(usize, u64)>, Corrupt> {
        let free =
            (0..SLOTS).map(|slot| (slot, self.load(slot))).filter(|(_, word)| word.state == State::Free);
        let Some((slot, word)) = free.min_by_key(|(_, word)| word.frame) else { return Ok(None) };
        self.change(slot, word, Slot::new(State::Dequeued, word.frame))?;
        Ok(Some((slot, word.frame)))
    }

    /// Producer: hands a dequeued slot to the consumer as `frame`. Its pixels are complete when its fence says so.
    pub(crate) fn queue(&self, slot: usize, was: u64, frame: u64) -> Result<(), Corrupt> {
        self.change(slot, Slot::new(State::Dequeued, was), Slot::new(State::Queued, frame))
    }

    /// Producer: the pixels of `frame` are complete.
    pub(crate) fn signal(&self, slot: usize, frame: u64) {
        self.fences[slot].store(frame as u32, Ordering::Release);
    }

    /// Producer: gives a dequeued slot back.
    pub(crate) fn cancel(&self, slot: usize, was: u64) -> Result<(), Corrupt> {
        self.change(slot, Slot::new(State::Dequeued, was), Slot::new(State::Free, was))
    }

    /// Consumer: takes `frame`, the next one; none if it is not queued, or not complete.
    pub(crate) fn acquire(&self, frame: u64) -> Result<Option<usize>, Corrupt> {
        // The producer may have queued it, and the next one, while this looked. Who has seen the next one finds it the second time.
        for _ in 0..2 {
            let queued = (0..SLOTS).map(|slot| (slot, self.load(slot)));
            let queued = queued.filter(|(_, word)| word.state == State::Queued);
            let Some((slot, word)) = queued.min_by_key(|(_, word)| word.frame) else { return Ok(None) };
            if word.frame == frame {
                if self.fences[slot].load(Ordering::Acquire) != frame as u32 {
                    return Ok(None);
                }
                self.change(slot, word, Slot::new(State::Acquired, frame))?;
                return Ok(Some(slot));
            }
            if word.frame < frame {
                return Err(Corrupt("a frame was queued twice"));
            }
        }
        Err(Corrupt("a frame was left out"))
    }

    /// Consumer: gives an acquired slot back.
    pub(crate) fn release(&self, slot: usize, frame: u64) -> Result<(), Corrupt> {
        self.change(slot, Slot::new(State::Acquired, frame), Slot::new(State::Free, frame))
    }
}
