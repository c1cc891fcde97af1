//! Rows of SQLite for other processes: a content provider whose query results travel as cursor windows in shared memory.
//!
//! A provider serves the tables of a database behind Binder: query, insert, update, delete, and notification of changes. The result
//! of a query does not travel through Binder. The provider writes its rows into [windows](window) of shared memory, and a [`Cursor`]
//! gets the descriptor of a window when it moves to a row that it has not; the memory is read-only for everybody but the
//! provider. So a million rows cost some tens of small calls.
//!
//! [`ContentResolver`] is the client's side, [`ContentProvider`] the other one.
//!
//! Who may connect is Binder's affair. Nobody else is trusted: a provider refuses what is no plain request, limits what a client can
//! have and how long it takes, and a client checks every row of a window.

mod cursor;
mod error;
mod observer;
mod parcel_cursor;
mod provider;
mod query;
mod resolver;
mod value;
pub mod window;
mod wire;

pub use self::cursor::Cursor;
pub use self::error::{Error, Refusal, Result};
pub use self::observer::{Change, ChangedRows, ContentObserver, Registration};
pub use self::parcel_cursor::ParcelCursor;
pub use self::provider::{ContentProvider, ContentProviderOptions};
pub use self::query::{ContentValues, Query, Selection};
pub use self::resolver::{ContentResolver, DEFAULT_AUTHORITY};
pub use self::value::{Value, ValueRef, ValueType};
