//! What any binder says about itself.

use rsbinder::rpc::RpcProxy;
use rsbinder::{DEBUG_PID_TRANSACTION, INTERFACE_TRANSACTION, Parcel, SIBinder, StatusCode};

use crate::{Error, Result};

/// The descriptor of the interface that a binder has, as its server says. A transaction when it came from a socket.
///
/// # Errors
/// [`Error::Binder`], [`Error::is_dead`] when the server has ended.
///
/// # Examples
/// ```
/// use ashmem_binder::{HeapFlags, MemoryHeapBase, interface_of};
///
/// let heap = MemoryHeapBase::create("frames", 4096, HeapFlags::empty())?;
/// assert_eq!(interface_of(&heap.binder())?, "android.utils.IMemoryHeap");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn interface_of(binder: &SIBinder) -> Result<String> {
    const OPERATION: &str = "ask for interface";
    let Some(proxy) = binder.as_any().downcast_ref::<RpcProxy>() else {
        return Ok(binder.descriptor().to_owned());
    };
    // Answered whatever the token says, for that is what is asked.
    let reply =
        proxy.build_request("").and_then(|request| proxy.transact(INTERFACE_TRANSACTION, &request, 0));
    complete(reply, OPERATION)?.read().map_err(Error::binder(OPERATION))
}

/// The process id of a binder's server, as that says: in its own PID namespace, and only as true as it is.
///
/// # Errors
/// As [`interface_of`].
pub fn process_of(binder: &SIBinder) -> Result<u32> {
    const OPERATION: &str = "ask for process";
    if !binder.is_remote() {
        return Ok(std::process::id());
    }
    let reply = if let Some(proxy) = binder.as_any().downcast_ref::<RpcProxy>() {
        proxy
            .build_request(&interface_of(binder)?)
            .and_then(|request| proxy.transact(DEBUG_PID_TRANSACTION, &request, 0))
    } else {
        let proxy = binder.as_remote().ok_or(StatusCode::BadType).map_err(Error::binder(OPERATION))?;
        proxy
            .prepare_transact(false)
            .and_then(|request| proxy.submit_transact(DEBUG_PID_TRANSACTION, &request, 0))
    };
    let mut reply = complete(reply, OPERATION)?;
    let process: i32 = reply.read().map_err(Error::binder(OPERATION))?;
    u32::try_from(process).map_err(|_| Error::Garbage { operation: OPERATION, reason: "a negative number" })
}

fn complete(reply: rsbinder::Result<Option<Parcel>>, operation: &'static str) -> Result<Parcel> {
    let reply = reply.map_err(Error::binder(operation))?;
    reply.ok_or(Error::Garbage { operation, reason: "no reply" })
}
