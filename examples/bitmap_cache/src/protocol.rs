//! What client and service say to each other.
//!
//! | binder | transaction | request | reply, behind the status |
//! |---|---|---|---|
//! | `IBitmapCache` | 1 open | | binder of an `IBitmapSession` |
//! | | 2 stats | | array of `long` |
//! | `IBitmapSession` | 1 bitmap | `byte[]` path; `int` width, height; `long` known; `long[]` released | `long` number; `int` width, height; `boolean` decoded; `ParcelFileDescriptor` or null |
//!
//! A session belongs to one client, and ends with the last reference to its binder, so with its client's process. Each bitmap has a number that
//! is never given twice. `known` is that of a bitmap that the client has and found purged: it gets no second descriptor for the same
//! number. A negative one is that of a bitmap whose memory is of no use; it gets another. Else it is 0. `released` are the numbers of those that it dropped since the last call.

use ashmem_binder::rsbinder::{
    Binder, BinderResult, ExceptionCode, FIRST_CALL_TRANSACTION, Interface, Parcel, SIBinder, Status,
    StatusCode, TransactionCode, declare_binder_interface,
};
use ashmem_binder::{ParcelFileDescriptor, answer, call};
use serde::Serialize;

use crate::Error;

type Result<T, E = StatusCode> = std::result::Result<T, E>;

/// What the service is found as.
pub const NAME: &str = "bitmap_cache";
/// The longest path in bytes.
pub(crate) const PATH_MAX: usize = 4096;

const OPEN: TransactionCode = FIRST_CALL_TRANSACTION;
const STATS: TransactionCode = FIRST_CALL_TRANSACTION + 1;
const BITMAP: TransactionCode = FIRST_CALL_TRANSACTION;

/// The box that a bitmap is to fit into, in pixels. Pictures keep their proportions, and are never enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// The largest width and height.
    pub const MAX: u32 = 8192;

    /// # Errors
    /// [`Error::InvalidSize`] unless both are from 1 to [`Size::MAX`].
    pub fn new(width: u32, height: u32) -> Result<Size, Error> {
        let valid = 1..=Size::MAX;
        if valid.contains(&width) && valid.contains(&height) {
            Ok(Size { width, height })
        } else {
            Err(Error::InvalidSize { width, height })
        }
    }

    /// In pixels.
    #[must_use]
    pub fn width(self) -> u32 {
        self.width
    }

    /// In pixels.
    #[must_use]
    pub fn height(self) -> u32 {
        self.height
    }

    /// The size that a picture of `width` by `height` pixels has in this box.
    #[must_use]
    pub fn fit(self, width: u32, height: u32) -> Size {
        let (wide, high) = (u64::from(width.max(1)), u64::from(height.max(1)));
        if wide <= self.width.into() && high <= self.height.into() {
            return Size { width: wide as u32, height: high as u32 };
        }
        // The side that is longer for its place fills it. Rounded, and in the box as both factors are.
        let (width, height) = if wide * u64::from(self.height) >= high * u64::from(self.width) {
            (self.width, ((high * u64::from(self.width) + wide / 2) / wide) as u32)
        } else {
            (((wide * u64::from(self.height) + high / 2) / high) as u32, self.height)
        };
        Size { width: width.max(1), height: height.max(1) }
    }

    /// Bytes of a bitmap of exactly this size: four for each pixel.
    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 4
    }
}

/// Why the service does not hand out a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is none: no absolute path, or an impossible size.
    Request,
    /// The path leads out of the folders that the service may read.
    Outside,
    /// There is no such file, it is not a regular one, or it cannot be read.
    File,
    /// The file is no picture of a format that the service knows, or a broken one.
    Picture,
    /// The picture, its file or the bitmap is larger than the service takes.
    TooLarge,
    /// The file was written to while it was read. Later it may work.
    Changed,
    /// The client has as much as it may have: it has to drop bitmaps first.
    Quota,
    /// The clients together look at as much as the limit allows. Later it may work.
    Full,
    /// The service has as many clients as it takes, in all or in one process.
    Clients,
    /// The service could not get or use memory.
    Memory,
}

impl Refusal {
    const ALL: [Refusal; 10] = [
        Refusal::Request,
        Refusal::Outside,
        Refusal::File,
        Refusal::Picture,
        Refusal::TooLarge,
        Refusal::Changed,
        Refusal::Quota,
        Refusal::Full,
        Refusal::Clients,
        Refusal::Memory,
    ];

