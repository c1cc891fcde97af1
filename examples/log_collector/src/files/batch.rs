//! Records on their way into a frame, and out of one.
//!
//! ```text
//!   time 8 | process 4 | thread 4 | level 1 | length of the tag 1 | of the message 2 | tag | message      (little endian)
//! ```

use super::frame::{Progress, number};
use crate::Level;
use crate::record::Record;

/// Bytes before the tag.
const FIXED: usize = 20;

/// Records that will be one frame.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) raw: Vec<u8>,
    pub(super) count: u32,
    /// A bit for each level that is there.
    pub(super) levels: u32,
    /// The earliest and the latest time.
    pub(super) times: Option<(u64, u64)>,
    /// How far the lanes are with it.
    pub(crate) progress: Vec<Progress>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.progress.clear();
        (self.count, self.levels, self.times) = (0, 0, None);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Adds a record; `text` puts its tag and message, whose lengths are given, behind what is there.
    pub(crate) fn push(
        &mut self,
        of: Origin,
        level: Level,
        lengths: (usize, usize),
        text: impl FnOnce(&mut Vec<u8>),
    ) {
        let Origin { time, process, thread } = of;
        let mut fixed = [0; FIXED];
        fixed[..8].copy_from_slice(&time.to_le_bytes());
        fixed[8..12].copy_from_slice(&process.to_le_bytes());
        fixed[12..16].copy_from_slice(&thread.to_le_bytes());
        // No truncation: what is longer fits into no lane.
        fixed[16..18].copy_from_slice(&[level as u8, lengths.0 as u8]);
        fixed[18..].copy_from_slice(&(lengths.1 as u16).to_le_bytes());
        self.raw.extend_from_slice(&fixed);
        text(&mut self.raw);
        self.count += 1;
        self.levels |= 1 << level as u32;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }
}

/// When a record was made, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) time: u64,
    pub(crate) process: u32,
    pub(crate) thread: u32,
}

/// The records of a frame; the error says what is wrong with them.
pub(super) fn decode(raw: &[u8], count: u32) -> Result<Vec<Record>, &'static str> {
    let mut rest = raw;
    let mut records = Vec::with_capacity((count as usize).min(raw.len() / FIXED));
    while let Some((fixed, behind)) = rest.split_first_chunk::<FIXED>() {
        let (time, numbers) = number::<8>(fixed);
        let (process, numbers) = number::<4>(numbers);
        let (thread, numbers) = number::<4>(numbers);
        let (&[level, tag, low, high], _) = numbers.split_first_chunk().ok_or("a record is cut off")?;
        let level = Level::from_number(level).ok_or("a record has no level")?;
        let (tag, message) = (usize::from(tag), usize::from(u16::from_le_bytes([low, high])));
        let (tag, behind) = behind.split_at_checked(tag).ok_or("a record is cut off")?;
        let (message, behind) = behind.split_at_checked(message).ok_or("a record is cut off")?;
        records.push(Record {
            time,
            process: process as u32,
            thread: thread as u32,
            level,
            tag: tag.to_vec(),
            message: message.to_vec(),
        });
        rest = behind;
    }
    if !rest.is_empty() || records.len() != count as usize {
        return Err("the records are not as many as the frame says");
    }
    Ok(records)
}
