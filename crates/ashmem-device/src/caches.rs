//! `/proc/sys/vm/drop_caches`: with the driver, writing 2 there purges unpinned areas as memory pressure does.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::calls::Reply;
use crate::filter::HIGH;
use crate::state::Shared;
use crate::task::{FileId, Task};

const PATH: &str = "/proc/sys/vm/drop_caches";

/// Opens it for writing, if the caller may and this process, too. Everything else is the kernel's.
pub(crate) fn open(task: &Task<'_>, flags: OFlags) -> Result<Reply, Errno> {
    let writes = flags & OFlags::RWMODE == OFlags::WRONLY;
    let is_root = task.status().is_some_and(|status| status.file_user == 0);
    let may = || rustix::fs::open(PATH, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).is_ok();
    if !writes || !is_root || !same_view(task) || !may() {
        return Ok(Reply::Continue);
    }
    let Some((file, _)) = stand_in() else { return Ok(Reply::Continue) };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let description = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let close_on_exec = flags.contains(OFlags::CLOEXEC);
    // What is written is seen only through a high descriptor.
    for number in HIGH..HIGH + 256 {
        let taken = rustix::fs::lstat(task.proc(&format!("fd/{number}"))).is_ok();
        if !taken {
            return match task.listener.answer_with(
                task.call.id,
                description.as_fd(),
                Some(number),
                close_on_exec,
            ) {
                Ok(_) => Ok(Reply::Answered),
                Err(_) => Ok(Reply::Continue),
            };
        }
    }
    Ok(Reply::Continue)
}

/// Whether the caller sees the system as this process does: the same files and the same users.
fn same_view(task: &Task<'_>) -> bool {
    let link = |path: &std::path::Path| rustix::fs::readlink(path, Vec::new()).ok();
    ["ns/mnt", "ns/user"].iter().all(|name| {
        let own = link(&std::path::Path::new("/proc/self").join(name));
        own.is_some() && own == link(&task.proc(name))
    })
}

/// Whether a descriptor is one that `open` has given.
pub(crate) fn is_open(task: &Task<'_>, fd: i32) -> bool {
    let Some((_, id)) = stand_in() else { return false };
    task.memfd(fd) == Some(*id)
}

pub(crate) fn write(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let length = task.argument(2);
    let mut text = vec![0; length.min(64) as usize];
    task.read_exact(task.argument(1), &mut text)?;
    fs::write(PATH, &text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let value: u32 = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if value & 2 != 0 {
        shared.lock().drop_caches();
    }
    Ok(Reply::Value(text.len() as i64))
}

/// What callers have in its place.
fn stand_in() -> Option<&'static (OwnedFd, FileId)> {
    static FILE: OnceLock<Option<(OwnedFd, FileId)>> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = rustix::fs::memfd_create("drop_caches", MemfdFlags::CLOEXEC).ok()?;
        let id = FileId::of(&file).ok()?;
        Some((file, id))
    })
    .as_ref()
}
