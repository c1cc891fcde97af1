//! `IMemoryService`: its interface as the Java stub and proxy speak it, and the service.

use std::io::{self, Write};

use ashmem::MemoryFile;
use ashmem_binder::rsbinder::{
    Binder, BinderResult, ExceptionCode, FIRST_CALL_TRANSACTION, Interface, Parcel, Result, Status,
    StatusCode, TransactionCode, declare_binder_interface,
};
use ashmem_binder::{ParcelFileDescriptor, answer, call, memory_file_descriptor};

/// What the service is found as.
pub const NAME: &str = "AnonymousSharedMemory";
/// Length of its memory file in bytes. The value is in it with the highest byte first.
pub const LENGTH: u64 = 4;

const GET_FILE_DESCRIPTOR: TransactionCode = FIRST_CALL_TRANSACTION;
const SET_VALUE: TransactionCode = FIRST_CALL_TRANSACTION + 1;

pub trait IMemoryService: Interface {
    fn get_file_descriptor(&self) -> BinderResult<Option<ParcelFileDescriptor>>;
    fn set_value(&self, value: i32) -> BinderResult<()>;
}

declare_binder_interface! {
    IMemoryService["shy.luo.ashmem.IMemoryService"] {
        native: {
            BnMemoryService(on_transact),
        },
        proxy: BpMemoryService,
    }
}

/// The server's side of a call.
fn on_transact(
    service: &dyn IMemoryService,
    code: TransactionCode,
    request: &mut Parcel,
    reply: &mut Parcel,
) -> Result<()> {
    match code {
        // 1 and the descriptor, or 0.
        GET_FILE_DESCRIPTOR => {
            answer(reply, service.get_file_descriptor(), |reply, descriptor| reply.write(&descriptor))
        }
        SET_VALUE => {
            let value = request.read_i32()?;
            let answer = service.set_value(value);
            reply.write(&answer.err().unwrap_or(ExceptionCode::None.into()))
        }
        _ => Err(StatusCode::UnknownTransaction),
    }
}

impl IMemoryService for BpMemoryService {
    fn get_file_descriptor(&self) -> BinderResult<Option<ParcelFileDescriptor>> {
        Ok(call(&self.binder, GET_FILE_DESCRIPTOR, |_| Ok(()))?.read()?)
    }

    fn set_value(&self, value: i32) -> BinderResult<()> {
        call(&self.binder, SET_VALUE, |request| request.write_i32(value)).map(drop)
    }
}

/// In the server's own process.
impl IMemoryService for Binder<BnMemoryService> {
    fn get_file_descriptor(&self) -> BinderResult<Option<ParcelFileDescriptor>> {
        self.0.get_file_descriptor()
    }

    fn set_value(&self, value: i32) -> BinderResult<()> {
        self.0.set_value(value)
    }
}

/// The service: a number in a memory file.
pub struct MemoryService {
    file: MemoryFile,
}

impl MemoryService {
    pub fn new() -> ashmem::Result<MemoryService> {
        let service = MemoryService { file: MemoryFile::create("Ashmem", LENGTH)? };
        service.file.write_at(0, &0_i32.to_be_bytes())?;
        Ok(service)
    }
}

impl Interface for MemoryService {}

impl IMemoryService for MemoryService {
    fn get_file_descriptor(&self) -> BinderResult<Option<ParcelFileDescriptor>> {
        let descriptor = memory_file_descriptor(&self.file);
        descriptor.map(Some).map_err(|error| illegal_state(&error))
    }

    fn set_value(&self, value: i32) -> BinderResult<()> {
        self.file.write_at(0, &value.to_be_bytes()).map_err(|error| illegal_state(&error))?;
        let _ = writeln!(io::stderr(), "server: set value {value}");
        Ok(())
    }
}

fn illegal_state(error: &dyn std::error::Error) -> Status {
    Status::from((ExceptionCode::IllegalState, error.to_string().as_str()))
}
