//! The client's side of the Binder calls.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ashmem::Region;
use ashmem_binder::rsbinder::rpc::RpcProxy;
use ashmem_binder::rsbinder::{self, ExceptionCode, Parcel, SIBinder, Status, StatusCode, TransactionCode};
use ashmem_binder::{ParcelFileDescriptor, ServiceManager};

use crate::protocol::{BUSY, CREATE, INTERFACE, NAME, UNSUPPORTED, USAGE, Usage};
use crate::{Error, MediaType, Result};

/// What comes of asking for a decoder.
#[derive(Debug)]
pub(super) struct Created {
    pub region: Region,
    pub lifeline: UnixStream,
    pub process: u32,
}

/// The service in another process, or in this one.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    services: ServiceManager,
    binder: SIBinder,
}

impl Proxy {
    pub fn find(services: &ServiceManager) -> Result<Proxy> {
        let binder = services.get_service(NAME).map_err(Error::Service)?;
        Ok(Proxy { services: services.clone(), binder })
    }

    /// Asks for a decoder. A service that was started again since is found again.
    pub fn create(&mut self, media_type: MediaType) -> Result<Created> {
        match self.try_create(media_type) {
            Err(Error::ServiceGone) => {
                *self = Proxy::find(&self.services)?;
                self.try_create(media_type)
            }
            created => created,
        }
    }

    fn try_create(&self, media_type: MediaType) -> Result<Created> {
        let operation = "ask for a decoder";
        let mut reply = self.call(operation, CREATE, |request| request.write(&media_type.to_word()))?;
        match status(operation, &mut reply)? {
            None => {}
            Some((BUSY, _)) => return Err(Error::Busy),
            Some((UNSUPPORTED, _)) => return Err(Error::Unsupported(media_type)),
            Some((_, reason)) => return Err(Error::NoDecoder(reason)),
        }
        let read = |reply: &mut Parcel| -> rsbinder::Result<(OwnedFd, OwnedFd, u32)> {
            let region: ParcelFileDescriptor = reply.read()?;
            let lifeline: ParcelFileDescriptor = reply.read()?;
            Ok((region.into(), lifeline.into(), reply.read()?))
        };
        let (region, lifeline, process) = read(&mut reply).map_err(Error::binder(operation))?;
        let region = Region::from_fd(region).map_err(Error::memory("receive the codec's region"))?;
        Ok(Created { region, lifeline: lifeline.into(), process })
    }

    pub fn usage(&self) -> Result<Usage> {
        let operation = "ask for the service's usage";
        let mut reply = self.call(operation, USAGE, |_| Ok(()))?;
        status(operation, &mut reply)?;
        let read = |reply: &mut Parcel| -> rsbinder::Result<Usage> {
            Ok(Usage { codecs: reply.read()?, started: reply.read()?, lost: reply.read()? })
        };
        read(&mut reply).map_err(Error::binder(operation))
    }

    fn call(
        &self,
        operation: &'static str,
        code: TransactionCode,
        write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
    ) -> Result<Parcel> {
        let transact = || {
            let proxy = self.binder.as_any().downcast_ref::<RpcProxy>().ok_or(StatusCode::BadType)?;
            let mut request = proxy.build_request(INTERFACE)?;
            write(&mut request)?;
            proxy.transact(code, &request, 0)?.ok_or(StatusCode::UnexpectedNull)
        };
        transact().map_err(Error::binder(operation))
    }
}

/// What the reply starts with: nothing, or the service's own code and words.
fn status(operation: &'static str, reply: &mut Parcel) -> Result<Option<(i32, String)>> {
    let status: Status = reply.read().map_err(Error::binder(operation))?;
    if status.is_ok() {
        return Ok(None);
    }
    let code = match status.exception_code() {
        ExceptionCode::ServiceSpecific => status.service_specific_error(),
        _ => 0,
    };
    let harmless = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    Ok(Some((code, status.to_string().chars().map(harmless).take(300).collect())))
}
