//! The provider and its cursors as Binder objects.

use std::io::Write;
use std::sync::Arc;

use ashmem_binder::ParcelFileDescriptor;
use ashmem_binder::rsbinder::{
    self, Binder, ExceptionCode, Interface as _, Parcel, Remotable, SIBinder, Status, StatusCode,
    TransactionCode, get_calling_pid,
};

use super::cursor_thread::CursorThread;
use super::database::Database;
use super::failure::{Failure, Result};
use super::filler::Answer;
use super::observers::Observers;
use super::quota::Quota;
use super::schema::Table;
use super::writing::Writer;
use crate::{Refusal, wire};

/// Largest batch of rows in a parcel, in bytes: far below the 64 MiB of a parcel over sockets, whatever the last row has.
const LARGEST_BATCH: u32 = 4 << 20;
/// Cursors of one process, and of all.
const CURSORS: (usize, usize) = (32, 128);
/// Observers of one process, and of all.
const OBSERVERS: (usize, usize) = (32, 256);

/// The provider.
pub(super) struct ProviderBinder {
    database: Arc<Database>,
    /// `None`: it only reads.
    writer: Option<Writer>,
    observers: Arc<Observers>,
    cursors: Arc<Quota>,
    places: Arc<Quota>,
}

impl ProviderBinder {
    pub(super) fn new(database: Arc<Database>, writer: Option<Writer>) -> ProviderBinder {
        ProviderBinder {
            database,
            writer,
            observers: Arc::default(),
            cursors: Quota::new("cursors", CURSORS.0, CURSORS.1),
            places: Quota::new("observers", OBSERVERS.0, OBSERVERS.1),
        }
    }

    fn writer(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Failure::new(Refusal::ReadOnly, "it was started so"))
    }

    fn register(&self, table: Option<String>, row: Option<i64>, observer: SIBinder) -> Result<SIBinder> {
        if let Some(table) = &table {
            Table::find(&*self.database.reader()?, table)?;
        }
        self.observers.register(table, row, observer, self.places.take(get_calling_pid())?)
    }
}

impl Remotable for ProviderBinder {
    fn descriptor() -> &'static str {
        wire::PROVIDER
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            wire::QUERY => {
                let query = wire::read_query(request)?;
                let cursor = self
                    .cursors
                    .take(get_calling_pid())
                    .and_then(|place| CursorThread::start(&self.database, query, place));
                answer(reply, cursor, |reply, cursor| {
                    wire::write_names(reply, cursor.columns())?;
                    reply.write(&Binder::new(CursorBinder(cursor)).as_binder())
                })
            }
            wire::INSERT => {
                let (table, values): (String, _) = (request.read()?, wire::read_values(request)?);
                let done = self.writer().and_then(|writer| writer.insert(&table, &values));
                answer(reply, done, |reply, (row, changes)| {
                    self.observers.notify(&changes);
                    reply.write_i64(row)
                })
            }
            wire::UPDATE => {
                let (table, values): (String, _) = (request.read()?, wire::read_values(request)?);
                let selection = wire::read_selection(request)?;
                let done = self.writer().and_then(|writer| writer.update(&table, &values, &selection));
                answer(reply, done, |reply, (count, changes)| {
                    self.observers.notify(&changes);
                    reply.write_u64(count)
                })
            }
            wire::DELETE => {
                let (table, selection): (String, _) = (request.read()?, wire::read_selection(request)?);
                let done = self.writer().and_then(|writer| writer.delete(&table, &selection));
                answer(reply, done, |reply, (count, changes)| {
                    self.observers.notify(&changes);
                    reply.write_u64(count)
                })
            }
            wire::REGISTER => {
                let table: Option<String> = request.read()?;
                let row = if request.read_bool()? {
                    Some(request.read_i64()?)
                } else {
                    request.read_i64()?;
                    None
                };
                let observer: SIBinder = request.read()?;
                answer(reply, self.register(table, row, observer), |reply, binder| reply.write(&binder))
            }
            wire::TABLES => {
                let names = self.database.reader().and_then(|connection| Table::names(&connection));
                answer(reply, names, |reply, names| wire::write_names(reply, &names))
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

/// A cursor. It ends with the last reference of its client, and so with its client.
struct CursorBinder(CursorThread);

impl Remotable for CursorBinder {
    fn descriptor() -> &'static str {
        wire::CURSOR
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        match code {
            wire::WINDOW => {
                answer(reply, self.0.window(read_position(request)?), |reply, answer| match answer {
                    Answer::Window(descriptor) => reply.write(&Some(ParcelFileDescriptor::new(descriptor))),
                    Answer::End(count) => {
                        reply.write(&None::<ParcelFileDescriptor>)?;
                        reply.write_u64(count)
                    }
                    Answer::Rewind => Err(StatusCode::InvalidOperation),
                })
            }
            wire::COUNT => answer(reply, self.0.count(), |reply, count| reply.write_u64(count)),
            wire::ROWS => {
                let (position, most) = (read_position(request)?, request.read_u32()?.min(LARGEST_BATCH));
                // The cursor's thread writes into the reply itself.
                let mut parcel = std::mem::take(reply);
                parcel.write(&Status::from(ExceptionCode::None))?;
                *reply = self
                    .0
                    .rows(position, most as usize, parcel)
                    .map_err(|_| StatusCode::FailedTransaction)?;
                Ok(())
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

/// Behind the last position that SQLite has there are no rows, wherever.
fn read_position(request: &mut Parcel) -> rsbinder::Result<u64> {
    Ok(request.read_u64()?.min(i64::MAX as u64))
}

/// Writes what came of a call, or why nothing did.
fn answer<T>(
    reply: &mut Parcel,
    result: Result<T>,
    write: impl FnOnce(&mut Parcel, T) -> rsbinder::Result<()>,
) -> rsbinder::Result<()> {
    ashmem_binder::answer(reply, result.map_err(Status::from), write)
}
