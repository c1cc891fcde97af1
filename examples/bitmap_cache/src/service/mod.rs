//! The service: decodes pictures into shared memory, hands it out, and keeps below its limit.
//!
//! `roots` says which files may be read, `decode` makes pixels of them, `entry` is one bitmap and `table` all of them; `room` keeps the limit,
//! `turns` says who may decode now, and `session` is what one client may do.
//!
//! # The limit
//!
//! It counts all shared memory, pin state included. Room is made before a bitmap is allocated: the bitmaps that were asked for longest
//! ago are purged, except for what somebody leases. A client's bitmaps may take up its share at the most, the limit divided by
//! one more than there may be clients. So whatever all others hold on to, there is room for who asks for no more than a share. A client that
//! gave a bitmap back and leases it all the same has lied: that one is emptied under its eyes.
//!
//! # Locks
//!
//! In this order: an entry's build lock, the room's, the table's, a session's. Only the first is held while a picture is decoded.

mod decode;
mod entry;
mod room;
mod roots;
mod session;
mod table;
mod turns;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ashmem_binder::ServiceManager;
use ashmem_binder::rsbinder::{BinderResult, Interface, SIBinder, Status};

use self::decode::{Limits, Picture};
use self::entry::Entry;
use self::room::Room;
use self::roots::Roots;
use self::session::{Session, Sessions};
use self::table::{Hold, Table};
use self::turns::Turns;
use crate::protocol::{BnBitmapCache, BnBitmapSession, IBitmapCache, NAME};
use crate::{Error, Refusal, Result, Size, Stats};

/// What a service may use.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a service is made with them"]
pub struct Options {
    limit: u64,
    clients: usize,
    largest: u64,
}

impl Default for Options {
    /// 64 MiB for 4 clients, pictures of up to 64 million pixels.
    fn default() -> Options {
        Options { limit: 64 << 20, clients: 4, largest: 64_000_000 }
    }
}

impl Options {
    /// Bytes of shared memory for all bitmaps together.
    pub fn limit(mut self, bytes: u64) -> Options {
        self.limit = bytes;
        self
    }

    /// How many clients there may be at a time, half of them in one process. Each may have as much as the limit divided by one more
    /// than that.
    pub fn clients(mut self, clients: usize) -> Options {
        self.clients = clients.clamp(1, 1024);
        self
    }

    /// The most pixels of a picture. Decoding takes up to eight bytes for each, on top of the limit, in as many threads as there are
    /// processors.
    pub fn largest(mut self, pixels: u64) -> Options {
        self.largest = pixels;
        self
    }
}

/// A service. Clones are the same one.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    roots: Roots,
    limits: Limits,
    table: Table,
    room: Room,
    turns: Turns,
    sessions: Arc<Sessions>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    decoded: AtomicU64,
    decoded_again: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why there is no bitmap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    refusal: Refusal,
    message: String,
}

impl Refused {
    pub(crate) fn new(refusal: Refusal, message: impl Into<String>) -> Refused {
        Refused { refusal, message: message.into() }
    }

    fn memory(error: &ashmem::Error) -> Refused {
        Refused::new(Refusal::Memory, format!("memory for a bitmap: {error}"))
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        refused.refusal.status(refused.message)
    }
}

impl Service {
    /// A service that reads pictures below these folders.
    ///
    /// Raises the process's soft limit of descriptors (`RLIMIT_NOFILE`) to the hard one, as each bitmap takes two.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that there is not, or that may not be looked into.
    pub fn new<P: AsRef<Path>>(folders: &[P], options: Options) -> Result<Service> {
        let threads = thread::available_parallelism().map_or(2, |threads| threads.get().max(2));
        let shared = Shared {
            roots: Roots::open(folders)?,
            limits: Limits { pixels: options.largest },
            table: Table::new(table::most_entries()),
            room: Room::new(options.limit),
            turns: Turns::new(threads),
            sessions: Arc::new(Sessions::new(options.clients, options.limit)),
            counters: Counters::default(),
        };
        Ok(Service { shared: Arc::new(shared) })
    }

    /// Serves it, as long as the process lives.
    ///
    /// # Errors
    /// [`Error::Service`], when there is one already for instance.
    pub fn add_to(&self, services: &ServiceManager) -> Result<()> {
        let binder = BnBitmapCache::new_binder(self.clone());
        services.add_service(NAME, &binder.as_binder()).map_err(Error::Service)
    }

    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared { table, room, sessions, counters, .. } = &*self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            limit: room.limit(),
            resident_bytes: table.allocated(),
            most_resident_bytes: room.most(),
            bitmaps: table.len() as u64,
            clients: sessions.count() as u64,
            hits: count(&counters.hits),
            decoded: count(&counters.decoded),
            decoded_again: count(&counters.decoded_again),
            refused: count(&counters.refused),
        }
    }
}

impl Interface for Service {}

impl IBitmapCache for Service {
    fn open(&self) -> BinderResult<SIBinder> {
        let session = Session::open(&self.shared)?;
        Ok(BnBitmapSession::new_binder(session).as_binder())
    }

    fn stats(&self) -> BinderResult<Stats> {
        Ok(Service::stats(self))
    }
}

/// Whether a client may have an entry, by its number, of so many bytes.
type Admit<'a> = dyn Fn(u64, u64) -> Result<(), Refused> + 'a;

/// A bitmap that can be handed out: its pixels were there a moment ago.
pub(crate) struct Ready {
    hold: Hold,
    is_decoded: bool,
}

impl Shared {
    /// The bitmap of a picture, decoded by the calling thread if that is needed. `admit` says whether the client may
    /// have an entry of so many bytes.
    fn bitmap(
        self: &Arc<Self>,
        session: u64,
        path: &Path,
        size: Size,
        admit: &Admit<'_>,
    ) -> Result<Ready, Refused> {
        // A second time for one whose memory was spoilt: that goes, and a new one is made.
        for is_last in [false, true] {
            let file = self.roots.find(path)?;
            let hold = self.table.hold(path, size, file.identity())?;
            match self.build(session, &hold, size, file, admit) {
                Ok(is_decoded) => return Ok(Ready { hold, is_decoded }),
                Err(refused) if refused.refusal == Refusal::Memory && !is_last => {
                    self.table.discard(hold.number)
                }
                Err(refused) => {
                    self.table.give_up(hold);
                    return Err(refused);
                }
            }
        }
        Err(Refused::new(Refusal::Memory, "memory for a bitmap was spoilt"))
    }

    /// Sees to it that the pixels are there; whether it had to decode them.
    fn build(
        &self,
        session: u64,
        entry: &Entry,
        size: Size,
        file: roots::Found,
        admit: &Admit<'_>,
    ) -> Result<bool, Refused> {
        if entry.is_intact()? {
            Counters::count(&self.counters.hits);
            return Ok(false);
        }
        let _turn = self.turns.take(session);
        // Whoever had it before may have built it meanwhile.
        let building = entry.start_building();
        if entry.is_intact()? {
            Counters::count(&self.counters.hits);
            return Ok(false);
        }
        let picture = Picture::open(file, size, &self.limits)?;
        let bytes = Entry::most_bytes(picture.size());
        self.room.check(bytes)?;
        admit(entry.number, bytes)?;
        let image = picture.decode()?;
        let room = self.room.reserve(&self.table, bytes)?;
        entry.build(&building, image)?;
        room.note_most(&self.table);
        drop(room);
        Counters::count(&self.counters.decoded);
        if self.table.note_decoded(entry) {
            Counters::count(&self.counters.decoded_again);
        }
        Ok(true)
    }
}
