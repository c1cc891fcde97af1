//! The end that reads.

use super::head::HEAD;
use super::{Corrupt, Head, Lane, OUT_OF_RANGE, READ, WRITE};
use crate::sync::{AtomicU64, Ordering};

/// Where the collector is in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    read: u64,
    /// What the lane has been told: everything before is safe.
    released: u64,
    /// What the writer has published, as it was when last looked at.
    end: u64,
}

impl Reader {
    /// Goes on where the last reader was. Of `safe`, where the records up to there are known to be safe, the lane may not have
    /// been told.
    pub(crate) fn new(lane: Lane<'_>, safe: Option<u64>) -> Result<Reader, Corrupt> {
        let released = lane.control[READ].load(Ordering::Acquire);
        let mut reader = Reader { read: released, released, end: released };
        reader.look(lane)?;
        if let Some(safe) = safe.filter(|safe| safe.wrapping_sub(released) <= reader.available()) {
            reader.read = safe;
            reader.release(lane);
        }
        Ok(reader)
    }

    /// Takes note of what the writer has published.
    pub(crate) fn look(&mut self, lane: Lane<'_>) -> Result<(), Corrupt> {
        let end = lane.control[WRITE].load(Ordering::Acquire);
        let available = end.wrapping_sub(self.read);
        // It may not take back anything either.
        if end.wrapping_sub(self.released) > lane.words() || available < self.available() {
            return Err(OUT_OF_RANGE);
        }
        self.end = end;
        Ok(())
    }

    fn available(&self) -> u64 {
        self.end.wrapping_sub(self.read)
    }

    /// The position behind the records that were taken.
    pub(crate) fn position(&self) -> u64 {
        self.read
    }

    /// Whether everything was taken that was there at the last look.
    pub(crate) fn is_at_end(&self) -> bool {
        self.available() == 0
    }

    /// The head of the next record of those that were there at the last look.
    pub(crate) fn head(&self, lane: Lane<'_>) -> Result<Option<Head>, Corrupt> {
        let available = self.available();
        if available == 0 {
            return Ok(None);
        }
        if available < HEAD as u64 {
            return Err(Corrupt("a record ends before it begins"));
        }
        let word =
            |offset: u64| lane.data[lane.index(self.read.wrapping_add(offset))].load(Ordering::Relaxed);
        let head = Head::decode([word(0), word(1)]).ok_or(Corrupt("a record has no level, or no length"))?;
        if head.words() as u64 > available {
            return Err(Corrupt("a record is longer than what was published"));
        }
        Ok(Some(head))
    }

    /// Takes the record that [`Reader::head`] has found: puts its tag and message behind what is in `bytes`, with nothing between them.
    pub(crate) fn take(&mut self, lane: Lane<'_>, head: Head, bytes: &mut Vec<u8>) {
        let text = HEAD as u64 + head.tag().div_ceil(8) as u64;
        self.copy(lane, HEAD as u64, head.tag(), bytes);
        self.copy(lane, text, head.message(), bytes);
        self.read = self.read.wrapping_add(head.words() as u64);
    }

    /// Copies `len` bytes from `offset` words behind the position.
    fn copy(&self, lane: Lane<'_>, offset: u64, len: usize, into: &mut Vec<u8>) {
        let end = into.len() + len;
        let start = lane.index(self.read.wrapping_add(offset));
        let words = len.div_ceil(8);
        let first = words.min(lane.data.len() - start);
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes();
        into.reserve(8 * words);
        for word in lane.data[start..start + first].iter().chain(&lane.data[..words - first]) {
            into.extend_from_slice(&load(word));
        }
        into.truncate(end);
    }

    /// Takes all that was there at the last look, without looking at it.
    pub(crate) fn skip(&mut self) {
        self.read = self.end;
    }

    /// Lets the writer have the room of what was taken: it is safe.
    pub(crate) fn release(&mut self, lane: Lane<'_>) {
        if self.released != self.read {
            self.released = self.read;
            lane.control[READ].store(self.read, Ordering::Release);
        }
    }

    /// Back to what is safe: what was taken since is taken again.
    pub(crate) fn rewind(&mut self) {
        self.read = self.released;
    }
}
