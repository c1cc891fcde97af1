//! Requests that are written by hand.

use rsbinder::rpc::RpcProxy;
use rsbinder::{Parcel, SIBinder, StatusCode, TransactionCode};

use crate::{Error, Result};

/// Sends a request, whose arguments `write` writes behind the interface's token, and gives the reply.
pub(crate) fn send(
    binder: &SIBinder,
    interface: &'static str,
    code: TransactionCode,
    operation: &'static str,
    write: impl FnOnce(&mut Parcel) -> rsbinder::Result<()>,
) -> Result<Parcel> {
    let wrong_interface = || Error::WrongInterface { operation, expected: interface };
    let descriptor = binder.descriptor();
    let reply = if let Some(proxy) = binder.as_any().downcast_ref::<RpcProxy>() {
        // What comes from a socket does not know its interface.
        if !descriptor.is_empty() && descriptor != interface {
            return Err(wrong_interface());
        }
        proxy.build_request(interface).and_then(|mut request| {
            write(&mut request)?;
            proxy.transact(code, &request, 0)
        })
    } else {
        if descriptor != interface {
            return Err(wrong_interface());
        }
        let proxy = binder.as_remote().ok_or_else(wrong_interface)?;
        proxy.prepare_transact(true).and_then(|mut request| {
            write(&mut request)?;
            proxy.submit_transact(code, &request, 0)
        })
    };
    match reply {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(Error::Garbage { operation, reason: "no reply" }),
        // The server compares the token with its interface.
        Err(StatusCode::BadType) => Err(wrong_interface()),
        Err(status) => Err(Error::Binder { operation, status }),
    }
}
