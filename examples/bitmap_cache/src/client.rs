//! A client's connection to the service.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ashmem_binder::rsbinder::{StatusCode, Strong};
use ashmem_binder::{Error as BinderError, ServiceManager};

use crate::protocol::{self, IBitmapCache, IBitmapSession, NAME, Reply, Request};
use crate::{Bitmap, Error, Result, Size, Stats};

/// A client of the service. Cheap to clone; usable from any thread.
///
/// It has a share of the service's limit, and is refused more ([`Refusal::Quota`](crate::Refusal::Quota)) until it drops some of its
/// bitmaps. When the service ends, bitmaps stay as they are, and every call fails: connect anew then.
#[derive(Clone)]
pub struct Client {
    session: Arc<Session>,
}

struct Session {
    cache: Strong<dyn IBitmapCache>,
    session: Strong<dyn IBitmapSession>,
    /// Bitmaps that were dropped, to be told with the next request.
    released: Mutex<Vec<i64>>,
}

impl Client {
    /// Finds the service, and becomes a client of it. Does not wait for one that is not there.
    ///
    /// # Errors
    /// [`Error::Service`]; [`Error::Refused`] with [`Refusal::Clients`](crate::Refusal::Clients); [`Error::Binder`].
    pub fn connect(services: &ServiceManager) -> Result<Client> {
        const OPERATION: &str = "open a session of the bitmap service";
        let missing = || Error::Service(BinderError::NoSuchService { name: NAME.to_owned() });
        let binder = services.check_service(NAME).map_err(Error::Service)?.ok_or_else(missing)?;
        let cache = Strong::<dyn IBitmapCache>::try_from(binder).map_err(broken(OPERATION))?;
        let session = cache.open().map_err(|status| protocol::failure(OPERATION, &status))?;
        let session = Strong::<dyn IBitmapSession>::try_from(session).map_err(broken(OPERATION))?;
        Ok(Client { session: Arc::new(Session { cache, session, released: Mutex::default() }) })
    }

    /// The bitmap of a picture, as large as fits into `size`. It is decoded if nobody has asked for it, or it went; a file that was
    /// changed is another picture.
    ///
    /// The path is that of the service, below one of its folders; links lead no further than that. A relative path counts from this
    /// process's working directory.
    ///
    /// # Errors
    /// [`Error::Refused`], for any reason but `Clients`; [`Error::Binder`]; [`Error::Garbage`]; [`Error::Memory`].
    pub fn bitmap(&self, path: impl AsRef<Path>, size: Size) -> Result<Bitmap> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|source| Error::File {
            operation: "find out the absolute path of",
            path: path.to_owned(),
            source,
        })?;
        let path = path.as_os_str().as_bytes().to_vec();
        let reply = self.ask(&path, size, 0)?;
        let number = reply.number;
        match Bitmap::receive(self, &path, size, reply) {
            // Somebody has spoilt its memory; the service makes another one of who says so.
            Err(Error::Memory { .. }) => {
                Bitmap::receive(self, &path, size, self.ask(&path, size, number.saturating_neg())?)
            }
            result => result,
        }
    }

    /// What the service counted.
    ///
    /// # Errors
    /// [`Error::Binder`].
    pub fn stats(&self) -> Result<Stats> {
        const OPERATION: &str = "ask the bitmap service for its figures";
        self.session.cache.stats().map_err(|status| protocol::failure(OPERATION, &status))
    }

    /// Asks for a bitmap, and says which ones are not needed any more.
    pub(crate) fn ask(&self, path: &[u8], size: Size, known: i64) -> Result<Reply> {
        let released = std::mem::take(&mut *self.released());
        let (width, height) = (size.width() as i32, size.height() as i32);
        let request = Request { path: path.to_vec(), width, height, known, released };
        // Told in any case but that it never arrived, and then the session is over.
        self.session.session.bitmap(&request).map_err(|status| protocol::failure("ask for a bitmap", &status))
    }

    /// A bitmap was dropped.
    pub(crate) fn release(&self, number: i64) {
        self.released().push(number);
    }

    fn released(&self) -> std::sync::MutexGuard<'_, Vec<i64>> {
        self.session.released.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken(operation: &'static str) -> impl FnOnce(StatusCode) -> Error {
    move |status| Error::Binder { operation, status: status.to_string() }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