    fn code(self) -> i32 {
        Refusal::ALL.iter().position(|refusal| *refusal == self).map_or(0, |place| place as i32 + 1)
    }

    /// A status for the client.
    pub(crate) fn status(self, message: String) -> Status {
        Status::new_service_specific_error(self.code(), Some(message))
    }
}

/// What a status means to a client.
pub(crate) fn failure(operation: &'static str, status: &Status) -> Error {
    let place = status.service_specific_error().checked_sub(1).and_then(|place| usize::try_from(place).ok());
    match place.and_then(|place| Refusal::ALL.get(place)) {
        Some(refusal) if status.exception_code() == ExceptionCode::ServiceSpecific => {
            Error::Refused { refusal: *refusal, message: status.message().unwrap_or_default().to_owned() }
        }
        _ => Error::Binder { operation, status: status.to_string() },
    }
}

/// What the service counted since it started, and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of shared memory that it may use.
    pub limit: u64,
    /// Bytes of shared memory in use now, by all bitmaps and their pin state.
    pub resident_bytes: u64,
    /// The most of that, as seen after each bitmap that was decoded.
    pub most_resident_bytes: u64,
    /// Bitmaps that it knows now, purged ones that somebody has included.
    pub bitmaps: u64,
    /// Clients that it has.
    pub clients: u64,
    /// Requests that found the pixels there.
    pub hits: u64,
    /// Requests for which a picture was decoded.
    pub decoded: u64,
    /// Those of them whose picture had been decoded to that size before.
    pub decoded_again: u64,
    /// Requests that were refused.
    pub refused: u64,
}

impl Stats {
    fn to_words(self) -> Vec<i64> {
        let Stats { limit, resident_bytes, most_resident_bytes, bitmaps, .. } = self;
        let Stats { clients, hits, decoded, decoded_again, refused, .. } = self;
        [limit, resident_bytes, most_resident_bytes, bitmaps, clients, hits, decoded, decoded_again, refused]
            .map(|word| i64::try_from(word).unwrap_or(i64::MAX))
            .to_vec()
    }

    fn from_words(words: &[i64]) -> Option<Stats> {
        let words: Option<Vec<u64>> = words.iter().map(|word| u64::try_from(*word).ok()).collect();
        let words = <[u64; 9]>::try_from(words?).ok()?;
        let [
            limit,
            resident_bytes,
            most_resident_bytes,
            bitmaps,
            clients,
            hits,
            decoded,
            decoded_again,
            refused,
        ] = words;
        Some(Stats {
            limit,
            resident_bytes,
            most_resident_bytes,
            bitmaps,
            clients,
            hits,
            decoded,
            decoded_again,
            refused,
        })
    }
}

/// A request for a bitmap, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: Vec<u8>,
    pub width: i32,
    pub height: i32,
    pub known: i64,
    pub released: Vec<i64>,
}

/// The reply to it, not checked either.
pub struct Reply {
    pub number: i64,
    pub width: i32,
    pub height: i32,
    pub is_decoded: bool,
    pub descriptor: Option<ParcelFileDescriptor>,
}

pub trait IBitmapCache: Interface {
    fn open(&self) -> BinderResult<SIBinder>;
    fn stats(&self) -> BinderResult<Stats>;
}

pub trait IBitmapSession: Interface {
    fn bitmap(&self, request: &Request) -> BinderResult<Reply>;
}

declare_binder_interface! {
    IBitmapCache["ashmem.example.IBitmapCache"] {
        native: {
            BnBitmapCache(on_cache_transact),
        },
        proxy: BpBitmapCache,
    }
}

declare_binder_interface! {
    IBitmapSession["ashmem.example.IBitmapSession"] {
        native: {
            BnBitmapSession(on_session_transact),
        },
        proxy: BpBitmapSession,
    }
}

/// The service's side of a call.
fn on_cache_transact(
    service: &dyn IBitmapCache,
    code: TransactionCode,
    _: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        OPEN => answer(reply, service.open(), |reply, session| reply.write(&session)),
        STATS => answer(reply, service.stats(), |reply, stats| reply.write(&stats.to_words())),
        _ => Err(StatusCode::UnknownTransaction),
    }
}

