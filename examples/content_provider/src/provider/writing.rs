//! What changes the database: one connection, one change at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::Action;

use super::database::Database;
use super::failure::{Failure, Result};
use super::schema::{Table, authorize, lift_authorizer};
use super::statement::{self, Composed};
use super::watchdog::Watchdog;
use crate::Refusal;
use crate::observer::{Change, ChangedRows};
use crate::query::{ContentValues, Selection};

/// The connection that writes, taken by one thread at a time.
pub(super) struct Writer {
    time_limit: Duration,
    /// Nobody has it when it is there.
    connection: Mutex<Option<Connection>>,
    returned: Condvar,
    changes: Arc<Mutex<BTreeMap<String, ChangedRows>>>,
}

impl Writer {
    pub(super) fn new(database: &Database) -> Result<Writer> {
        let connection = database.writer()?;
        let changes = Arc::new(Mutex::new(BTreeMap::<String, ChangedRows>::new()));
        let collected = Arc::clone(&changes);
        // Also for what triggers and foreign keys change.
        connection.update_hook(Some(move |_: Action, _: &str, table: &str, row: i64| {
            let mut changes = lock(&collected);
            match changes.get_mut(table) {
                Some(rows) => rows.add(row),
                None => {
                    let mut rows = ChangedRows::none();
                    rows.add(row);
                    changes.insert(table.to_owned(), rows);
                }
            }
        }))?;
        let time_limit = database.settings.time_limit;
        Ok(Writer { time_limit, connection: Mutex::new(Some(connection)), returned: Condvar::new(), changes })
    }

    /// Gives the new row's id, and what changed.
    pub(super) fn insert(&self, table: &str, values: &ContentValues) -> Result<(i64, Vec<Change>)> {
        let taken = self.take()?;
        let table = Table::find(&taken, table)?;
        let (_, changes) = taken.execute(&table, &statement::insert(&table, values)?)?;
        Ok((taken.last_insert_rowid(), changes))
    }

    /// Gives the number of rows, and what changed.
    pub(super) fn update(
        &self,
        table: &str,
        values: &ContentValues,
        selection: &Selection,
    ) -> Result<(u64, Vec<Change>)> {
        let taken = self.take()?;
        let table = Table::find(&taken, table)?;
        taken.execute(&table, &statement::update(&table, values, selection)?)
    }

    /// Gives the number of rows, and what changed.
    pub(super) fn delete(&self, table: &str, selection: &Selection) -> Result<(u64, Vec<Change>)> {
        let taken = self.take()?;
        let table = Table::find(&taken, table)?;
        taken.execute(&table, &statement::delete(&table, selection)?)
    }

    /// Waits for the connection, as long as a statement may take.
    fn take(&self) -> Result<Taken<'_>> {
        let until = Instant::now().checked_add(self.time_limit);
        let mut connection = lock(&self.connection);
        loop {
            if let Some(connection) = connection.take() {
                let watchdog = Watchdog::watch(&connection, self.time_limit);
                let taken = Taken { writer: self, connection: Some(connection) };
                watchdog?;
                return Ok(taken);
            }
            let left = until.map_or(self.time_limit, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Failure::new(Refusal::Busy, "others write"));
            }
            let waited = self.returned.wait_timeout(connection, left);
            connection = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The connection, which goes back when this is dropped.
struct Taken<'a> {
    writer: &'a Writer,
    connection: Option<Connection>,
}

impl std::ops::Deref for Taken<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl Taken<'_> {
    /// Runs one statement, a transaction by itself: all of it is done, or nothing.
    fn execute(&self, table: &Table, composed: &Composed<'_>) -> Result<(u64, Vec<Change>)> {
        lock(&self.writer.changes).clear();
        self.authorizer(Some(authorize))?;
        let result = self.prepare(&composed.sql).map_err(Failure::from).and_then(|mut statement| {
            composed.bind(&mut statement)?;
            Ok(statement.raw_execute()?)
        });
        lift_authorizer(self)?;
        let count = result? as u64;
        let mut changes = std::mem::take(&mut *lock(&self.writer.changes));
        // Whole tables are emptied, and rows without ids written, without a word.
        if count > 0 && !changes.contains_key(table.name()) {
            changes.insert(table.name().to_owned(), ChangedRows::Any);
        }
        Ok((count, changes.into_iter().map(|(table, rows)| Change { table, rows }).collect()))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *lock(&self.writer.connection) = self.connection.take();
        self.writer.returned.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
