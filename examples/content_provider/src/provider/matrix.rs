//! Rows in memory of the provider, read once: what travels is then measured alone.

use super::failure::{Failure, Result};
use super::filler::RowSource;
use crate::{Refusal, Value, ValueRef};

/// Most rows that are read into memory.
const MOST_ROWS: usize = 10_000_000;

/// The rows of a result.
///
/// Stands for `android.database.MatrixCursor`.
pub(super) struct Matrix {
    columns: usize,
    values: Vec<Value>,
}

impl Matrix {
    /// Reads all rows. Texts that are not UTF-8 become blobs.
    pub(super) fn read(columns: usize, source: &mut impl RowSource) -> Result<Matrix> {
        let mut values = Vec::new();
        while source.advance()? {
            if values.len() >= MOST_ROWS * columns {
                return Err(Failure::new(Refusal::Resources, "too many rows for memory"));
            }
            for column in 0..columns {
                values.push(match source.value(column)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(integer) => Value::Integer(integer),
                    ValueRef::Real(real) => Value::Real(real),
                    ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                        Ok(text) => Value::Text(text.to_owned()),
                        Err(_) => Value::Blob(bytes.to_vec()),
                    },
                    ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                });
            }
        }
        Ok(Matrix { columns, values })
    }

    /// From before the first row on.
    pub(super) fn rows(&self) -> MatrixRows<'_> {
        MatrixRows { rows: self.values.chunks(self.columns.max(1)), row: &[] }
    }
}

pub(super) struct MatrixRows<'a> {
    rows: std::slice::Chunks<'a, Value>,
    row: &'a [Value],
}

impl RowSource for MatrixRows<'_> {
    fn advance(&mut self) -> Result<bool> {
        let next = self.rows.next();
        self.row = next.unwrap_or_default();
        Ok(next.is_some())
    }

    #[inline]
    fn value(&self, column: usize) -> Result<ValueRef<'_>> {
        Ok(self.row.get(column).map_or(ValueRef::Null, Value::as_ref))
    }
}
