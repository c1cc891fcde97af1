//! What goes wrong at a client, and what a provider answers when it refuses.

use std::fmt;
use std::io;

use ashmem_binder::rsbinder::StatusCode;

use crate::value::ValueType;

/// Why a provider did not do what it was asked, as it travels through Binder: a service-specific code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no table or view of that name.
    NoSuchTable = 1,
    /// The table has no column of that name.
    NoSuchColumn = 2,
    /// A selection that is no plain expression over columns and `?`.
    Selection = 3,
    /// More or fewer arguments than the selection has `?`, or more than can be bound.
    Arguments = 4,
    /// SQLite does not accept the statement, or failed in it.
    Sql = 5,
    /// A constraint of the table, such as UNIQUE or NOT NULL, is in the way.
    Constraint = 6,
    /// No space is left: of the disk, of the limit for files, or of the limit for the database.
    Full = 7,
    /// It took longer than the provider allows.
    TooLong = 8,
    /// Others kept the database locked.
    Busy = 9,
    /// The client has too many cursors or observers already.
    TooMany = 10,
    /// A row is larger than windows can be.
    RowTooLarge = 11,
    /// The cursor's snapshot is gone: nobody asked for long, or an error has ended it.
    Expired = 12,
    /// The provider only reads.
    ReadOnly = 13,
    /// The database's file is damaged, is none, or cannot be read.
    Damaged = 14,
    /// The provider has no memory, descriptors or threads.
    Resources = 15,
}

impl Refusal {
    const ALL: [Refusal; 15] = [
        Refusal::NoSuchTable,
        Refusal::NoSuchColumn,
        Refusal::Selection,
        Refusal::Arguments,
        Refusal::Sql,
        Refusal::Constraint,
        Refusal::Full,
        Refusal::TooLong,
        Refusal::Busy,
        Refusal::TooMany,
        Refusal::RowTooLarge,
        Refusal::Expired,
        Refusal::ReadOnly,
        Refusal::Damaged,
        Refusal::Resources,
    ];

    pub(crate) fn from_code(code: i32) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| *refusal as i32 == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Refusal::NoSuchTable => "no such table",
            Refusal::NoSuchColumn => "no such column",
            Refusal::Selection => "selection refused",
            Refusal::Arguments => "wrong number of arguments",
            Refusal::Sql => "SQL error",
            Refusal::Constraint => "constraint violated",
            Refusal::Full => "no space left",
            Refusal::TooLong => "took too long",
            Refusal::Busy => "database is busy",
            Refusal::TooMany => "too many of this client",
            Refusal::RowTooLarge => "row too large",
            Refusal::Expired => "cursor expired",
            Refusal::ReadOnly => "read-only provider",
            Refusal::Damaged => "database cannot be read",
            Refusal::Resources => "provider is out of resources",
        })
    }
}

/// What went wrong, and in which operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The provider refused, or could not do it.
    #[error("{operation}: {refusal}: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why not.
        refusal: Refusal,
        /// What the provider says of it.
        message: String,
    },
    /// The provider's process has ended, or left a call without an answer for too long.
    #[error("{operation}: the provider has died")]
    Dead {
        /// What was asked.
        operation: &'static str,
    },
    /// Binder refused, or the provider did not understand the call.
    #[error("{operation}: {status}")]
    Binder {
        /// What was asked.
        operation: &'static str,
        /// What Binder says.
        status: StatusCode,
    },
    /// The provider could not be found or reached.
    #[error("find provider: {0}")]
    NotFound(#[source] ashmem_binder::Error),
    /// The provider could not be added to the services.
    #[error("serve: {0}")]
    NotServed(#[source] ashmem_binder::Error),
    /// The answer was complete, and made no sense.
    #[error("{operation}: the provider's answer makes no sense: {reason}")]
    Garbage {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What came was no window, or does not have the form of one. The provider is broken, or lies.
    #[error("cursor window is damaged: {reason}")]
    DamagedWindow {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Shared memory could not be received, mapped or read.
    #[error("{operation}: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// What the memory's library says.
        source: ashmem::Error,
    },
    /// The cursor is before the first row, or after the last one.
    #[error("the cursor is at no row")]
    NoRow,
    /// There is no column of that number.
    #[error("there is no column {column}: the rows have {columns}")]
    NoColumn {
        /// The number asked for, counted from 0.
        column: usize,
        /// How many there are.
        columns: usize,
    },
    /// The value is of another type.
    #[error("column {column} is of type {found}, not {wanted}")]
    WrongType {
        /// The column, counted from 0.
        column: usize,
        /// The value's type.
        found: ValueType,
        /// The type asked for.
        wanted: ValueType,
    },
    /// A text that is not UTF-8.
    #[error("the text in column {column} is not UTF-8")]
    NotUtf8 {
        /// The column, counted from 0.
        column: usize,
    },
    /// The database could not be opened or prepared; for who provides.
    #[error("{operation}: {message}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// What SQLite says.
        message: String,
    },
    /// A system call.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

/// What an operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The provider's reason, if it was the provider that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Error::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether the provider's process has ended; another one may be found by its name.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self, Error::Dead { .. })
    }

    pub(crate) fn binder(operation: &'static str) -> impl Fn(StatusCode) -> Error {
        move |status| match status {
            StatusCode::DeadObject => Error::Dead { operation },
            status => Error::Binder { operation, status },
        }
    }

    pub(crate) fn memory(operation: &'static str) -> impl Fn(ashmem::Error) -> Error {
        move |source| Error::Memory { operation, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_back() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal as i32), Some(refusal));
        }
        assert_eq!(Refusal::from_code(0), None);
        assert_eq!(Refusal::from_code(i32::MAX), None);
    }
}
