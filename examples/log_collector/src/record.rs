//! A record as it is in files, and as text.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::Level;

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was made, in nanoseconds since 1970.
    pub time: u64,
    /// The process that made it; 0 where it has no number in the collector's PID namespace.
    pub process: u32,
    /// The thread that made it, by its own account.
    pub thread: u32,
    /// How serious it is.
    pub level: Level,
    /// What it belongs to: any bytes, UTF-8 as a rule.
    pub tag: Vec<u8>,
    /// What happened: any bytes, UTF-8 as a rule.
    pub message: Vec<u8>,
}

/// The latest time that text can say: the end of the year 9999.
const LATEST: u64 = 253_402_300_799;

/// A time as text, in UTC, to the microsecond.
fn timestamp(time: u64) -> impl fmt::Display {
    let since = Duration::from_nanos(time).min(Duration::from_secs(LATEST));
    humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + since)
}

/// The record as text in the form of `logcat -v threadtime`: time (UTC), process, thread, level, tag and message. Each line of a message has
/// all of them. Control characters are escaped, so nothing in a log does anything to a terminal.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, message) = (String::from_utf8_lossy(&self.tag), String::from_utf8_lossy(&self.message));
        let time = timestamp(self.time).to_string();
        let time = time.trim_end_matches('Z').replace('T', " ");
        for (number, line) in message.trim_end_matches('\n').split('\n').enumerate() {
            if number > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{time} {:5} {:5} {} ", self.process, self.thread, self.level)?;
            escape(f, &tag)?;
            f.write_str(": ")?;
            escape(f, line)?;
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if character.is_control() && character != '\t' || is_direction(character) {
            write!(f, "{}", character.escape_unicode())?;
        } else {
            f.write_char(character)?;
        }
    }
    Ok(())
}

/// Whether a character turns the direction of the text behind it, so that a line reads as what it is not.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Record {
    /// The record as one line of JSON. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            nanoseconds: u64,
            process: u32,
            thread: u32,
            level: Level,
            tag: &'a str,
            message: &'a str,
        }
        let line = Line {
            time: timestamp(self.time).to_string(),
            nanoseconds: self.time,
            process: self.process,
            thread: self.thread,
            level: self.level,
            tag: &String::from_utf8_lossy(&self.tag),
            message: &String::from_utf8_lossy(&self.message),
        };
        // Numbers and text always are JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &[u8]) -> Record {
        Record {
            time: 1_700_000_000_123_456_789,
            process: 12,
            thread: 1234,
            level: Level::Warn,
            tag: b"net".to_vec(),
            message: message.to_vec(),
        }
    }

    #[test]
    fn text_is_what_logcat_s_readers_know() {
        assert_eq!(
            record(b"two\nlines\n").to_string(),
            "2023-11-14 22:13:20.123456    12  1234 W net: two\n2023-11-14 22:13:20.123456    12  1234 W net: lines"
        );
        assert_eq!(record(b"").to_string(), "2023-11-14 22:13:20.123456    12  1234 W net: ");
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        let text = record("\x1b[2J\x07\u{202e}\u{9b}\u{ff}".as_bytes()).to_string();
        assert!(text.ends_with("net: \\u{1b}[2J\\u{7}\\u{202e}\\u{9b}\u{ff}"), "{text}");
        let text = record(b"\xff").to_string();
        assert!(text.ends_with("net: \u{fffd}"), "{text}");
    }

    #[test]
    fn any_time_has_a_text() {
        for time in [0, 1, u64::MAX] {
            let record = Record { time, ..record(b"x") };
            assert!(record.to_string().contains(" net: x"));
            let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
            assert_eq!((&json["nanoseconds"], &json["level"]), (&time.into(), &"warn".into()));
        }
    }
}
