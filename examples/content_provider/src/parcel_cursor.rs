//! Rows of a result in Binder's parcels, without shared memory.

use ashmem_binder::rsbinder::{Parcel, SIBinder};

use crate::wire::{self, Received};
use crate::{Error, Result, Value, ValueRef};

/// Moves forwards over the rows of a result that travel through Binder's parcels, each value as an AIDL interface would write it. What
/// [`Cursor`](crate::Cursor) is measured against.
#[derive(Debug)]
pub struct ParcelCursor {
    binder: SIBinder,
    columns: usize,
    /// Bytes to ask for at a time.
    batch: u32,
    parcel: Option<Parcel>,
    row: Vec<Received>,
    position: u64,
    ended: bool,
    bytes: u64,
}

impl ParcelCursor {
    pub(crate) fn new(binder: SIBinder, columns: usize, batch: u32) -> ParcelCursor {
        ParcelCursor {
            binder,
            columns,
            batch,
            parcel: None,
            row: Vec::new(),
            position: 0,
            ended: false,
            bytes: 0,
        }
    }

    /// How many columns rows have.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of replies so far.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.bytes
    }

    /// To the next row; `false` behind the last one.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Dead`], [`Error::Binder`] for a parcel that is none.
    pub fn move_to_next(&mut self) -> Result<bool> {
        const OPERATION: &str = "fetch rows";
        self.row.clear();
        if self.ended {
            return Ok(false);
        }
        // An empty batch would go on for ever.
        for _ in 0..2 {
            let mut parcel = match self.parcel.take() {
                Some(parcel) => parcel,
                None => {
                    let (position, batch) = (self.position, self.batch);
                    let parcel = wire::call(&self.binder, wire::CURSOR, OPERATION, wire::ROWS, |request| {
                        request.write_u64(position)?;
                        request.write_u32(batch)
                    })?;
                    self.bytes += parcel.data_size() as u64;
                    parcel
                }
            };
            match parcel.read_i32().map_err(Error::binder(OPERATION))? {
                wire::ROW => {
                    for _ in 0..self.columns {
                        let value = wire::read_received(&mut parcel);
                        self.row.push(value.map_err(Error::binder(OPERATION))?);
                    }
                    self.parcel = Some(parcel);
                    self.position += 1;
                    return Ok(true);
                }
                wire::PAUSE => {}
                wire::END => {
                    self.ended = true;
                    return Ok(false);
                }
                _ => break,
            }
        }
        Err(Error::Garbage { operation: OPERATION, reason: "no row and no end" })
    }

    /// The value in a column of the row.
    ///
    /// # Errors
    /// [`Error::NoColumn`], also where there is no row.
    #[inline]
    pub fn value(&self, column: usize) -> Result<ValueRef<'_>> {
        match self.row.get(column) {
            Some(Received::Value(value)) => Ok(Value::as_ref(value)),
            Some(Received::RawText(bytes)) => Ok(ValueRef::Text(bytes)),
            None => Err(Error::NoColumn { column, columns: self.row.len() }),
        }
    }
}
