//! A cursor at the provider: a thread with a connection of its own, a snapshot of the database, and a statement that waits where the client
//! is.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;

use ashmem_binder::rsbinder::{Parcel, Status};
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;
use rusqlite::{Connection, Rows};

use super::database::Database;
use super::failure::{Failure, Result};
use super::filler::{Answer, Filler, RowSource};
use super::matrix::Matrix;
use super::quota::Place;
use super::schema::{Table, authorize, lift_authorizer};
use super::statement;
use super::watchdog::Watchdog;
use crate::query::Query;
use crate::{Refusal, ValueRef, wire};

/// What is asked of the thread.
enum Request {
    /// The window that has a row.
    Window { position: u64, answer: SyncSender<Result<Answer>> },
    /// Rows from a position on, into a parcel until it has so many bytes.
    Rows { position: u64, most: usize, parcel: Box<Parcel>, answer: SyncSender<Result<Box<Parcel>>> },
    /// The number of rows.
    Count { answer: SyncSender<Result<u64>> },
}

/// The thread, for who asks it. It ends when this is dropped, also in the middle of a statement.
#[derive(Debug)]
pub(super) struct CursorThread {
    requests: Sender<Request>,
    watchdog: Arc<Watchdog>,
    columns: Vec<String>,
}

/// What the thread says when it is open.
struct Opened {
    columns: Vec<String>,
    watchdog: Arc<Watchdog>,
}

impl CursorThread {
    /// Takes a snapshot and prepares the statement.
    pub(super) fn start(database: &Arc<Database>, query: Query, place: Place) -> Result<CursorThread> {
        let (requests, received) = channel();
        let (open, opened) = sync_channel(1);
        let database = Arc::clone(database);
        let run = move || {
            let refused = open.clone();
            if let Err(failure) = run(&database, &query, open, &received) {
                // Too late for that after it was opened; then there are no errors but in answers.
                let _ = refused.send(Err(failure));
            }
            drop(place);
        };
        let thread = thread::Builder::new().name("cursor".to_owned()).spawn(run);
        thread.map_err(|error| Failure::new(Refusal::Resources, format!("start a cursor: {error}")))?;
        let Opened { columns, watchdog } = opened.recv().map_err(|_| Failure::expired())??;
        Ok(CursorThread { requests, watchdog, columns })
    }

    /// The names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn window(&self, position: u64) -> Result<Answer> {
        self.ask(|answer| Request::Window { position, answer })
    }

    pub(super) fn rows(&self, position: u64, most: usize, parcel: Parcel) -> Result<Parcel> {
        let parcel = Box::new(parcel);
        self.ask(|answer| Request::Rows { position, most, parcel, answer }).map(|parcel| *parcel)
    }

    pub(super) fn count(&self) -> Result<u64> {
        self.ask(|answer| Request::Count { answer })
    }

    /// The thread answers, or ends, within the time that statements have.
    fn ask<T>(&self, request: impl FnOnce(SyncSender<Result<T>>) -> Request) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        self.requests.send(request(answer)).map_err(|_| Failure::expired())?;
        answered.recv().map_err(|_| Failure::expired())?
    }
}

impl Drop for CursorThread {
    fn drop(&mut self) {
        self.watchdog.cancel();
    }
}

/// The thread.
fn run(
    database: &Arc<Database>,
    query: &Query,
    open: SyncSender<Result<Opened>>,
    requests: &Receiver<Request>,
) -> Result<()> {
    let connection = database.reader()?;
    let watchdog = Watchdog::watch(&connection, database.settings.time_limit)?;
    // What is in it can be read until the transaction ends, whatever others write.
    connection.execute_batch("BEGIN")?;
    let result = serve(&connection, database, query, open, requests, watchdog);
    // It goes to the next query.
    Watchdog::leave(&connection)?;
    lift_authorizer(&connection)?;
    // A full disk, or an error of reading, has ended it already.
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    result
}

fn serve(
    connection: &Connection,
    database: &Database,
    query: &Query,
    open: SyncSender<Result<Opened>>,
    requests: &Receiver<Request>,
    watchdog: Arc<Watchdog>,
) -> Result<()> {
    // The snapshot is that of the first read.
    connection.query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)", [], |_| Ok(()))?;
    let table = Table::find(connection, &query.table)?;
    let (columns, composed) = statement::select(&table, query)?;
    connection.authorizer(Some(authorize))?;
    let mut statement = connection.prepare(&composed.sql)?;
    composed.bind(&mut statement)?;
    let count = || {
        let mut statement = connection.prepare(&format!("SELECT count(*) FROM ({})", composed.sql))?;
        composed.bind(&mut statement)?;
        let mut rows = statement.raw_query();
        let count: Option<i64> = rows.next()?.map(|row| row.get(0)).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    };
    let mut matrix = None;
    if database.settings.matrix {
        matrix = Some(Matrix::read(columns.len(), &mut StatementRows(statement.raw_query()))?);
        watchdog.restart();
    }
    let opened = Opened {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        watchdog: Arc::clone(&watchdog),
    };
    if open.send(Ok(opened)).is_err() {
        return Ok(());
    }
    // For the statement's end, or that nobody waits for: neither says anything to the client.
    drop(open);
    let mut server = Server {
        filler: Filler::new(columns.len(), database.settings.window_size),
        columns: columns.len(),
        requests,
        database,
        watchdog,
        count: &count,
        failed: None,
        pending: None,
    };
    loop {
        let next = match &matrix {
            Some(matrix) => server.serve(&mut matrix.rows()),
            None => server.serve(&mut StatementRows(statement.raw_query())),
        };
        match next {
            // With the transaction the snapshot is gone, and another one is not what was asked for.
            Next::Rewind if connection.is_autocommit() => return Ok(()),
            Next::Rewind => server.filler.rewind(),
            Next::End => return Ok(()),
        }
    }
}

