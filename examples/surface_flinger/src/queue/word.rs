//! A slot's word as a value.

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody; its pixels are those of the frame it had last.
    Free,
    /// The producer draws in it.
    Dequeued,
    /// It waits for the consumer.
    Queued,
    /// The consumer shows it.
    Acquired,
}

/// State and frame of a slot. Every word is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// The frame that is in it, or was last; 0 before the first one. 62 bits: no producer gets to the end of them.
    pub(crate) frame: u64,
}

impl Slot {
    pub(crate) const fn new(state: State, frame: u64) -> Slot {
        Slot { state, frame }
    }

    pub(crate) const fn from_word(word: u64) -> Slot {
        let state = match word & 3 {
            0 => State::Free,
            1 => State::Dequeued,
            2 => State::Queued,
            _ => State::Acquired,
        };
        Slot { state, frame: word >> 2 }
    }

    pub(crate) const fn word(self) -> u64 {
        self.frame << 2 | self.state as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_word_is_a_slot(word: u64) {
            prop_assert_eq!(Slot::from_word(word).word(), word);
        }
    }

    #[test]
    fn a_region_starts_with_free_slots() {
        assert_eq!(Slot::from_word(0), Slot::new(State::Free, 0));
    }
}
