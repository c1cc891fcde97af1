//! The client's side of a window.

use std::ops::Range;

use ashmem::Mapping;

use super::record::fixed_length;
use super::{ENTRY, HEADER, LARGEST, LARGEST_RECORD, LAST, MAGIC, Record, VERSION};
use crate::{Error, Result};

const OPERATION: &str = "read cursor window";

/// Reads rows out of a window, in any order. Header and directory are read once, when it is opened.
///
/// Stands for the reading half of `android.database.CursorWindow`.
///
/// ```
/// use content_provider::ValueRef;
/// use content_provider::window::{Record, RecordBuilder, WindowReader, WindowWriter};
///
/// let region = ashmem::Region::create("window", 4096)?;
/// let mapping = region.map()?;
/// let mut row = RecordBuilder::new(1);
/// row.start();
/// row.push(ValueRef::Text(b"first"))?;
/// let mut writer = WindowWriter::start(&mapping, 1, 0)?;
/// assert!(writer.push(&row)?);
/// writer.finish(true)?;
///
/// let received = region.map_read_only()?; // in another process
/// let reader = WindowReader::open(&received, 1)?;
/// let mut record = Record::new(1);
/// reader.read(&received, 0, &mut record)?;
/// assert_eq!(record.get(0)?, ValueRef::Text(b"first"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WindowReader {
    rows: Range<u64>,
    /// Where the directory starts.
    end: u32,
    /// A copy of the directory, as it is there: backwards.
    directory: Vec<u8>,
    columns: usize,
    last: bool,
}

impl WindowReader {
    /// What a mapping has, if that is a window of rows with so many columns.
    ///
    /// # Errors
    /// [`Error::DamagedWindow`]; [`Error::Memory`] as [`Mapping::read_at`].
    pub fn open(mapping: &Mapping, columns: usize) -> Result<WindowReader> {
        let damaged = |reason| Err(Error::DamagedWindow { reason });
        // Behind the largest size there is nothing that an offset could mean.
        let size = u32::try_from(mapping.len()).unwrap_or(LARGEST).min(LARGEST);
        if size < HEADER + 2 * ENTRY {
            return damaged("it is too small");
        }
        let mut header = [0; HEADER as usize];
        mapping.read_at(0, &mut header).map_err(Error::memory(OPERATION))?;
        let word = |offset: usize| {
            u32::from_le_bytes([header[offset], header[offset + 1], header[offset + 2], header[offset + 3]])
        };
        if word(0) != MAGIC {
            return damaged("it has not the header of one");
        }
        if word(4) != VERSION {
            return damaged("it is of another version");
        }
        if word(8) as usize != columns {
            return damaged("it has another number of columns");
        }
        let rows = word(12);
        let least = u64::from(rows) * (fixed_length(columns) as u64 + u64::from(ENTRY));
        if rows == 0 || least + u64::from(HEADER + ENTRY) > u64::from(size) {
            return damaged("it cannot have that number of rows");
        }
        let first = u64::from(word(16)) | u64::from(word(20)) << 32;
        // Positions are signed in Binder and in SQLite.
        if first > i64::MAX as u64 - u64::from(rows) {
            return damaged("its first row is beyond all rows");
        }
        let length = ENTRY * (rows + 1);
        let end = size - length;
        let directory = mapping.read_vec(end.into(), length.into()).map_err(Error::memory(OPERATION))?;
        Ok(WindowReader {
            rows: first..first + u64::from(rows),
            end,
            directory,
            columns,
            last: word(24) & LAST != 0,
        })
    }

    /// The positions in the result of the rows that are there; at least one.
    #[must_use]
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    /// Whether the result ends with this window.
    #[must_use]
    pub fn has_last_row(&self) -> bool {
        self.last
    }

    /// Copies the row at a position out of the mapping that it was opened with.
    ///
    /// # Errors
    /// [`Error::NoRow`] for a position that is not in the window; [`Error::DamagedWindow`]; [`Error::Memory`] as
    /// [`Mapping::read_at`].
    #[inline]
    pub fn read(&self, mapping: &Mapping, position: u64, record: &mut Record) -> Result<()> {
        if !self.rows.contains(&position) || record.columns() != self.columns {
            return Err(Error::NoRow);
        }
        // The entry behind the row's own, then that: both are there, as the position is.
        let place = ENTRY as usize * (self.rows.end - position - 1) as usize;
        let mut entries = [0; 8];
        entries.copy_from_slice(&self.directory[place..place + 8]);
        let entries = u64::from_le_bytes(entries);
        let (start, end) = ((entries >> 32) as u32, entries as u32);
        if start < HEADER || end < start || end > self.end {
            return Err(Error::DamagedWindow { reason: "a row is outside of it" });
        }
        let length = end - start;
        if (length as usize) < fixed_length(self.columns) || length > LARGEST_RECORD {
            return Err(Error::DamagedWindow { reason: "a row is too short or too long" });
        }
        let into = record.prepare(length as usize);
        mapping.read_at(start.into(), into).map_err(Error::memory(OPERATION))
    }
}
