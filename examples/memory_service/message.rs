//! A service that is sent shared memory, and answers with the text in it.

use std::io::{self, Write};

use ashmem::MemoryFile;
use ashmem_binder::rsbinder::{
    Binder, Interface, Parcel, Result, StatusCode, TransactionCode, declare_binder_interface,
};
use ashmem_binder::{ParcelFileDescriptor, memory_file_descriptor, memory_file_from};

/// What the service is found as.
pub const NAME: &str = "MyService";
/// The one code that both ends know.
const MY_TRANSACT_CODE: TransactionCode = 920511;
/// The longest text in bytes that is read: what is said to be there is not believed.
const LONGEST: i32 = 64 << 10;

pub trait IMyService: Interface {
    /// The answer to a text of `size` bytes at the start of shared memory.
    fn answer(&self, memory: ParcelFileDescriptor, size: i32) -> Result<String>;
}

declare_binder_interface! {
    IMyService["ashmem.example.MyService"] {
        native: {
            BnMyService(on_transact),
        },
        proxy: BpMyService,
    }
}

fn on_transact(
    service: &dyn IMyService,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        MY_TRANSACT_CODE => {
            let (memory, size) = (request.read()?, request.read_i32()?);
            reply.write(&service.answer(memory, size)?)
        }
        _ => Err(StatusCode::UnknownTransaction),
    }
}

impl IMyService for BpMyService {
    fn answer(&self, memory: ParcelFileDescriptor, size: i32) -> Result<String> {
        let remote = self.binder.as_remote().ok_or(StatusCode::BadType)?;
        let mut request = remote.prepare_transact(true)?;
        request.write(&memory)?;
        request.write_i32(size)?;
        let reply = remote.submit_transact(MY_TRANSACT_CODE, &request, 0)?;
        reply.ok_or(StatusCode::UnexpectedNull)?.read()
    }
}

/// In the server's own process.
impl IMyService for Binder<BnMyService> {
    fn answer(&self, memory: ParcelFileDescriptor, size: i32) -> Result<String> {
        self.0.answer(memory, size)
    }
}

/// The service.
pub struct MyService;

impl Interface for MyService {}

impl IMyService for MyService {
    fn answer(&self, memory: ParcelFileDescriptor, size: i32) -> Result<String> {
        if size > LONGEST {
            return Err(StatusCode::BadValue);
        }
        let length = u64::try_from(size).map_err(|_| StatusCode::BadValue)?;
        let file = memory_file_from(memory, length)?;
        let mut bytes = vec![0; length as usize];
        // The client may write at the same time: what counts is the copy.
        file.read_at(0, &mut bytes).map_err(|_| StatusCode::BadValue)?;
        let text = String::from_utf8(bytes).map_err(|_| StatusCode::BadValue)?;
        let _ = writeln!(io::stderr(), "server: read {length} bytes of text");
        Ok(format!("服务从共享内存中读到：「{text}」"))
    }
}

/// Sends a text in shared memory, and returns the answer.
pub fn send(service: &dyn IMyService, text: &str) -> super::Result<String> {
    let size = i32::try_from(text.len())?;
    let file = MemoryFile::create("TestAshmemFile", 1024.max(text.len() as u64))?;
    file.write_at(0, text.as_bytes())?;
    Ok(service.answer(memory_file_descriptor(&file)?, size)?)
}
