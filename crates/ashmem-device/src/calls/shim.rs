//! The driver's ioctls on memfds that are no areas: what kernels of newer Android versions answer, so that libcutils trusts memfd.

use std::os::fd::OwnedFd;

use ashmem::{Contents, PinStatus, Region};
use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::Reply;
use super::ioctl::is_administrator;
use crate::abi::{NAME_LENGTH, Request};
use crate::task::{FileId, Task, memfd_name};

pub(super) fn ioctl(
    task: &Task<'_>,
    fd: i32,
    request: Option<Request>,
    argument: u64,
) -> Result<Reply, Errno> {
    // What is no memfd has another driver, or none.
    if task.memfd(fd).is_none() {
        return Ok(Reply::Continue);
    }
    let Some(file) = duplicate(task, fd) else { return Ok(Reply::Continue) };
    let Ok(seals) = rustix::fs::fcntl_get_seals(&file) else { return Ok(Reply::Continue) };
    let request = request.ok_or(Errno::NOTTY)?;
    let done = Ok(Reply::Value(0));
    match request {
        Request::SetName | Request::SetSize => Err(Errno::INVAL),
        Request::GetName => {
            let mut name = memfd_name(task.thread(), fd).ok_or(Errno::BADF)?;
            name.truncate(NAME_LENGTH - 1);
            name.push(0);
            task.write_all(argument, &name)?;
            done
        }
        Request::GetSize => {
            let size = match Region::probe(&file) {
                Ok(size) => size,
                Err(_) => u64::try_from(rustix::fs::fstat(&file)?.st_size).map_err(|_| Errno::INVAL)?,
            };
            Ok(Reply::Value(crate::model::register(size)))
        }
        Request::GetProtection => {
            let sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
            let write = if sealed { 0 } else { libc::PROT_WRITE };
            Ok(Reply::Value(i64::from(libc::PROT_READ | libc::PROT_EXEC | write)))
        }
        Request::SetProtection => {
            let sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
            let writes = argument & libc::PROT_WRITE as u64 != 0;
            match (writes, sealed) {
                (true, true) => return Err(Errno::INVAL),
                (false, false) => rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE)?,
                _ => {}
            }
            done
        }
        Request::Pin | Request::Unpin | Request::PinStatus => match region_with_pins(file) {
            Some(region) => pins(task, &region, request, argument),
            None => Ok(Reply::Value(i64::from(request == Request::PinStatus))),
        },
        Request::PurgeAll => {
            if is_administrator(task) {
                done
            } else {
                Err(Errno::PERM)
            }
        }
        Request::FileId => {
            let inode = rustix::fs::fstat(&file)?.st_ino;
            task.write_all(argument, &inode.to_ne_bytes())?;
            done
        }
    }
}

/// A region of this project's that has pins of its own: they are meant then.
fn region_with_pins(file: OwnedFd) -> Option<Region> {
    Region::from_fd(file).ok().filter(Region::has_control_block)
}

fn pins(task: &Task<'_>, region: &Region, request: Request, argument: u64) -> Result<Reply, Errno> {
    let mut bytes = [0; 8];
    task.read_exact(argument, &mut bytes)?;
    let word = |start: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[start..start + 4]);
        u64::from(u32::from_ne_bytes(word))
    };
    let (offset, length) = (word(0), word(4));
    let page = ashmem::page_size();
    let whole = region.size().next_multiple_of(page);
    let end = if length == 0 { whole } else { offset + length };
    if offset % page != 0 || end % page != 0 || offset > end || end > whole {
        return Err(Errno::INVAL);
    }
    let range = offset..end.min(region.size());
    if range.start >= range.end {
        return Ok(Reply::Value(i64::from(request == Request::PinStatus)));
    }
    let failed = |error: ashmem::Error| Errno::from_raw_os_error(error.raw_os_error());
    let answer = match request {
        Request::Unpin => region.unpin(range).map(|()| 0),
        Request::PinStatus => region.pin_status(range).map(|status| i64::from(status == PinStatus::Pinned)),
        _ => region.pin(range).map(|contents| i64::from(contents == Contents::Purged)),
    };
    answer.map(Reply::Value).map_err(failed)
}

/// The very description that the caller's descriptor leads to, which is a memfd's.
pub(super) fn duplicate(task: &Task<'_>, fd: i32) -> Option<OwnedFd> {
    let file = task.memfd(fd)?;
    let duplicate = task.known.duplicate(task.thread(), fd)?;
    // It may have been exchanged in between.
    (FileId::of(&duplicate) == Ok(file) && task.is_waiting()).then_some(duplicate)
}
