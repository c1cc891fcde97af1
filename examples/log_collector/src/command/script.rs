//! What workers log, and whether that is what the log says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use log_collector::{Level, LogReader, Query, Record};

/// Threads of a worker at most; each has a count in the region.
pub const THREADS_MAX: u64 = 64;
/// Bytes of the region.
pub const COUNTS: u64 = 4096;

/// Where the count of a thread is.
pub fn count_at(thread: u64) -> u64 {
    thread * 64
}

/// The tag of a thread of a worker.
pub fn tag(thread: u64) -> String {
    format!("worker{thread}")
}

/// The level of a record.
pub fn level(number: u64) -> Level {
    Level::ALL[(number % 5) as usize]
}

/// The message of a record, into a buffer that is used again: of various lengths, 95 bytes in most cases.
pub fn message(number: u64, into: &mut String) {
    into.clear();
    let digest = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let verb = ["opened", "closed", "sent", "received"][(digest % 4) as usize];
    let _ = write!(into, "record {number}: {verb} {} bytes on connection {:x}", digest >> 44, digest >> 56);
    let len = if number % 8 == 7 { (digest % 400) as usize } else { 95 };
    while into.len() < len {
        into.push_str(" for peer");
    }
}

/// The records of workers in a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// For each process and thread, how many there are: all from the first on, in their order, each once, each to the byte.
    pub counts: BTreeMap<(u32, String), u64>,
    /// The first one that is not as it should be.
    pub wrong: Option<String>,
    /// Bytes of their tags and messages.
    pub bytes: u64,
    /// Records of others: of the collector.
    pub others: Vec<Record>,
}

impl Tally {
    /// Reads a whole log.
    pub fn read(directory: &Path) -> log_collector::Result<Tally> {
        let mut reader = LogReader::open(directory, Query::default())?;
        let mut tally = Tally::default();
        let mut expected = String::new();
        while let Some(records) = reader.next_records()? {
            for record in records {
                let tag = String::from_utf8_lossy(&record.tag).into_owned();
                if !tag.starts_with("worker") {
                    tally.others.push(record);
                    continue;
                }
                let count = tally.counts.entry((record.process, tag)).or_default();
                message(*count, &mut expected);
                let is_right = record.message == expected.as_bytes() && record.level == level(*count);
                if !is_right && tally.wrong.is_none() {
                    tally.wrong = Some(format!("{record}, not record {count}"));
                }
                *count += 1;
                tally.bytes += (record.tag.len() + record.message.len()) as u64;
            }
        }
        Ok(tally)
    }

    /// How many records of a thread of a worker there are.
    pub fn count(&self, process: u32, thread: u64) -> u64 {
        self.counts.get(&(process, tag(thread))).copied().unwrap_or(0)
    }
}
