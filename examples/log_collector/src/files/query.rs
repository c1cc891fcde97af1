//! Which records somebody wants to see.

use crate::Level;
use crate::record::Record;

/// Which records are wanted: those that fulfil all of it. The default is all records.
///
/// ```
/// use log_collector::{Level, Query};
///
/// let query = Query { level: Some(Level::Warn), search: Some("timeout".to_owned()), ..Query::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// This level, and more serious ones.
    pub level: Option<Level>,
    /// One of these tags; any, if there are none.
    pub tags: Vec<String>,
    /// The message has this text in it, letter for letter.
    pub search: Option<String>,
    /// Made by this process.
    pub process: Option<u32>,
    /// Made at that time or later, in nanoseconds since 1970.
    pub since: Option<u64>,
}

impl Query {
    /// Whether the record is wanted.
    #[must_use]
    pub fn wants(&self, record: &Record) -> bool {
        self.level.is_none_or(|level| record.level >= level)
            && self.since.is_none_or(|since| record.time >= since)
            && self.process.is_none_or(|process| record.process == process)
            && (self.tags.is_empty() || self.tags.iter().any(|tag| tag.as_bytes() == record.tag))
            && self.search.as_ref().is_none_or(|text| contains(&record.message, text.as_bytes()))
    }

    /// Whether any record of a frame with these levels, whose last record has that time, could be wanted.
    pub(super) fn wants_any(&self, levels: u32, last: u64) -> bool {
        self.since.is_none_or(|since| last >= since)
            && self.level.is_none_or(|level| levels >> (level as u32) != 0)
    }
}

fn contains(message: &[u8], text: &[u8]) -> bool {
    text.is_empty() || message.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let record = Record {
            time: 100,
            process: 5,
            thread: 6,
            level: Level::Warn,
            tag: b"net".to_vec(),
            message: b"no route".to_vec(),
        };
        let all = Query::default();
        assert!(all.wants(&record) && all.wants_any(0, 0));
        for (query, wanted) in [
            (Query { level: Some(Level::Warn), ..all.clone() }, true),
            (Query { level: Some(Level::Error), ..all.clone() }, false),
            (Query { tags: vec!["disk".to_owned(), "net".to_owned()], ..all.clone() }, true),
            (Query { tags: vec!["ne".to_owned()], ..all.clone() }, false),
            (Query { search: Some("rout".to_owned()), ..all.clone() }, true),
            (Query { search: Some("Rout".to_owned()), ..all.clone() }, false),
            (Query { search: Some("no route to host".to_owned()), ..all.clone() }, false),
            (Query { process: Some(5), ..all.clone() }, true),
            (Query { process: Some(6), ..all.clone() }, false),
            (Query { since: Some(100), ..all.clone() }, true),
            (Query { since: Some(101), ..all.clone() }, false),
        ] {
            assert_eq!(query.wants(&record), wanted, "{query:?}");
            // A frame is passed over only when nothing in it is wanted.
            assert!(!wanted || query.wants_any(1 << Level::Warn as u32, 100), "{query:?}");
        }
    }
}
