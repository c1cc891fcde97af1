//! What is in front of a record in a lane: two words.

use crate::Level;

/// The longest tag in bytes; longer ones are cut.
pub const TAG_MAX: usize = 127;
/// The longest message in bytes; longer ones are cut.
pub const MESSAGE_MAX: usize = 16 << 10;

/// Words of a head.
pub(crate) const HEAD: usize = 2;
/// Words of the longest record.
pub(crate) const RECORD_MAX: usize = HEAD + TAG_MAX.div_ceil(8) + MESSAGE_MAX.div_ceil(8);

const _: () = assert!(TAG_MAX <= u8::MAX as usize && MESSAGE_MAX <= u16::MAX as usize);

/// A record but for its bytes.
///
/// ```text
///   word 0   nanoseconds since 1970
///   word 1   bits 0-15 length of the message | 16-23 of the tag | 24-31 level | 32-63 thread
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    time: u64,
    word: u64,
}

impl Head {
    /// `None` when a length is beyond what fits.
    #[inline]
    pub(crate) fn new(time: u64, thread: u32, level: Level, tag: usize, message: usize) -> Option<Head> {
        if tag > TAG_MAX || message > MESSAGE_MAX {
            return None;
        }
        let lengths = message as u64 | (tag as u64) << 16;
        Some(Head { time, word: lengths | (level as u64) << 24 | u64::from(thread) << 32 })
    }

    #[inline]
    pub(crate) fn time(self) -> u64 {
        self.time
    }

    #[inline]
    pub(crate) fn thread(self) -> u32 {
        (self.word >> 32) as u32
    }

    #[inline]
    fn level_number(self) -> u8 {
        (self.word >> 24) as u8
    }

    /// The level; every head has one.
    #[inline]
    pub(crate) fn level(self) -> Level {
        Level::from_number(self.level_number()).unwrap_or(Level::Verbose)
    }

    /// Length of the tag in bytes.
    #[inline]
    pub(crate) fn tag(self) -> usize {
        usize::from((self.word >> 16) as u8)
    }

    /// Length of the message in bytes.
    #[inline]
    pub(crate) fn message(self) -> usize {
        usize::from(self.word as u16)
    }

    /// Words of the whole record. Tag and message each begin with a word.
    #[inline]
    pub(crate) fn words(self) -> usize {
        HEAD + self.tag().div_ceil(8) + self.message().div_ceil(8)
    }

    #[inline]
    pub(crate) fn encode(self) -> [u64; HEAD] {
        [self.time, self.word]
    }

    /// `None` for words that no writer makes.
    #[inline]
    pub(crate) fn decode([time, word]: [u64; HEAD]) -> Option<Head> {
        let head = Head { time, word };
        let fits = head.tag() <= TAG_MAX && head.message() <= MESSAGE_MAX;
        Level::from_number(head.level_number()).filter(|_| fits).map(|_| head)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_come_back(time: u64, thread: u32, tag in 0..=TAG_MAX, message in 0..=MESSAGE_MAX, level in 0..6_usize) {
            let head = Head::new(time, thread, Level::ALL[level], tag, message).unwrap();
            prop_assert_eq!(Head::decode(head.encode()), Some(head));
            prop_assert!(head.words() <= RECORD_MAX);
        }

        #[test]
        fn any_words_are_a_head_that_fits_or_none(words: [u64; 2]) {
            if let Some(head) = Head::decode(words) {
                prop_assert_eq!(head.encode(), words);
                prop_assert!(head.words() <= RECORD_MAX);
            }
        }
    }

    #[test]
    fn what_is_too_long_has_no_head() {
        assert!(Head::new(0, 0, Level::Info, TAG_MAX + 1, 0).is_none());
        assert!(Head::new(0, 0, Level::Info, 0, MESSAGE_MAX + 1).is_none());
    }
}
