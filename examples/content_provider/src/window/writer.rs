//! The provider's side of a window.

use ashmem::Mapping;

use super::{ENTRY, HEADER, LARGEST, LAST, MAGIC, RecordBuilder, VERSION};
use crate::{Error, Result};

const OPERATION: &str = "write cursor window";

/// Writes rows into a window, one behind the other.
///
/// Stands for the writing half of `android.database.CursorWindow`.
#[derive(Debug)]
pub struct WindowWriter<'a> {
    mapping: &'a Mapping,
    columns: usize,
    first: u64,
    size: u32,
    /// Where each record starts.
    starts: Vec<u32>,
    /// Where the next record starts.
    end: u32,
}

impl<'a> WindowWriter<'a> {
    /// Begins with a window whose first row is at this position of the result. Until it is
    /// [finished](WindowWriter::finish), what is in the memory is no window.
    ///
    /// # Errors
    /// [`Error::Memory`]: the mapping is not writable, or too small for anything.
    pub fn start(mapping: &'a Mapping, columns: usize, first: u64) -> Result<WindowWriter<'a>> {
        mapping.write_at(0, &[0; HEADER as usize]).map_err(Error::memory(OPERATION))?;
        let size = u32::try_from(mapping.len()).unwrap_or(LARGEST).min(LARGEST);
        Ok(WindowWriter { mapping, columns, first, size, starts: Vec::new(), end: HEADER })
    }

    /// Bytes that are in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.end + ENTRY * (self.rows() + 1)
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.starts.len() as u32
    }

    /// Adds a row; `false` when there is no room for it.
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Mapping::write_at`].
    #[inline]
    pub fn push(&mut self, record: &RecordBuilder) -> Result<bool> {
        debug_assert_eq!(record.columns(), self.columns);
        let bytes = record.bytes();
        // The directory has an entry more than there are rows, and this row is one more.
        let room = (self.size - self.end.min(self.size)) as usize;
        let directory = ENTRY as usize * (self.starts.len() + 2);
        if bytes.len() > room || room - bytes.len() < directory {
            return Ok(false);
        }
        self.mapping.write_at(self.end.into(), bytes).map_err(Error::memory(OPERATION))?;
        self.starts.push(self.end);
        // No truncation: it fits into the window.
        self.end += bytes.len() as u32;
        Ok(true)
    }

    /// Makes it a window. `last`: the result ends with it.
    ///
    /// # Errors
    /// [`Error::Memory`] as [`Mapping::write_at`].
    pub fn finish(self, last: bool) -> Result<()> {
        let entries = self.starts.iter().chain([&self.end]).rev();
        let directory: Vec<u8> = entries.flat_map(|entry| entry.to_le_bytes()).collect();
        let place = u64::from(self.size) - directory.len() as u64;
        self.mapping.write_at(place, &directory).map_err(Error::memory(OPERATION))?;
        let mut header = [0; HEADER as usize];
        let flags = if last { LAST } else { 0 };
        for (index, word) in [MAGIC, VERSION, self.columns as u32, self.rows()].into_iter().enumerate() {
            header[4 * index..][..4].copy_from_slice(&word.to_le_bytes());
        }
        header[16..24].copy_from_slice(&self.first.to_le_bytes());
        header[24..28].copy_from_slice(&flags.to_le_bytes());
        self.mapping.write_at(0, &header).map_err(Error::memory(OPERATION))
    }
}
