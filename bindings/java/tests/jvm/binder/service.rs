//! The service of `ashmem.test.BinderService`, in Rust.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{
    self, Binder, ExceptionCode, FLAG_ONEWAY, Interface, Parcel, ParcelFileDescriptor, Remotable, SIBinder,
    Status, StatusCode, TransactionCode,
};

pub const DESCRIPTOR: &str = "ashmem.test.IEcho";
pub const CALLBACK: &str = "ashmem.test.ICallback";

pub const VALUES: TransactionCode = 1;
pub const BYTES: TransactionCode = 2;
pub const GIVE_PIPE: TransactionCode = 3;
pub const WRITE_INTO: TransactionCode = 4;
pub const CALL: TransactionCode = 5;
pub const KEEP: TransactionCode = 6;
pub const CALL_KEPT: TransactionCode = 7;
pub const FORGET: TransactionCode = 8;
pub const FAIL: TransactionCode = 9;
pub const CALLER: TransactionCode = 10;
pub const SAME: TransactionCode = 11;
pub const OWN_PID: TransactionCode = 12;
pub const OBJECTS: TransactionCode = 13;
pub const FOREIGN: TransactionCode = 25;
pub const LARGE: TransactionCode = 26;

pub const ADD_ONE: TransactionCode = 1;
pub const TOLD: TransactionCode = 2;

pub const IN_PIPE: &str = "from the service";

pub fn new() -> SIBinder {
    Binder::new(Echo::default()).as_binder()
}

#[derive(Default)]
struct Echo {
    kept: Mutex<Option<SIBinder>>,
}

/// Calls somebody's callback.
pub fn call(callback: &SIBinder, code: TransactionCode, value: i32, flags: u32) -> rsbinder::Result<i32> {
    let proxy = callback.as_any().downcast_ref::<RpcProxy>().ok_or(StatusCode::BadType)?;
    let mut request = proxy.build_request(CALLBACK)?;
    request.write_i32(value)?;
    let Some(mut reply) = proxy.transact(code, &request, flags)? else { return Ok(0) };
    assert!(reply.read::<Status>()?.is_ok());
    reply.read_i32()
}

pub fn pipe(contents: &str) -> ParcelFileDescriptor {
    let (reader, mut writer) = ParcelFileDescriptor::pipe().unwrap();
    writer.write_all(contents.as_bytes()).unwrap();
    reader
}

pub fn text(file: ParcelFileDescriptor) -> String {
    std::io::read_to_string(file).unwrap()
}

fn failure(kind: i32) -> rsbinder::Result<Status> {
    Ok(match kind {
        1 => Status::from((ExceptionCode::IllegalArgument, "an argument")),
        2 => Status::from((ExceptionCode::Security, "a permission")),
        3 => Status::new_service_specific_error(77, Some("its own".to_owned())),
        5 => Status::from((ExceptionCode::UnsupportedOperation, "unsupported")),
        _ => return Err(StatusCode::PermissionDenied),
    })
}

impl Remotable for Echo {
    fn descriptor() -> &'static str {
        DESCRIPTOR
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        data: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        let kept = || self.kept.lock().unwrap().clone().ok_or(StatusCode::InvalidOperation);
        let ok = Status::from(StatusCode::Ok);
        match code {
            VALUES => {
                reply.write(&ok)?;
                reply.write_i32(data.read_i32()?)?;
                reply.write_i64(data.read_i64()?)?;
                reply.write_f32(data.read_f32()?)?;
                reply.write_f64(data.read_f64()?)?;
                reply.write_bool(data.read_bool()?)?;
                reply.write(&data.read::<String>()?)?;
                reply.write(&data.read::<Option<String>>()?)?;
                reply.write(&data.read::<Vec<u8>>()?)?;
                reply.write(&data.read::<Vec<i32>>()?)
            }
            BYTES => {
                reply.write(&ok)?;
                reply.write(&data.read::<Vec<u8>>()?)
            }
            GIVE_PIPE => {
                reply.write(&ok)?;
                reply.write(&pipe(IN_PIPE))
            }
            WRITE_INTO => {
                let file = data.read::<ParcelFileDescriptor>()?;
                File::from(OwnedFd::from(file)).write_all(data.read::<String>()?.as_bytes()).unwrap();
                reply.write(&ok)
            }
            CALL => {
                let answer = call(&data.read::<SIBinder>()?, ADD_ONE, data.read_i32()?, 0)?;
                reply.write(&ok)?;
                reply.write_i32(answer)
            }
            KEEP => {
                *self.kept.lock().unwrap() = Some(data.read::<SIBinder>()?);
                reply.write(&ok)
            }
            CALL_KEPT => call(&kept()?, TOLD, data.read_i32()?, FLAG_ONEWAY).map(drop),
            FORGET => {
                drop(self.kept.lock().unwrap().take());
                reply.write(&ok)
            }
            FAIL => reply.write(&failure(data.read_i32()?)?),
            CALLER => {
                reply.write(&ok)?;
                reply.write_u32(rsbinder::get_calling_uid())?;
                reply.write_i32(rsbinder::get_calling_pid())
            }
            SAME => {
                let same = data.read::<Option<SIBinder>>()?;
                reply.write(&ok)?;
                reply.write(&same)
            }
            OWN_PID => {
                reply.write(&ok)?;
                reply.write_u32(std::process::id())
            }
            OBJECTS => {
                reply.write(&ok)?;
                reply.write(&data.read::<Option<SIBinder>>()?)?;
                reply.write(&data.read::<ParcelFileDescriptor>()?)?;
                reply.write_i32(data.read_i32()?)?;
                reply.write(&data.read::<ParcelFileDescriptor>()?)?;
                reply.write(&data.read::<Option<SIBinder>>()?)?;
                reply.write(&data.read::<Option<SIBinder>>()?)?;
                reply.write(&data.read::<String>()?)
            }
            _ => Err(StatusCode::UnknownTransaction),
        }
    }

    fn on_dump(&self, writer: &mut dyn Write, arguments: &[String]) -> rsbinder::Result<()> {
        write!(writer, "dump {}", arguments.join(",")).unwrap();
        Ok(())
    }
}
