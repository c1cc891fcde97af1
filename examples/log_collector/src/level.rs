//! How serious a record is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How serious a record is: Android's log priorities, with their numbers and letters (`android/log.h`).
///
/// ```
/// use log_collector::Level;
///
/// assert!(Level::Warn > Level::Info);
/// assert_eq!("W".parse(), Ok(Level::Warn));
/// assert_eq!(Level::Warn.to_string(), "W");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For who is looking for something just there.
    Verbose = 2,
    /// For who develops the program.
    Debug = 3,
    /// What happens in the normal course.
    Info = 4,
    /// Something is odd, and the work goes on.
    Warn = 5,
    /// Something failed.
    Error = 6,
    /// The program cannot go on.
    Fatal = 7,
}

impl Level {
    /// All levels, the least serious first.
    pub const ALL: [Level; 6] =
        [Level::Verbose, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

    /// The letter that stands for the level in text.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Level::Verbose => 'V',
            Level::Debug => 'D',
            Level::Info => 'I',
            Level::Warn => 'W',
            Level::Error => 'E',
            Level::Fatal => 'F',
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Level> {
        Level::ALL.into_iter().find(|level| *level as u8 == number)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// That a text is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is one of V, D, I, W, E and F")]
pub struct UnknownLevel;

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Level, UnknownLevel> {
        let is_it = |level: &Level| text.eq_ignore_ascii_case(level.letter().encode_utf8(&mut [0; 4]));
        Level::ALL.into_iter().find(is_it).ok_or(UnknownLevel)
    }
}
