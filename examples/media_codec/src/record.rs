//! What a queue's records say.

use crate::queue::RECORD;

bitflags::bitflags! {
    /// Of a buffer (`MediaCodec.BufferInfo.flags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BufferFlags: u32 {
        /// The last one of the stream (`BUFFER_FLAG_END_OF_STREAM`). It may be empty.
        const END_OF_STREAM = 4;
    }
}

/// Of an output buffer that holds why the stream cannot be decoded, as text.
pub(crate) const FAILURE: u32 = 1 << 31;

/// A buffer that is handed over. Every value of every field may come from a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub index: u32,
    /// Bytes that the buffer holds.
    pub length: u32,
    pub flags: u32,
    /// Presentation time in microseconds.
    pub time: i64,
    /// Of an output buffer's contents.
    pub format: [u32; 3],
}

impl Record {
    /// One that only gives a buffer back.
    pub fn of(index: usize) -> Record {
        Record { index: index as u32, ..Record::default() }
    }

    pub fn to_words(self) -> [u32; RECORD] {
        let [first, second, third] = self.format;
        let (low, high) = (self.time as u32, (self.time >> 32) as u32);
        [self.index, self.length, self.flags, low, high, first, second, third]
    }

    pub fn from_words([index, length, flags, low, high, first, second, third]: [u32; RECORD]) -> Record {
        let time = (u64::from(high) << 32 | u64::from(low)) as i64;
        Record { index, length, flags, time, format: [first, second, third] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_come_back(words in any::<[u32; RECORD]>()) {
            prop_assert_eq!(Record::from_words(words).to_words(), words);
        }
    }
}
