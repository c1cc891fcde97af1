//! A provider over an SQLite database.
//!
//! ```text
//! ContentProvider     what is served, and how
//!     service         Binder objects: the provider, its cursors
//!     cursor_thread   a snapshot and a statement for each cursor
//!     filler          windows, written in turn; matrix: rows in memory instead of a statement
//!     writing         the one connection that writes; observers: who is told of it
//!     statement       SQL out of what clients ask; expression, schema say what is allowed
//!     database        connections; watchdog, quota: limits of time and number
//! ```

mod cursor_thread;
mod database;
mod expression;
mod failure;
mod filler;
mod matrix;
mod observers;
mod quota;
mod schema;
mod service;
mod statement;
mod watchdog;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::{Binder, Interface as _, SIBinder};

use self::database::Database;
use self::failure::Failure;
use self::schema::Table;
use self::service::ProviderBinder;
use self::writing::Writer;
use crate::window::LARGEST;
use crate::{Error, Result};

/// As large as Android's are.
const WINDOW_SIZE: u32 = 2 << 20;

/// How a database is served.
#[derive(Clone, Debug)]
struct Settings {
    read_only: bool,
    window_size: u32,
    /// For one call.
    time_limit: Duration,
    /// For a cursor that is asked for nothing.
    idle_limit: Duration,
    max_pages: Option<u32>,
    matrix: bool,
}

/// Serves the tables and views of an SQLite database.
///
/// Queries have snapshots of their own, so they neither wait for changes nor delay them; changes take turns. For that
/// the database is put into the journal mode WAL, unless it is only read. Internal tables and virtual ones are not served. All clients
/// whom Binder lets in have the same rights: those of the user.
///
/// Stands for `android.content.ContentProvider`.
///
/// ```no_run
/// use ashmem_binder::ServiceManager;
/// use content_provider::ContentProvider;
///
/// let provider = ContentProvider::options().open("people.db".as_ref())?;
/// provider.add_to(&ServiceManager::new()?, "people")?;
/// std::thread::park();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ContentProvider {
    binder: SIBinder,
}

/// Options of a [`ContentProvider`].
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a database is opened with them"]
pub struct ContentProviderOptions(Settings);

impl ContentProvider {
    /// Options to open a database with.
    pub fn options() -> ContentProviderOptions {
        ContentProviderOptions(Settings {
            read_only: false,
            window_size: WINDOW_SIZE,
            time_limit: Duration::from_secs(10),
            idle_limit: Duration::from_secs(600),
            max_pages: None,
            matrix: false,
        })
    }

    /// Can be found by this name from now on.
    ///
    /// # Errors
    /// [`Error::NotServed`], as [`ServiceManager::add_service`].
    pub fn add_to(&self, services: &ServiceManager, authority: &str) -> Result<()> {
        services.add_service(authority, &self.binder).map_err(Error::NotServed)
    }
}

impl ContentProviderOptions {
    /// Takes no changes, and leaves the journal mode as it is.
    pub fn read_only(mut self, read_only: bool) -> ContentProviderOptions {
        self.0.read_only = read_only;
        self
    }

    /// Size of cursor windows in bytes, 2 MiB unless said otherwise. A row that is larger gets a window of its own size.
    pub fn window_size(mut self, bytes: u32) -> ContentProviderOptions {
        self.0.window_size = bytes.clamp(4 << 10, LARGEST);
        self
    }

    /// How long one call may take, 10 seconds unless said otherwise. Clients wait a minute for an answer.
    pub fn time_limit(mut self, limit: Duration) -> ContentProviderOptions {
        self.0.time_limit = limit;
        self
    }

    /// How long a cursor may be asked for nothing, 10 minutes unless said otherwise. Its snapshot is in the way of the journal,
    /// which grows meanwhile.
    pub fn idle_limit(mut self, limit: Duration) -> ContentProviderOptions {
        self.0.idle_limit = limit;
        self
    }

    /// The database does not grow beyond this number of pages.
    pub fn max_pages(mut self, pages: u32) -> ContentProviderOptions {
        self.0.max_pages = Some(pages);
        self
    }

    /// Reads the result of each query into memory first (`android.database.MatrixCursor`), so that cursors can be measured without
    /// SQLite.
    pub fn matrix(mut self, matrix: bool) -> ContentProviderOptions {
        self.0.matrix = matrix;
        self
    }

    /// Opens a database, which must be there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn open(self, path: &Path) -> Result<ContentProvider> {
        let database = Arc::new(Database::new(path.to_owned(), self.0));
        let failed =
            |operation| move |failure: Failure| Error::Database { operation, message: failure.to_string() };
        let writer = if database.settings.read_only {
            None
        } else {
            Some(Writer::new(&database).map_err(failed("open database for writing"))?)
        };
        // Whether it is one shows when it is read.
        let tables = database.reader().and_then(|connection| Table::names(&connection));
        tables.map_err(failed("open database"))?;
        Ok(ContentProvider { binder: Binder::new(ProviderBinder::new(database, writer)).as_binder() })
    }
}
