//! The end that writes.

use super::head::HEAD;
use super::{Corrupt, Head, Lane, OUT_OF_RANGE, READ, WRITE};
use crate::sync::{AtomicU64, Ordering};

/// Where the owner of a lane is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    write: u64,
    /// As it was when last looked at; the reader may have moved on.
    read: u64,
}

impl Writer {
    /// Goes on where the last owner was; by who has just claimed the lane.
    pub(crate) fn new(lane: &Lane<'_>) -> Result<Writer, Corrupt> {
        let write = lane.control[WRITE].load(Ordering::Relaxed);
        let mut writer = Writer { write, read: write };
        writer.look(lane)?;
        Ok(writer)
    }

    /// Takes note of what the reader has read.
    pub(crate) fn look(&mut self, lane: &Lane<'_>) -> Result<(), Corrupt> {
        // What the reader has copied out before is not overwritten before.
        let read = lane.control[READ].load(Ordering::Acquire);
        if self.write.wrapping_sub(read) > lane.words() {
            return Err(OUT_OF_RANGE);
        }
        self.read = read;
        Ok(())
    }

    /// Where the reader was at the last look.
    pub(crate) fn seen(&self) -> u64 {
        self.read
    }

    /// Words that are not known to be read.
    #[inline]
    pub(crate) fn used(&self) -> u64 {
        self.write.wrapping_sub(self.read)
    }

    /// Whether the lane is known to have room for so many words.
    #[inline]
    pub(crate) fn has_room(&self, lane: &Lane<'_>, words: usize) -> bool {
        lane.words().saturating_sub(self.used()) >= words as u64
    }

    /// Writes a record, and publishes it. The caller has seen that there is room, and made the head of these bytes.
    #[inline(always)]
    pub(crate) fn put(&mut self, lane: &Lane<'_>, head: Head, tag: &[u8], message: &[u8]) {
        let words = head.words();
        let start = lane.index(self.write);
        if let Some(record) = lane.data.get(start..start + words) {
            let (first, rest) = record.split_at(HEAD);
            let (name, text) = rest.split_at(tag.len().div_ceil(8).min(rest.len()));
            for (word, value) in first.iter().zip(head.encode()) {
                word.store(value, Ordering::Relaxed);
            }
            match name {
                // Most tags are that short.
                [word] => word.store(last_word(tag), Ordering::Relaxed),
                words => store(words, tag),
            }
            if !lane.put_bytes(start + words - text.len(), message) {
                store(text, message);
            }
        } else {
            self.put_around(lane, head, tag, message);
        }
        self.write = self.write.wrapping_add(words as u64);
        lane.control[WRITE].store(self.write, Ordering::Release);
    }

    /// The same for a record that goes round the end of the data.
    #[cold]
    fn put_around(&self, lane: &Lane<'_>, head: Head, tag: &[u8], message: &[u8]) {
        let bytes = tag.chunks(8).chain(message.chunks(8)).map(last_word);
        for (place, value) in (self.write..).zip(head.encode().into_iter().chain(bytes)) {
            lane.data[lane.index(place)].store(value, Ordering::Relaxed);
        }
    }
}

/// Stores bytes in as many words as they take.
#[inline]
fn store(words: &[AtomicU64], bytes: &[u8]) {
    let chunks = bytes.chunks_exact(8);
    let rest = chunks.remainder();
    for (word, chunk) in words.iter().zip(chunks) {
        let mut value = [0; 8];
        value.copy_from_slice(chunk);
        word.store(u64::from_le_bytes(value), Ordering::Relaxed);
    }
    if let ([_, ..], Some(word)) = (rest, words.get(bytes.len() / 8)) {
        // The last eight bytes, without those that the word before has: one load instead of a copy of any length.
        let value = match bytes.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
            None => last_word(rest),
        };
        word.store(value, Ordering::Relaxed);
    }
}

/// At most eight bytes as a word, zeros behind them.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two may overlap, in the same bytes.
        (Some(first), Some(last)) if bytes.len() <= 8 => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
