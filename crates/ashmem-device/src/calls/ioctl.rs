//! The driver's ioctls.

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Reply, area_of, put, shim};
use crate::abi;
use crate::abi::Request;
use crate::model::{AreaId, Pin};
use crate::state::Shared;
use crate::task::Task;

pub(super) fn ioctl(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let fd = task.descriptor(0);
    let number = task.call.arguments[1] as u32;
    let argument = task.argument(2);
    let request = abi::request(number, task.abi.is_32_bit());
    match area_of(shared, task, fd) {
        Some(id) => match request {
            Some(request) => on_area(shared, task, (id, fd), request, argument),
            // The kernel answers these for every file, before it asks the driver.
            None if abi::is_for_every_file(number) => Ok(Reply::Continue),
            None => Err(Errno::NOTTY),
        },
        None if abi::is_driver_s(number) => shim::ioctl(task, fd, request, argument),
        None => Ok(Reply::Continue),
    }
}

fn on_area(
    shared: &Shared,
    task: &Task<'_>,
    (id, fd): (AreaId, i32),
    request: Request,
    argument: u64,
) -> Result<Reply, Errno> {
    let done = Ok(Reply::Value(0));
    match request {
        Request::SetName => {
            let name = read_name(task, argument)?;
            shared.lock().set_name(id, &name)?;
            // The descriptor still leads to the file with the former name.
            let description = {
                let mut state = shared.lock();
                let file = state.held(id)?.files.id();
                state.description(id, file, OFlags::empty())
            };
            if let Ok(description) = description {
                let _ = put(task, fd, &description);
            }
            done
        }
        Request::GetName => {
            let mut name = shared.lock().area(id)?.name().to_vec();
            name.push(0);
            task.write_all(argument, &name)?;
            done
        }
        Request::SetSize => {
            shared.lock().set_size(id, argument)?;
            done
        }
        Request::GetSize => Ok(Reply::Value(shared.lock().area(id)?.size_result())),
        Request::SetProtection => {
            let implied = argument & libc::PROT_READ as u64 != 0 && task.read_implies_exec();
            shared.lock().set_protection(id, argument, implied)?;
            done
        }
        Request::GetProtection => {
            Ok(Reply::Value(crate::model::register(shared.lock().area(id)?.protection())))
        }
        Request::Pin => {
            let pin = read_pin(task, argument)?;
            Ok(Reply::Value(i64::from(shared.lock().pin(id, pin)?)))
        }
        Request::Unpin => {
            let pin = read_pin(task, argument)?;
            shared.lock().unpin(id, pin, shared)?;
            done
        }
        Request::PinStatus => {
            let pin = read_pin(task, argument)?;
            Ok(Reply::Value(i64::from(shared.lock().is_pinned(id, pin)?)))
        }
        Request::PurgeAll => {
            if !is_administrator(task) {
                return Err(Errno::PERM);
            }
            let pages = shared.lock().purge_all();
            // An int on its way through the driver.
            Ok(Reply::Value(i64::from(pages as i32)))
        }
        Request::FileId => {
            let inode = {
                let mut state = shared.lock();
                let (area, held) = state.parts(id)?;
                area.check_file_id()?;
                held.files.id().inode
            };
            task.write_all(argument, &inode.to_ne_bytes())?;
            done
        }
    }
}

/// A name up to its NUL, at most 256 bytes of it.
fn read_name(task: &Task<'_>, address: u64) -> Result<Vec<u8>, Errno> {
    let mut name = vec![0; abi::NAME_LENGTH];
    let read = task.read_some(address, &mut name)?;
    match name[..read].iter().position(|&byte| byte == 0) {
        Some(end) => name.truncate(end),
        None if read < name.len() => return Err(Errno::FAULT),
        None => {}
    }
    Ok(name)
}

fn read_pin(task: &Task<'_>, address: u64) -> Result<Pin, Errno> {
    let mut bytes = [0; 8];
    task.read_exact(address, &mut bytes)?;
    let [offset, len] = [0, 4].map(|start| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[start..start + 4]);
        u32::from_ne_bytes(word)
    });
    Ok(Pin { offset, len })
}

/// Whether the caller has CAP_SYS_ADMIN over the system: the driver asks for no less.
pub(super) fn is_administrator(task: &Task<'_>) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    if task.status().is_none_or(|status| status.capabilities & SYS_ADMIN == 0) {
        return false;
    }
    // In a namespace of its own, everybody can have all capabilities.
    task.shares("user")
}
