//! What the mixer says about a track, as one word.

use std::fmt;

/// What a track is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It makes no sound: it was not started, or what was written before it was stopped has been played.
    Stopped,
    /// Its sound is mixed.
    Active,
    /// It keeps its place, and makes no sound.
    Paused,
    /// It was stopped, and plays what was written before.
    Stopping,
    /// It makes no sound any more, for it wrote what makes no sense.
    Broken(Fault),
}

/// What a client wrote into the control block that ended its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A position with more frames than the track has room for, or with fewer than none.
    PositionOutOfRange,
    /// A position behind one that it had before.
    PositionWentBack,
    /// The track's sound cannot be read or resampled.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Fault::PositionOutOfRange => "the client's position is out of range",
            Fault::PositionWentBack => "the client's position went back",
            Fault::Unreadable => "its sound cannot be read",
        })
    }
}

impl State {
    const ALL: [State; 7] = [
        State::Stopped,
        State::Active,
        State::Paused,
        State::Stopping,
        State::Broken(Fault::PositionOutOfRange),
        State::Broken(Fault::PositionWentBack),
        State::Broken(Fault::Unreadable),
    ];

    /// As a word of the control block.
    pub(crate) fn to_word(self) -> u32 {
        match self {
            State::Stopped => 0,
            State::Active => 1,
            State::Paused => 2,
            State::Stopping => 3,
            State::Broken(Fault::PositionOutOfRange) => 4,
            State::Broken(Fault::PositionWentBack) => 5,
            State::Broken(Fault::Unreadable) => 6,
        }
    }

    /// What a word of the control block says, if anything.
    pub(crate) fn from_word(word: u32) -> Option<State> {
        State::ALL.into_iter().find(|state| state.to_word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_from_their_words_and_other_words_are_none() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.to_word()), Some(state));
        }
        for word in [7, 8, 255, u32::MAX] {
            assert_eq!(State::from_word(word), None);
        }
    }
}