/// Rows of a statement that is run.
struct StatementRows<'a>(Rows<'a>);

impl RowSource for StatementRows<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.0.advance()?;
        Ok(self.0.get().is_some())
    }

    #[inline]
    fn value(&self, column: usize) -> Result<ValueRef<'_>> {
        use rusqlite::types::ValueRef as SqlRef;
        let Some(row) = self.0.get() else { return Ok(ValueRef::Null) };
        Ok(match row.get_ref(column)? {
            SqlRef::Null => ValueRef::Null,
            SqlRef::Integer(integer) => ValueRef::Integer(integer),
            SqlRef::Real(real) => ValueRef::Real(real),
            SqlRef::Text(bytes) => ValueRef::Text(bytes),
            SqlRef::Blob(bytes) => ValueRef::Blob(bytes),
        })
    }
}

/// What comes behind a run of the statement.
enum Next {
    /// Another one, from the first row on.
    Rewind,
    End,
}

/// What answers requests, over one run of the statement after the other.
struct Server<'a> {
    filler: Filler,
    columns: usize,
    requests: &'a Receiver<Request>,
    database: &'a Database,
    watchdog: Arc<Watchdog>,
    count: &'a dyn Fn() -> Result<u64>,
    /// What went wrong while nobody had asked.
    failed: Option<Failure>,
    /// A request that needs another run.
    pending: Option<Request>,
}

impl Server<'_> {
    fn serve(&mut self, source: &mut impl RowSource) -> Next {
        loop {
            let request = match self.pending.take() {
                Some(request) => request,
                None => match self.requests.recv_timeout(self.database.settings.idle_limit) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Next::End,
                },
            };
            self.watchdog.restart();
            match request {
                Request::Window { position, answer } => {
                    let found = match self.failed.take() {
                        Some(failure) => Err(failure),
                        None => self.filler.window(position, source),
                    };
                    if matches!(found, Ok(Answer::Rewind)) {
                        self.pending = Some(Request::Window { position, answer });
                        return Next::Rewind;
                    }
                    let is_failure = found.is_err();
                    let _ = answer.send(found);
                    if is_failure {
                        return Next::Rewind;
                    }
                    self.watchdog.restart();
                    if let Err(failure) = self.filler.prepare(source) {
                        self.failed = Some(failure);
                        return Next::Rewind;
                    }
                }
                Request::Rows { position, most, mut parcel, answer } => {
                    match self.write_rows(position, most, &mut parcel, source) {
                        Ok(Answer::Rewind) => {
                            self.pending = Some(Request::Rows { position, most, parcel, answer });
                            return Next::Rewind;
                        }
                        Ok(_) => drop(answer.send(Ok(parcel))),
                        Err(failure) => {
                            // In the place of all that is in it.
                            parcel.set_data_position(0);
                            if parcel.write(&Status::from(failure)).is_ok() {
                                let _ = answer.send(Ok(parcel));
                            }
                            return Next::Rewind;
                        }
                    }
                }
                Request::Count { answer } => drop(answer.send((self.count)())),
            }
        }
    }

    fn write_rows<S: RowSource>(
        &mut self,
        position: u64,
        most: usize,
        parcel: &mut Parcel,
        source: &mut S,
    ) -> Result<Answer> {
        let refused = |status| Failure::new(Refusal::Resources, format!("write rows: {status}"));
        let (columns, mut is_full) = (self.columns, false);
        let answer = self.filler.each_row(position, source, |source| {
            if parcel.data_size() >= most {
                is_full = true;
                return Ok(false);
            }
            parcel.write_i32(wire::ROW).map_err(refused)?;
            for column in 0..columns {
                wire::write_value(parcel, source.value(column)?).map_err(refused)?;
            }
            Ok(true)
        })?;
        if !matches!(answer, Answer::Rewind) {
            parcel.write_i32(if is_full { wire::PAUSE } else { wire::END }).map_err(refused)?;
        }
        Ok(answer)
    }
}
