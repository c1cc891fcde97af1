//! Where a track's frames come from: a ring that the client fills, or a sound that is there as a whole.

use crate::shared::ControlBlock;
use crate::shared::positions::{Cursor, Lie, Side};
use crate::{Fault, Mode};

#[derive(Debug)]
pub(crate) enum Source {
    Ring(Cursor),
    Sound {
        /// Frames that there is room for.
        capacity: u64,
        /// Frames of the sound, as the client's position said when it was started.
        length: u64,
        at: u64,
    },
}

impl Source {
    pub(crate) fn new(mode: Mode, frames: u64) -> Source {
        match mode {
            Mode::Streaming => Source::Ring(Cursor::new(Side::Mixer, frames)),
            Mode::Static => Source::Sound { capacity: frames, length: 0, at: 0 },
        }
    }

    /// Whether there is no more to come than what was seen last.
    pub(crate) fn is_whole(&self, block: &ControlBlock) -> bool {
        match self {
            // What cannot be read is found out elsewhere.
            Source::Ring(cursor) => {
                block.ends_at(cursor.position().wrapping_add(cursor.available())).unwrap_or(false)
            }
            Source::Sound { .. } => true,
        }
    }

    /// Frames that can be read now.
    pub(crate) fn see(&mut self, block: &ControlBlock) -> Result<u64, Fault> {
        match self {
            Source::Ring(cursor) => {
                let pair = block.pair(Side::Mixer).map_err(|_| Fault::Unreadable)?;
                cursor.see(pair.their_position()).map_err(|lie| match lie {
                    Lie::OutOfRange => Fault::PositionOutOfRange,
                    Lie::WentBack => Fault::PositionWentBack,
                })
            }
            Source::Sound { length, at, .. } => Ok(*length - *at),
        }
    }

    /// From the beginning again. A ring has none.
    pub(crate) fn begin(&mut self, block: &ControlBlock) -> Result<(), Fault> {
        if let Source::Sound { capacity, length, at } = self {
            let pair = block.pair(Side::Mixer).map_err(|_| Fault::Unreadable)?;
            let said = pair.their_position();
            if said > *capacity {
                return Err(Fault::PositionOutOfRange);
            }
            (*length, *at) = (said, 0);
        }
        Ok(())
    }

    /// Frames read so far, and where the next one is.
    pub(crate) fn position(&self) -> (u64, u64) {
        match self {
            Source::Ring(cursor) => (cursor.position(), cursor.place().0),
            Source::Sound { at, .. } => (*at, *at),
        }
    }

    /// Moves on by so many frames, at most those that are there, and says where it is then.
    pub(crate) fn advance(&mut self, frames: u64) -> u64 {
        match self {
            Source::Ring(cursor) => cursor.advance(frames),
            Source::Sound { length, at, .. } => {
                *at += frames.min(*length - *at);
                *at
            }
        }
    }

    /// Drops what a ring has, or goes back to the beginning of a sound, and says where it is then.
    pub(crate) fn discard(&mut self, block: &ControlBlock) -> Result<u64, Fault> {
        let available = self.see(block)?;
        if let Source::Sound { at, .. } = self {
            *at = 0;
            return Ok(0);
        }
        Ok(self.advance(available))
    }
}
