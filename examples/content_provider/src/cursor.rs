//! Rows of a result, one at a time.

use std::ops::Range;

use ashmem::{Import, Imports};
use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::SIBinder;

use crate::value::{ValueRef, ValueType};
use crate::window::{Record, WindowReader};
use crate::{Error, Result, wire};

/// A provider writes two windows in turn.
const WINDOWS: usize = 2;

/// Moves over the rows of a result. The provider is asked only for a window that this has not.
///
/// A window is shared memory that the provider writes and this process can only read. The row that the cursor is at is a copy of its
/// own, so what was checked stays as it was, and values are read without any allocation. Columns count from 0.
///
/// Forwards each window is asked for once. Backwards, the provider runs the query again up to there, in the same snapshot.
///
/// Stands for `android.database.Cursor`. Dropping it is `Cursor.close`: the provider lets the snapshot go.
#[derive(Debug)]
pub struct Cursor {
    binder: SIBinder,
    columns: Vec<String>,
    imports: Imports,
    window: Option<Window>,
    place: Place,
    row: Record,
    /// The number of rows, once it is known.
    count: Option<u64>,
    windows_received: u64,
    bytes_received: u64,
}

#[derive(Debug)]
struct Window {
    import: Import,
    reader: WindowReader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    /// `row` has it.
    At(u64),
    /// Behind the last row, which may not be known.
    AfterLast,
}

impl Cursor {
    pub(crate) fn new(binder: SIBinder, columns: Vec<String>) -> Cursor {
        let row = Record::new(columns.len());
        let imports = Imports::new(WINDOWS);
        let place = Place::BeforeFirst;
        Cursor {
            binder,
            columns,
            imports,
            window: None,
            place,
            row,
            count: None,
            windows_received: 0,
            bytes_received: 0,
        }
    }

    /// The names of the columns (`Cursor.getColumnNames`).
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The number of a column (`Cursor.getColumnIndex`); case does not matter.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// The number of rows. The provider counts them, once (`Cursor.getCount`).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Dead`].
    pub fn count(&mut self) -> Result<u64> {
        const OPERATION: &str = "count rows";
        if let Some(count) = self.count {
            return Ok(count);
        }
        let mut reply = wire::call(&self.binder, wire::CURSOR, OPERATION, wire::COUNT, |_| Ok(()))?;
        let count = reply.read_u64().map_err(Error::binder(OPERATION))?;
        self.count = Some(count);
        Ok(count)
    }

