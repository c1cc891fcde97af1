//! Bare descriptors in a parcel, as AOSP's `writeFileDescriptor` and `readFileDescriptor`.
//!
//! rsbinder writes and reads them only inside of something else. So they are written by its heap's server, whose answer has a
//! descriptor first, and which is stopped there; and read as a `ParcelFileDescriptor`, whose two words in front are put there for
//! that moment, or, where there is no place for them, as the file that a dump prints into.
#![allow(unsafe_code, reason = "what a dump prints into does not say which descriptor it is")]

use std::any::Any;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use ashmem_binder::rsbinder::shared_memory::{BnMemoryHeap, HEAP_ID, IMemoryHeap, SharedBytes};
use ashmem_binder::rsbinder::{
    self, Binder, DUMP_TRANSACTION, Interface, Parcel, ParcelFileDescriptor, Remotable, StatusCode,
    TransactionCode,
};

/// The two words in front of the descriptor in a `ParcelFileDescriptor`: it is there, and nobody is to be told of its end.
const IN_FRONT: [i32; 2] = [1, 0];
const WORD: usize = 4;
/// How many bytes a descriptor takes.
const SIZE: usize = 2 * WORD;

/// Writes a descriptor at the position of a parcel to be sent.
pub(super) fn write(parcel: &mut Parcel, descriptor: OwnedFd) -> rsbinder::Result<()> {
    let server = BnMemoryHeap(Arc::new(OnlyDescriptor(descriptor)));
    let answer = || server.on_transact(HEAP_ID, &mut Parcel::new(), parcel);
    match catch_unwind(AssertUnwindSafe(answer)) {
        Ok(Err(status)) => Err(status),
        Ok(Ok(())) => Err(StatusCode::InvalidOperation),
        Err(stopped) if stopped.is::<Written>() => Ok(()),
        Err(panic) => resume_unwind(panic),
    }
}

/// Stops the answer behind the descriptor.
struct Written;

/// A heap that has nothing but a descriptor.
struct OnlyDescriptor(OwnedFd);

impl IMemoryHeap for OnlyDescriptor {
    fn heap_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    /// Written next to the descriptor.
    fn size(&self) -> usize {
        let stop: Box<dyn Any + Send> = Box::new(Written);
        resume_unwind(stop)
    }

    fn flags(&self) -> u32 {
        0
    }

    fn offset(&self) -> usize {
        0
    }

    fn base(&self) -> Option<SharedBytes<'_>> {
        None
    }
}

/// Reads the descriptor at a position of a parcel that was received, and leaves the parcel's position behind it. Only one that
/// has other objects on both sides, or at the beginning of a parcel one behind it, cannot be read.
pub(super) fn read(parcel: &mut Parcel, position: usize) -> rsbinder::Result<OwnedFd> {
    let descriptor = match read_with_front(parcel, position) {
        Some(read) => read,
        None => read_for_dump(parcel, position),
    }?;
    parcel.set_data_position(position + SIZE);
    Ok(descriptor)
}

/// `None` if there is no place for the two words.
fn read_with_front(parcel: &mut Parcel, position: usize) -> Option<rsbinder::Result<OwnedFd>> {
    let front = position.checked_sub(SIZE)?;
    parcel.set_data_position(front);
    let before = [parcel.read_i32().ok()?, parcel.read_i32().ok()?];
    if before != IN_FRONT {
        overwrite(parcel, front, IN_FRONT).ok()?;
    }
    parcel.set_data_position(front);
    let read = parcel.read::<ParcelFileDescriptor>().map(OwnedFd::from);
    if before != IN_FRONT {
        overwrite(parcel, front, before).ok()?;
    }
    Some(read)
}

fn overwrite(parcel: &mut Parcel, position: usize, words: [i32; 2]) -> rsbinder::Result<()> {
    parcel.set_data_position(position);
    // At once, so that an object there refuses both.
    let words = u64::from(words[0] as u32) | u64::from(words[1] as u32) << 32;
    parcel.write_u64(words)
}

fn read_for_dump(parcel: &mut Parcel, position: usize) -> rsbinder::Result<OwnedFd> {
    let behind = position + SIZE;
    parcel.set_data_position(behind);
    // Behind the descriptor is how many arguments the dump has.
    let arguments = parcel.read_i32().ok();
    parcel.set_data_position(behind);
    parcel.write_i32(0)?;
    parcel.set_data_position(position);
    let file = Arc::new(Mutex::new(None));
    let dumped = Binder::new(Dumped(file.clone()));
    let read = dumped.as_binder().rpc_transact(DUMP_TRANSACTION, parcel, &mut Parcel::new());
    if let Some(arguments) = arguments {
        parcel.set_data_position(behind);
        parcel.write_i32(arguments)?;
    }
    read?;
    let descriptor = file.lock().unwrap_or_else(PoisonError::into_inner).take();
    descriptor.ok_or(StatusCode::BadFd)
}

/// Keeps what it is to print into.
struct Dumped(Arc<Mutex<Option<OwnedFd>>>);

impl Remotable for Dumped {
    fn descriptor() -> &'static str {
        ""
    }

    fn on_transact(&self, _: TransactionCode, _: &mut Parcel, _: &mut Parcel) -> rsbinder::Result<()> {
        Err(StatusCode::UnknownTransaction)
    }

    fn on_dump(&self, file: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        // rsbinder gives a `std::fs::File`. Should it once give something else, that is most likely larger.
        if size_of_val(file) != size_of::<RawFd>() || align_of_val(file) != align_of::<RawFd>() {
            return Err(StatusCode::InvalidOperation);
        }
        // SAFETY: A `File` is a descriptor, and this has its size and alignment. It lives until this returns.
        let number = unsafe { ptr::from_mut(file).cast::<RawFd>().read() };
        if number < 0 {
            return Err(StatusCode::BadFd);
        }
        // SAFETY: It is the file's, which is open until this returns.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let own = rustix::io::fcntl_dupfd_cloexec(descriptor, 0)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
        Ok(())
    }
}