fn on_session_transact(
    session: &dyn IBitmapSession,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        BITMAP => {
            let request = Request {
                path: request.read()?,
                width: request.read()?,
                height: request.read()?,
                known: request.read()?,
                released: request.read()?,
            };
            answer(reply, session.bitmap(&request), |reply, bitmap| {
                reply.write(&bitmap.number)?;
                reply.write(&bitmap.width)?;
                reply.write(&bitmap.height)?;
                reply.write(&bitmap.is_decoded)?;
                reply.write(&bitmap.descriptor)
            })
        }
        _ => Err(StatusCode::UnknownTransaction),
    }
}

impl IBitmapCache for BpBitmapCache {
    fn open(&self) -> BinderResult<SIBinder> {
        Ok(call(&self.binder, OPEN, |_| Ok(()))?.read()?)
    }

    fn stats(&self) -> BinderResult<Stats> {
        let words: Vec<i64> = call(&self.binder, STATS, |_| Ok(()))?.read()?;
        Ok(Stats::from_words(&words).ok_or(StatusCode::BadValue)?)
    }
}

impl IBitmapSession for BpBitmapSession {
    fn bitmap(&self, request: &Request) -> BinderResult<Reply> {
        let mut reply = call(&self.binder, BITMAP, |parcel| {
            parcel.write(&request.path)?;
            parcel.write(&request.width)?;
            parcel.write(&request.height)?;
            parcel.write(&request.known)?;
            parcel.write(&request.released)
        })?;
        Ok(Reply {
            number: reply.read()?,
            width: reply.read()?,
            height: reply.read()?,
            is_decoded: reply.read()?,
            descriptor: reply.read()?,
        })
    }
}

/// In the service's own process.
impl IBitmapCache for Binder<BnBitmapCache> {
    fn open(&self) -> BinderResult<SIBinder> {
        self.0.open()
    }

    fn stats(&self) -> BinderResult<Stats> {
        self.0.stats()
    }
}

impl IBitmapSession for Binder<BnBitmapSession> {
    fn bitmap(&self, request: &Request) -> BinderResult<Reply> {
        self.0.bitmap(request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_fits_and_keeps_its_proportions(
            (width, height) in (1..=Size::MAX, 1..=Size::MAX),
            (wide, high) in (1..=60_000_u32, 1..=60_000_u32),
        ) {
            let fitted = Size::new(width, height).unwrap().fit(wide, high);
            prop_assert!((1..=width).contains(&fitted.width()) && (1..=height).contains(&fitted.height()));
            prop_assert!(fitted.width() <= wide && fitted.height() <= high);
            if wide <= width && high <= height {
                prop_assert_eq!((fitted.width(), fitted.height()), (wide, high));
            } else {
                prop_assert!(fitted.width() == width || fitted.height() == height);
                // Half a pixel is lost at most, and none where it would be the last.
                let scale = (f64::from(width) / f64::from(wide)).min(f64::from(height) / f64::from(high));
                let near = |side: u32, whole: u32| (f64::from(side) - (f64::from(whole) * scale).max(0.5)).abs() <= 0.51;
                prop_assert!(near(fitted.width(), wide) && near(fitted.height(), high), "{:?}", fitted);
            }
        }

        #[test]
        fn stats_survive_a_parcel(words in prop::array::uniform9(0..u64::MAX / 2)) {
            let stats = Stats::from_words(&words.map(|word| word as i64)).unwrap();
            prop_assert_eq!(Stats::from_words(&stats.to_words()), Some(stats));
        }
    }

    #[test]
    fn refusals_survive_a_status() {
        for refusal in Refusal::ALL {
            let status = refusal.status("why".to_owned());
            assert_eq!(failure("ask", &status).refusal(), Some(refusal));
        }
        for code in [0, -1, 11, i32::MIN, i32::MAX] {
            let status = Status::new_service_specific_error(code, None);
            assert!(failure("ask", &status).is_disconnected());
        }
        assert!(Stats::from_words(&[1, 2, 3]).is_none());
        assert!(Stats::from_words(&[-1; 9]).is_none());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (width, height) in [(0, 1), (1, 0), (Size::MAX + 1, 1), (1, u32::MAX)] {
            assert!(matches!(Size::new(width, height), Err(Error::InvalidSize { .. })));
        }
    }
}
