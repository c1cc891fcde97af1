//! The database's file, and connections to it.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::Settings;
use super::failure::{Failure, Result};
use crate::window::{LARGEST_RECORD, MOST_COLUMNS};

/// How long to wait for other processes that have the database locked.
const BUSY: Duration = Duration::from_secs(5);
/// Connections that wait for the next query.
const MOST_IDLE: usize = 8;

/// What statements can be, in the order of [`Limit`]'s documentation.
const LIMITS: [(Limit, i32); 9] = [
    (Limit::SQLITE_LIMIT_LENGTH, LARGEST_RECORD as i32),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 18),
    (Limit::SQLITE_LIMIT_COLUMN, MOST_COLUMNS as i32),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 2000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// A database that is served.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    pub(super) settings: Settings,
    /// For reading only.
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    pub(super) fn new(path: PathBuf, settings: Settings) -> Database {
        Database { path, settings, idle: Mutex::default() }
    }

    /// A connection that can only read.
    pub(super) fn reader(self: &Arc<Database>) -> Result<Reader> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        Ok(Reader { connection: Some(connection), database: Arc::clone(self) })
    }

    /// The connection that writes.
    pub(super) fn writer(&self) -> Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Readers then keep what they see, and nobody waits for them.
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            let message = format!("the database stays in the journal mode {mode}");
            return Err(Failure::new(crate::Refusal::Damaged, message));
        }
        if let Some(pages) = self.settings.max_pages {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        }
        Ok(connection)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        // The threads of this program take turns by themselves.
        let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value)?;
        }
        // The file may be anybody's: what is in its schema is not trusted, and "name" is a column or an error.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0")?;
        Ok(connection)
    }
}

/// A connection that goes back when it is dropped.
pub(super) struct Reader {
    connection: Option<Connection>,
    database: Arc<Database>,
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // With a transaction left it would keep an old snapshot.
        if !connection.is_autocommit() {
            return;
        }
        let mut idle = self.database.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }
}
