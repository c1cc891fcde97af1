//! Reading the log, also while it is written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Query;
use super::frame::{Found, find};
use super::segment;
use crate::record::Record;
use crate::{Error, Result};

/// Reads the records of a log, in the order of its files; also while a collector writes it.
///
/// See [`Logger`](crate::Logger) for an example.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
    query: Query,
    /// The segment that is being read.
    segment: Option<Segment>,
    /// The number of the last segment that was begun.
    number: u64,
}

/// Where no segment has anything.
const BEHIND: u64 = u64::MAX / 2;

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    offset: u64,
}

impl LogReader {
    /// Begins at the oldest record.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such directory.
    pub fn open(directory: impl AsRef<Path>, query: Query) -> Result<LogReader> {
        let directory = directory.as_ref().to_owned();
        segment::list(&directory)?;
        Ok(LogReader { directory, query, segment: None, number: 0 })
    }

    /// The wanted records of the next frame that has any; `None` at the end of what there is by now. Later calls go on from there.
    ///
    /// Records are in the order of their times, but for those of threads that were held up between making and publishing one. The records of a
    /// thread are always in its order.
    ///
    /// # Errors
    /// [`Error::Damaged`]: the next call goes on behind the damage. [`Error::File`].
    pub fn next_records(&mut self) -> Result<Option<Vec<Record>>> {
        loop {
            // Before the end is looked for: what is in front of a segment that is there by now is complete.
            let next = self.next_segment()?;
            if let Some(segment) = &mut self.segment {
                match segment.next(&self.query, next.is_some()) {
                    Ok(Some(records)) if records.is_empty() => continue,
                    Ok(Some(records)) => return Ok(Some(records)),
                    Ok(None) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(number) = next else { return Ok(None) };
            self.number = number;
            let path = segment::path(&self.directory, number);
            self.segment = match segment::open(&path, false) {
                Ok(file) => Some(Segment { file, path, offset: 0 }),
                // It was the oldest, and is gone.
                Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    self.segment = None;
                    return Err(error);
                }
            };
        }
    }

    fn next_segment(&self) -> Result<Option<u64>> {
        let numbers = segment::list(&self.directory)?;
        Ok(numbers.into_iter().find(|number| *number > self.number))
    }
}

impl Segment {
    /// The wanted records of the next frame, possibly none; `None` at the end.
    fn next(&mut self, query: &Query, is_complete: bool) -> Result<Option<Vec<Record>>> {
        let start = self.offset;
        let failed = |error| Error::file("read", &self.path)(error);
        let damaged = |reason| Error::Damaged { path: self.path.clone(), offset: start, reason };
        let found = find(&self.file, start).map_err(failed)?;
        match found {
            Found::End => Ok(None),
            Found::Frame(header) => {
                self.offset += header.len;
                if !query.wants_any(header.levels, header.last) {
                    return Ok(Some(Vec::new()));
                }
                let records = header.records(&self.file, start).map_err(failed)?;
                let mut records = records.map_err(damaged)?;
                records.retain(|record| query.wants(record));
                Ok(Some(records))
            }
            // The last one is being written, or will be cut off.
            Found::Torn if !is_complete => Ok(None),
            Found::Torn => {
                self.offset = BEHIND;
                Err(damaged("the file ends in a frame"))
            }
            // Where the next frame begins is not known.
            Found::Damaged(reason) => {
                self.offset = BEHIND;
                Err(damaged(reason))
            }
        }
    }
}
