//! `stat`, `access` and `readlink`: what programs look at before they trust a descriptor.

use rustix::io::Errno;

use super::{Reply, area_of, means_area};
use crate::filter::{Call, Number};
use crate::place::{self, Place};
use crate::state::Shared;
use crate::task::Task;

pub(super) fn stat(shared: &Shared, task: &Task<'_>, number: Number) -> Result<Reply, Errno> {
    // Where the path is, where the result goes, and the flags.
    let (directory, path, buffer, flags) = match number.call {
        Call::Fstat => {
            if area_of(shared, task, task.descriptor(0)).is_none() {
                return Ok(Reply::Continue);
            }
            return fill(shared, task, number, task.argument(1));
        }
        Call::Stat => (libc::AT_FDCWD, task.argument(0), task.argument(1), 0),
        Call::Lstat => (libc::AT_FDCWD, task.argument(0), task.argument(1), libc::AT_SYMLINK_NOFOLLOW),
        Call::Statx => (task.descriptor(0), task.argument(1), task.argument(4), task.descriptor(2)),
        _ => (task.descriptor(0), task.argument(1), task.argument(2), task.descriptor(3)),
    };
    let is_empty_allowed = flags & libc::AT_EMPTY_PATH != 0;
    let path = match task.read_path(path) {
        Ok(path) => path,
        // Since Linux 6.11 no path at all means an empty one.
        Err(_) if is_empty_allowed && path == 0 => Vec::new(),
        Err(_) => return Ok(Reply::Continue),
    };
    if path.is_empty() && is_empty_allowed {
        if area_of(shared, task, directory).is_none() {
            return Ok(Reply::Continue);
        }
        return fill(shared, task, number, buffer);
    }
    let follows = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let is_device = match place::find(task, directory, &path) {
        Some(Place::Device) => true,
        Some(Place::Descriptor { process, fd }) if follows => is_area(shared, task, process, fd),
        _ => false,
    };
    if !is_device || !task.is_waiting() {
        return Ok(Reply::Continue);
    }
    fill(shared, task, number, buffer)
}

fn is_area(shared: &Shared, task: &Task<'_>, process: place::Process, fd: i32) -> bool {
    place::resolve(task, process).is_some_and(|process| means_area(shared, process, fd).is_some())
}

fn fill(shared: &Shared, task: &Task<'_>, number: Number, buffer: u64) -> Result<Reply, Errno> {
    let bytes = match number.call {
        Call::Statx => shared.node.statx(),
        _ => shared.node.stat(task.abi, number.width),
    };
    task.write_all(buffer, &bytes)?;
    Ok(Reply::Value(0))
}

pub(super) fn access(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let (directory, path, wanted) = match call {
        Call::Access => (libc::AT_FDCWD, task.argument(0), task.descriptor(1)),
        _ => (task.descriptor(0), task.argument(1), task.descriptor(2)),
    };
    let Ok(path) = task.read_path(path) else { return Ok(Reply::Continue) };
    let is_device = match place::find(task, directory, &path) {
        Some(Place::Device) => true,
        Some(Place::Descriptor { process, fd }) => is_area(shared, task, process, fd),
        _ => false,
    };
    if !is_device {
        return Ok(Reply::Continue);
    }
    if wanted & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
        return Err(Errno::INVAL);
    }
    // Nobody may execute it, root included.
    if wanted & libc::X_OK != 0 { Err(Errno::ACCESS) } else { Ok(Reply::Value(0)) }
}

pub(super) fn read_link(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let (directory, path, buffer, size) = match call {
        Call::ReadLink => (libc::AT_FDCWD, task.argument(0), task.argument(1), task.descriptor(2)),
        _ => (task.descriptor(0), task.argument(1), task.argument(2), task.descriptor(3)),
    };
    let Ok(path) = task.read_path(path) else { return Ok(Reply::Continue) };
    let Ok(size) = usize::try_from(size) else { return Ok(Reply::Continue) };
    match place::find(task, directory, &path) {
        Some(Place::Device) => Err(Errno::INVAL),
        Some(Place::Descriptor { process, fd }) if is_area(shared, task, process, fd) && size > 0 => {
            let name = b"/dev/ashmem";
            let length = size.min(name.len());
            task.write_all(buffer, &name[..length])?;
            Ok(Reply::Value(length as i64))
        }
        _ => Ok(Reply::Continue),
    }
}

/// The device has no extended attributes.
pub(super) fn attributes(task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let Ok(path) = task.read_path(task.argument(0)) else { return Ok(Reply::Continue) };
    match (place::find(task, libc::AT_FDCWD, &path), call) {
        (Some(Place::Device), Call::ListAttributes) => Ok(Reply::Value(0)),
        (Some(Place::Device), _) => Err(Errno::NODATA),
        _ => Ok(Reply::Continue),
    }
}

/// The device has no length to change.
pub(super) fn truncate(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let Ok(path) = task.read_path(task.argument(0)) else { return Ok(Reply::Continue) };
    match place::find(task, libc::AT_FDCWD, &path) {
        Some(Place::Device) => Err(Errno::INVAL),
        Some(Place::Descriptor { process, fd }) if is_area(shared, task, process, fd) => Err(Errno::INVAL),
        _ => Ok(Reply::Continue),
    }
}

/// `fchmod` and `fchown`, which are for root, and change nothing here: the area's file is not the device's.
pub(super) fn change(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    if area_of(shared, task, task.descriptor(0)).is_none() {
        return Ok(Reply::Continue);
    }
    let is_root = task.status().is_some_and(|status| status.users[3] == 0);
    if is_root { Ok(Reply::Value(0)) } else { Err(Errno::PERM) }
}
