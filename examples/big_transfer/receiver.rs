//! The process that is sent to: a service that takes a payload in any way, and reads it when it is asked to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use ashmem::{Mapping, Region};
use ashmem_binder::rsbinder::{
    self, Binder, ExceptionCode, Interface, Parcel, Remotable, Status, StatusCode, TransactionCode,
};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};

use super::Result;
use super::payload::Sum;

pub const NAME: &str = "receiver";
pub const INTERFACE: &str = "ashmem.example.Receiver";
/// What it says when it can be found.
pub const READY: &str = "receiver: ready";
/// Of what is sent at once, in bytes.
pub const LARGEST: u64 = 16 << 30;

/// A payload as an array of bytes.
pub const PARCEL: TransactionCode = 1;
/// A descriptor that payloads are read from, each behind its length, and one for an answer of a byte to each.
pub const OPEN: TransactionCode = 2;
/// A payload as the descriptor of shared memory.
pub const MEMORY: TransactionCode = 3;
/// Gives length and sum of the last payload, and the nanoseconds that reading it took.
pub const CHECK: TransactionCode = 4;

pub fn run() -> Result<()> {
    let services = ServiceManager::new()?;
    services.add_service(NAME, &Binder::new(Receiver(Arc::default())).as_binder())?;
    let mut output = io::stdout();
    writeln!(output, "{READY}").and_then(|()| output.flush())?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// What came last.
#[derive(Default)]
enum Last {
    #[default]
    Nothing,
    Parcel(Vec<u8>),
    Stream(Vec<u8>),
    Memory(Mapping),
}

struct Receiver(Arc<Mutex<Last>>);

impl Receiver {
    fn keep(&self, last: Last) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    fn open(&self, data: OwnedFd, answers: OwnedFd) -> io::Result<()> {
        let last = Arc::clone(&self.0);
        let (mut data, mut answers) = (File::from(data), File::from(answers));
        // Ends with its sender.
        thread::Builder::new().spawn(move || while receive(&mut data, &mut answers, &last).is_ok() {})?;
        Ok(())
    }

    fn check(&self) -> ashmem::Result<[u64; 3]> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let mut sum = Sum::default();
        let length = match &*last {
            Last::Nothing => 0,
            Last::Parcel(bytes) | Last::Stream(bytes) => {
                sum.add(bytes);
                bytes.len() as u64
            }
            Last::Memory(mapping) => {
                sum.add_mapping(mapping)?;
                mapping.len()
            }
        };
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Before the next one, whose time does not have it. The buffer of a stream is used again.
        if !matches!(*last, Last::Stream(_)) {
            *last = Last::Nothing;
        }
        Ok([length, sum.value(), nanoseconds])
    }
}

/// One payload, into memory that is there already if one of this size came before.
fn receive(data: &mut File, answers: &mut File, last: &Mutex<Last>) -> io::Result<()> {
    let mut length = [0; 8];
    data.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if !matches!(&*last, Last::Stream(bytes) if bytes.len() == length) {
        *last = Last::Stream(vec![0; length]);
    }
    if let Last::Stream(bytes) = &mut *last {
        data.read_exact(bytes)?;
    }
    drop(last);
    answers.write_all(&[0])
}

impl Remotable for Receiver {
    fn descriptor() -> &'static str {
        INTERFACE
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        let fine = Status::from(ExceptionCode::None);
        match code {
            PARCEL => {
                self.keep(Last::Parcel(request.read()?));
                reply.write(&fine)
            }
            OPEN => {
                let data: ParcelFileDescriptor = request.read()?;
                let answers: ParcelFileDescriptor = request.read()?;
                self.open(data.into(), answers.into())?;
                reply.write(&fine)
            }
            MEMORY => {
                let descriptor: ParcelFileDescriptor = request.read()?;
                match Region::from_fd(descriptor.into()).and_then(|region| region.map_read_only()) {
                    Ok(mapping) => {
                        self.keep(Last::Memory(mapping));
                        reply.write(&fine)
                    }
                    Err(error) => reply.write(&refused(&error)),
                }
            }
            CHECK => match self.check() {
                Ok(found) => {
                    reply.write(&fine)?;
                    found.iter().try_for_each(|number| reply.write(number))
                }
                Err(error) => reply.write(&refused(&error)),
            },
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn refused(error: &ashmem::Error) -> Status {
    Status::from((ExceptionCode::IllegalArgument, error.to_string().as_str()))
}