    /// The position of the row that this is at (`Cursor.getPosition`).
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        match self.place {
            Place::At(position) => Some(position),
            _ => None,
        }
    }

    /// The positions of the rows that can be moved to without asking the provider.
    #[must_use]
    pub fn window(&self) -> Range<u64> {
        self.window.as_ref().map_or(0..0, |window| window.reader.rows())
    }

    /// How many windows came so far.
    #[must_use]
    pub fn windows_received(&self) -> u64 {
        self.windows_received
    }

    /// Bytes of Binder's replies so far.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// To the next row; `false` behind the last one (`Cursor.moveToNext`).
    ///
    /// # Errors
    /// As [`move_to`](Cursor::move_to).
    #[inline]
    pub fn move_to_next(&mut self) -> Result<bool> {
        match self.place {
            Place::BeforeFirst => self.move_to(0),
            Place::At(position) => self.move_to(position + 1),
            Place::AfterLast => Ok(false),
        }
    }

    /// To the row before; `false` before the first one (`Cursor.moveToPrevious`).
    ///
    /// # Errors
    /// As [`move_to`](Cursor::move_to).
    pub fn move_to_previous(&mut self) -> Result<bool> {
        match self.place {
            Place::BeforeFirst => Ok(false),
            Place::At(0) => {
                self.place = Place::BeforeFirst;
                Ok(false)
            }
            Place::At(position) => self.move_to(position - 1),
            Place::AfterLast => self.move_to_last(),
        }
    }

    /// To the last row; `false` if there are none (`Cursor.moveToLast`).
    ///
    /// # Errors
    /// As [`move_to`](Cursor::move_to).
    pub fn move_to_last(&mut self) -> Result<bool> {
        match self.count()?.checked_sub(1) {
            Some(last) => self.move_to(last),
            None => Ok(false),
        }
    }

    /// Before the first row, where it is at the beginning.
    pub fn move_to_start(&mut self) {
        self.place = Place::BeforeFirst;
    }

    /// To a row by its position, counted from 0; `false` and behind the last row if there is none
    /// (`Cursor.moveToPosition`).
    ///
    /// # Errors
    /// [`Error::Refused`]: an SQL error, or it took too long; [`Error::Dead`]; [`Error::DamagedWindow`]. The cursor is at no row then, and
    /// can be moved again.
    #[inline]
    pub fn move_to(&mut self, position: u64) -> Result<bool> {
        if let Some(window) = &self.window {
            if window.reader.rows().contains(&position) {
                self.place = Place::BeforeFirst;
                window.reader.read(&window.import, position, &mut self.row)?;
                self.place = Place::At(position);
                return Ok(true);
            }
        }
        self.fetch(position)
    }

    /// Moves to a row that is not in the window.
    #[cold]
    fn fetch(&mut self, position: u64) -> Result<bool> {
        const OPERATION: &str = "fetch cursor window";
        self.place = Place::AfterLast;
        if self.count.is_some_and(|count| position >= count) {
            return Ok(false);
        }
        self.place = Place::BeforeFirst;
        // From here on the provider may write to it.
        self.window = None;
        let mut reply = wire::call(&self.binder, wire::CURSOR, OPERATION, wire::WINDOW, |request| {
            request.write_u64(position)
        })?;
        self.bytes_received += reply.data_size() as u64;
        let descriptor: Option<ParcelFileDescriptor> = reply.read().map_err(Error::binder(OPERATION))?;
        let Some(descriptor) = descriptor else {
            let count = reply.read_u64().map_err(Error::binder(OPERATION))?;
            if position < count {
                return Err(Error::Garbage {
                    operation: OPERATION,
                    reason: "no window for a row that is there",
                });
            }
            self.count = Some(count);
            self.place = Place::AfterLast;
            return Ok(false);
        };
        let import = self.imports.open(descriptor.into()).map_err(Error::memory(OPERATION))?;
        let reader = WindowReader::open(&import, self.columns.len())?;
        if !reader.rows().contains(&position) {
            return Err(Error::DamagedWindow { reason: "it has not the row that was asked for" });
        }
        self.windows_received += 1;
        reader.read(&import, position, &mut self.row)?;
        if reader.has_last_row() {
            self.count = Some(reader.rows().end);
        }
        self.window = Some(Window { import, reader });
        self.place = Place::At(position);
        Ok(true)
    }

    /// The value in a column of the row.
    ///
    /// # Errors
    /// [`Error::NoRow`], [`Error::NoColumn`], [`Error::DamagedWindow`].
    #[inline]
    pub fn value(&self, column: usize) -> Result<ValueRef<'_>> {
        match self.place {
            Place::At(_) => self.row.get(column),
            _ => Err(Error::NoRow),
        }
    }

    /// The type of a value (`Cursor.getType`).
    ///
    /// # Errors
    /// Those of [`value`](Cursor::value).
    pub fn value_type(&self, column: usize) -> Result<ValueType> {
        Ok(self.value(column)?.value_type())
    }

    /// An integer (`Cursor.getLong`).
    ///
    /// # Errors
    /// Those of [`value`](Cursor::value), and [`Error::WrongType`].
    #[inline]
    pub fn integer(&self, column: usize) -> Result<i64> {
        match self.value(column)? {
            ValueRef::Integer(integer) => Ok(integer),
            other => Err(wrong_type(column, other, ValueType::Integer)),
        }
    }

    /// A floating-point number (`Cursor.getDouble`).
    ///
    /// # Errors
    /// Those of [`value`](Cursor::value), and [`Error::WrongType`].
    #[inline]
    pub fn real(&self, column: usize) -> Result<f64> {
        match self.value(column)? {
            ValueRef::Real(real) => Ok(real),
            other => Err(wrong_type(column, other, ValueType::Real)),
        }
    }

    /// A text (`Cursor.getString`).
    ///
    /// # Errors
    /// Those of [`value`](Cursor::value), [`Error::WrongType`], [`Error::NotUtf8`].
    #[inline]
    pub fn text(&self, column: usize) -> Result<&str> {
        match self.value(column)? {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { column }),
            other => Err(wrong_type(column, other, ValueType::Text)),
        }
    }

    /// Bytes (`Cursor.getBlob`).
    ///
    /// # Errors
    /// Those of [`value`](Cursor::value), and [`Error::WrongType`].
    #[inline]
    pub fn blob(&self, column: usize) -> Result<&[u8]> {
        match self.value(column)? {
            ValueRef::Blob(bytes) => Ok(bytes),
            other => Err(wrong_type(column, other, ValueType::Blob)),
        }
    }
}

#[cold]
fn wrong_type(column: usize, found: ValueRef<'_>, wanted: ValueType) -> Error {
    Error::WrongType { column, found: found.value_type(), wanted }
}
