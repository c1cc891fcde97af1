//! One row of a window.

use crate::value::{ValueRef, ValueType};
use crate::{Error, Result};

/// Length of the types, up to the first word.
fn words_start(columns: usize) -> usize {
    columns.next_multiple_of(8)
}

/// Length of what each record has.
pub(super) fn fixed_length(columns: usize) -> usize {
    words_start(columns) + 8 * columns
}

/// Builds one record after the other, in memory that it keeps.
///
/// ```
/// use content_provider::window::RecordBuilder;
/// use content_provider::ValueRef;
///
/// let mut record = RecordBuilder::new(2);
/// record.start();
/// record.push(ValueRef::Integer(7))?;
/// record.push(ValueRef::Text(b"seven"))?;
/// assert_eq!(record.bytes().len(), 8 + 2 * 8 + 5);
/// # Ok::<(), content_provider::Error>(())
/// ```
#[derive(Debug)]
pub struct RecordBuilder {
    columns: usize,
    /// Of the value that comes next.
    column: usize,
    bytes: Vec<u8>,
}

impl RecordBuilder {
    /// For rows of so many columns.
    #[must_use]
    pub fn new(columns: usize) -> RecordBuilder {
        RecordBuilder { columns, column: 0, bytes: vec![0; fixed_length(columns)] }
    }

    /// Begins with a row. Columns that get no value are null.
    pub fn start(&mut self) {
        self.column = 0;
        self.bytes.truncate(fixed_length(self.columns));
        self.bytes[..self.columns].fill(ValueType::Null as u8);
    }

    /// The next column's value.
    ///
    /// # Errors
    /// [`Error::NoColumn`] behind the last column. A record can be larger than a window takes; the window says so.
    #[inline]
    pub fn push(&mut self, value: ValueRef<'_>) -> Result<()> {
        let column = self.column;
        if column >= self.columns {
            return Err(Error::NoColumn { column, columns: self.columns });
        }
        let word = match value {
            ValueRef::Null => 0,
            ValueRef::Integer(integer) => integer as u64,
            ValueRef::Real(real) => real.to_bits(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                // Beyond 4 GiB it means nothing, and no window takes it.
                let place = self.bytes.len() as u64 & 0xffff_ffff | (bytes.len() as u64) << 32;
                self.bytes.extend_from_slice(bytes);
                place
            }
        };
        let start = words_start(self.columns) + 8 * column;
        self.bytes[column] = value.value_type() as u8;
        self.bytes[start..start + 8].copy_from_slice(&word.to_le_bytes());
        self.column += 1;
        Ok(())
    }

    /// The record.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }
}

/// A row that was copied out of a window. Nobody else can change it, and every access checks what is in it.
#[derive(Debug)]
pub struct Record {
    columns: usize,
    /// Kept for the next one; the record may be shorter.
    bytes: Vec<u8>,
    length: usize,
}

impl Record {
    /// For rows of so many columns; all null.
    #[must_use]
    pub fn new(columns: usize) -> Record {
        let length = fixed_length(columns);
        Record { columns, bytes: vec![0; length], length }
    }

    /// How many columns the row has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Memory for a record of this length, at least [`fixed_length`].
    pub(super) fn prepare(&mut self, length: usize) -> &mut [u8] {
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        } else if self.bytes.len() > (1 << 20) && length < (1 << 16) {
            // One large row is no reason to keep its memory.
            self.bytes = vec![0; length];
        }
        self.length = length;
        &mut self.bytes[..length]
    }

    /// The value in a column, counted from 0.
    ///
    /// # Errors
    /// [`Error::NoColumn`]; [`Error::DamagedWindow`] when the record is none.
    #[inline]
    pub fn get(&self, column: usize) -> Result<ValueRef<'_>> {
        if column >= self.columns {
            return Err(Error::NoColumn { column, columns: self.columns });
        }
        let bytes = &self.bytes[..self.length];
        let start = words_start(self.columns) + 8 * column;
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[start..start + 8]);
        let word = u64::from_le_bytes(word);
        let span = || {
            let (start, length) = ((word & 0xffff_ffff) as usize, (word >> 32) as usize);
            let span = bytes.get(start..).and_then(|rest| rest.get(..length));
            span.ok_or(Error::DamagedWindow { reason: "a text or blob is outside of its row" })
        };
        match bytes[column] {
            0 => Ok(ValueRef::Null),
            1 => Ok(ValueRef::Integer(word as i64)),
            2 => Ok(ValueRef::Real(f64::from_bits(word))),
            3 => Ok(ValueRef::Text(span()?)),
            4 => Ok(ValueRef::Blob(span()?)),
            _ => Err(Error::DamagedWindow { reason: "a value is of an unknown type" }),
        }
    }
}

const _: () = assert!(ValueType::Null as u8 == 0 && ValueType::Integer as u8 == 1);
const _: () = assert!(ValueType::Real as u8 == 2 && ValueType::Text as u8 == 3 && ValueType::Blob as u8 == 4);
