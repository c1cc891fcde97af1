//! The client's side of a provider.

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::{Binder, Interface as _, SIBinder};

use crate::cursor::Cursor;
use crate::observer::{ContentObserver, ObserverBinder, Registration};
use crate::parcel_cursor::ParcelCursor;
use crate::query::{ContentValues, Query, Selection};
use crate::window::MOST_COLUMNS;
use crate::wire;
use crate::{Error, Result};

/// What a provider is found as where nobody says otherwise.
pub const DEFAULT_AUTHORITY: &str = "content_provider";
/// More tables than any client lists.
const MOST_TABLES: usize = 100_000;

/// Asks one provider, which is found by its name, its *authority*.
///
/// The provider is in another process, and its services are found over sockets.
///
/// Stands for `android.content.ContentResolver`. Cloning is cheap, and clones can be used in any thread.
///
/// ```no_run
/// use ashmem_binder::ServiceManager;
/// use content_provider::{ContentResolver, ContentValues, Query, Selection};
///
/// let people = ContentResolver::open(&ServiceManager::new()?, "people")?;
/// people.insert("person", &ContentValues::new().put("name", "Ada").put("age", 36))?;
/// let query = Query::table("person").columns(["name"]).selection(Selection::new("age > ?", [18]));
/// let mut cursor = people.query(&query)?;
/// while cursor.move_to_next()? {
///     println!("{}", cursor.text(0)?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ContentResolver {
    provider: SIBinder,
}

impl ContentResolver {
    /// Finds a provider, and waits for it up to 5 seconds.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn open(services: &ServiceManager, authority: &str) -> Result<ContentResolver> {
        Ok(ContentResolver { provider: services.get_service(authority).map_err(Error::NotFound)? })
    }

    /// Rows, by a cursor that is before the first one. They are those of this moment, whatever is written later.
    ///
    /// Stands for `ContentResolver.query`.
    ///
    /// # Errors
    /// [`Error::Refused`]: no such table or column, a selection that is not allowed, an SQL error, too many cursors;
    /// [`Error::Dead`].
    pub fn query(&self, query: &Query) -> Result<Cursor> {
        let (binder, columns) = self.open_cursor(query)?;
        Ok(Cursor::new(binder, columns))
    }

    /// As [`query`](ContentResolver::query), but each row is read out of Binder's parcels: slower, forwards only, and without
    /// shared memory.
    ///
    /// # Errors
    /// Those of [`query`](ContentResolver::query).
    pub fn query_through_parcels(&self, query: &Query, batch: u32) -> Result<ParcelCursor> {
        let (binder, columns) = self.open_cursor(query)?;
        Ok(ParcelCursor::new(binder, columns.len(), batch))
    }

    fn open_cursor(&self, query: &Query) -> Result<(SIBinder, Vec<String>)> {
        const OPERATION: &str = "query";
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::QUERY, |request| {
            wire::write_query(request, query)
        })?;
        let columns = wire::read_names(&mut reply, MOST_COLUMNS).map_err(Error::binder(OPERATION))?;
        if columns.is_empty() {
            return Err(Error::Garbage { operation: OPERATION, reason: "rows without columns" });
        }
        Ok((reply.read().map_err(Error::binder(OPERATION))?, columns))
    }

    /// A new row; gives its id. In tables without ids (`WITHOUT ROWID`) that means nothing.
    ///
    /// Stands for `ContentResolver.insert`.
    ///
    /// # Errors
    /// [`Error::Refused`]: as [`query`](ContentResolver::query); a constraint; no space; a provider that only reads.
    pub fn insert(&self, table: &str, values: &ContentValues) -> Result<i64> {
        const OPERATION: &str = "insert";
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::INSERT, |request| {
            request.write(table)?;
            wire::write_values(request, values)
        })?;
        reply.read_i64().map_err(Error::binder(OPERATION))
    }

    /// Changes rows; gives their number.
    ///
    /// Stands for `ContentResolver.update`.
    ///
    /// # Errors
    /// Those of [`insert`](ContentResolver::insert). Either all rows are changed or none.
    pub fn update(&self, table: &str, values: &ContentValues, selection: &Selection) -> Result<u64> {
        const OPERATION: &str = "update";
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::UPDATE, |request| {
            request.write(table)?;
            wire::write_values(request, values)?;
            wire::write_selection(request, selection)
        })?;
        reply.read_u64().map_err(Error::binder(OPERATION))
    }

    /// Deletes rows; gives their number.
    ///
    /// Stands for `ContentResolver.delete`.
    ///
    /// # Errors
    /// Those of [`update`](ContentResolver::update).
    pub fn delete(&self, table: &str, selection: &Selection) -> Result<u64> {
        const OPERATION: &str = "delete";
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::DELETE, |request| {
            request.write(table)?;
            wire::write_selection(request, selection)
        })?;
        reply.read_u64().map_err(Error::binder(OPERATION))
    }

    /// Tells an observer, in a thread of Binder's, of changes that this provider makes to a table (`None`: to any), or to one row
    /// of it, until the registration is dropped.
    ///
    /// An observer that takes its time misses nothing, but is told of several changes as one.
    ///
    /// Stands for `ContentResolver.registerContentObserver`.
    ///
    /// # Errors
    /// [`Error::Refused`]: no such table, too many observers; [`Error::Dead`].
    pub fn register_observer(
        &self,
        table: Option<&str>,
        row: Option<i64>,
        observer: impl ContentObserver + 'static,
    ) -> Result<Registration> {
        const OPERATION: &str = "register observer";
        let observer = Binder::new(ObserverBinder::new(observer)).as_binder();
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::REGISTER, |request| {
            request.write(&table.map(str::to_owned))?;
            request.write_bool(row.is_some())?;
            request.write_i64(row.unwrap_or(0))?;
            request.write(&observer)
        })?;
        Ok(Registration::new(reply.read().map_err(Error::binder(OPERATION))?, observer))
    }

    /// The names of all tables and views.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Dead`].
    pub fn tables(&self) -> Result<Vec<String>> {
        const OPERATION: &str = "list tables";
        let mut reply = wire::call(&self.provider, wire::PROVIDER, OPERATION, wire::TABLES, |_| Ok(()))?;
        wire::read_names(&mut reply, MOST_TABLES).map_err(Error::binder(OPERATION))
    }

    /// The provider's binder, to link to its death for instance.
    #[must_use]
    pub fn binder(&self) -> &SIBinder {
        &self.provider
    }
}
