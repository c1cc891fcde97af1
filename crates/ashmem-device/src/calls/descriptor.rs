//! Duplicates of descriptors, and the calls that the device refuses.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Reply, answer_with, area_of, shim};
use crate::caches;
use crate::filter::Call;
use crate::state::Shared;
use crate::task::Task;

/// `dup` and `fcntl`. A duplicate of a high descriptor is a high one.
pub(super) fn duplicate(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let fd = task.descriptor(0);
    if area_of(shared, task, fd).is_none() {
        return Ok(Reply::Continue);
    }
    let (least, close_on_exec) = match (call, task.descriptor(1)) {
        (Call::Dup, _) => (0, false),
        (_, libc::F_DUPFD) => (task.descriptor(2), false),
        (_, libc::F_DUPFD_CLOEXEC) => (task.descriptor(2), true),
        // F_GET_SEALS and F_ADD_SEALS: it is no memfd.
        _ => return Err(Errno::INVAL),
    };
    let Some(description) = shim::duplicate(task, fd) else { return Ok(Reply::Continue) };
    let Ok(least) = u32::try_from(least) else { return Ok(Reply::Continue) };
    answer_with(task, description.as_fd(), least, close_on_exec)
}

/// Calls that fail on the device as on any file that cannot do what they do.
pub(super) fn refuse(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let first = task.descriptor(0);
    if call == Call::Write {
        caches::heed(shared, task)?;
    }
    let candidates: &[i32] = match call {
        Call::Sendfile => &[task.descriptor(1), first],
        Call::Splice | Call::CopyFileRange => &[first, task.descriptor(2)],
        _ => &[first],
    };
    let Some((fd, id)) = candidates.iter().find_map(|&fd| Some((fd, area_of(shared, task, fd)?))) else {
        return Ok(Reply::Continue);
    };
    let writing = shared.lock().area(id)?.write_error();
    Err(match call {
        Call::Write | Call::Writev | Call::Pwrite | Call::Pwritev | Call::Pwritev2 => writing,
        Call::Fallocate if writing == Errno::BADF => Errno::BADF,
        Call::Fallocate => Errno::NODEV,
        Call::SyncFileRange => Errno::SPIPE,
        Call::Sendfile | Call::Splice if fd == first && writing == Errno::BADF => Errno::BADF,
        _ => Errno::INVAL,
    })
}
