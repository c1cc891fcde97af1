//! What each system call does on the device.

mod access;
mod descriptor;
mod input;
mod ioctl;
mod map;
pub(crate) mod message;
mod open;
mod position;
mod shim;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::filter::{Call, HIGH, Number};
use crate::model::AreaId;
use crate::state::Shared;
use crate::sys::Answer;
use crate::task::{FileId, Task, memfd_of, proc_file};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It returns this.
    Value(i64),
    /// The kernel carries it out.
    Continue,
    /// It has been answered.
    Answered,
}

/// Handles a call; an error is what the call returns.
pub(crate) fn handle(shared: &Shared, task: &Task<'_>, number: Number) -> Result<Reply, Errno> {
    shared.mail.heard_of(task.thread());
    match number.call {
        Call::Open | Call::Creat | Call::OpenAt | Call::OpenAt2 => open::open(shared, task, number.call),
        Call::Stat | Call::Lstat | Call::StatAt | Call::Statx | Call::Fstat => {
            access::stat(shared, task, number)
        }
        Call::Access | Call::AccessAt | Call::AccessAt2 => access::access(shared, task, number.call),
        Call::ReadLink | Call::ReadLinkAt => access::read_link(shared, task, number.call),
        Call::GetAttribute | Call::ListAttributes => access::attributes(task, number.call),
        Call::Truncate => access::truncate(shared, task),
        Call::Fchmod | Call::Fchown => access::change(shared, task),
        Call::Ioctl => ioctl::ioctl(shared, task),
        Call::Mmap | Call::OldMmap => map::mmap(shared, task, number),
        Call::Mprotect | Call::PkeyMprotect => map::mprotect(shared, task),
        Call::RemapFilePages => map::remap_file_pages(shared, task),
        Call::Dup | Call::Fcntl => descriptor::duplicate(shared, task, number.call),
        Call::Read | Call::Readv | Call::Pread | Call::Preadv | Call::Preadv2 => {
            input::read(shared, task, number.call)
        }
        Call::SendMessage => message::send(shared, task),
        Call::ReceiveMessage => message::receive(shared, task),
        Call::Lseek | Call::LongSeek => position::seek(shared, task, number.call),
        _ => descriptor::refuse(shared, task, number.call),
    }
}

/// The area that a descriptor of the caller's means. The caller waits in a call with it.
fn area_of(shared: &Shared, task: &Task<'_>, fd: i32) -> Option<AreaId> {
    area_and_file(shared, task, fd).map(|(id, _)| id)
}

/// The same, and the file that it leads to.
fn area_and_file(shared: &Shared, task: &Task<'_>, fd: i32) -> Option<(AreaId, FileId)> {
    if let Some(file) = task.known.file(task.thread(), fd) {
        if let Some(id) = shared.lock().seen(file, task.thread(), fd) {
            return Some((id, file));
        }
        task.known.remove(task.thread(), fd);
    }
    let file = task.memfd(fd)?;
    let id = shared.lock().seen(file, task.thread(), fd)?;
    // What was read is about this caller only if it still waits.
    if !task.is_waiting() {
        return None;
    }
    task.known.insert(task.thread(), fd);
    Some((id, file))
}

/// Puts a description in the place of the caller's `fd`, with the same flags. The caller waits in a call with it.
fn put(task: &Task<'_>, fd: i32, description: &OwnedFd) -> Result<(), Errno> {
    let flags = task.flags(fd).ok_or(Errno::BADF)?;
    let kept = flags & (OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOATIME);
    if !kept.is_empty() {
        rustix::fs::fcntl_setfl(description, kept)?;
    }
    let number = u32::try_from(fd).map_err(|_| Errno::BADF)?;
    let close_on_exec = flags.contains(OFlags::CLOEXEC);
    task.listener.give(task.call.id, description.as_fd(), Some(number), close_on_exec)?;
    Ok(())
}

/// Answers a call with a new descriptor: a high one, or any where there is none.
fn answer_with(
    task: &Task<'_>,
    fd: std::os::fd::BorrowedFd<'_>,
    least: u32,
    close_on_exec: bool,
) -> Result<Reply, Errno> {
    let give = |number| task.listener.answer_with(task.call.id, fd, number, close_on_exec);
    if let Some(number) = free_from(task, least.max(HIGH)) {
        match give(Some(number)) {
            // Beyond the caller's limit.
            Err(Errno::BADF | Errno::MFILE | Errno::INVAL) => {}
            Ok(_) => {
                task.known.gave(task.thread(), number);
                return Ok(Reply::Answered);
            }
            Err(errno) => return Err(errno),
        }
    }
    give(None).map(|_| Reply::Answered)
}

/// A number from `least` on that the caller has no descriptor of, within a reasonable distance: one of the lowest, or the next after the
/// one that it was given last.
fn free_from(task: &Task<'_>, least: u32) -> Option<u32> {
    const LOWEST: u32 = 8;
    const DISTANCE: u32 = 1024;
    let is_free = |number: &u32| {
        let path = proc_file(task.thread(), &format!("fd/{number}"));
        rustix::fs::lstat(path).err() == Some(Errno::NOENT)
    };
    let lowest = (least..least.saturating_add(LOWEST)).find(is_free);
    let next = || {
        let next = task.known.last_given(task.thread())?.saturating_add(1).max(least);
        (next..next.saturating_add(LOWEST)).find(is_free)
    };
    lowest.or_else(next).or_else(|| (least..least.saturating_add(DISTANCE)).find(is_free))
}

/// Whether a descriptor of another thread's means an area.
fn means_area(shared: &Shared, thread: i32, fd: i32) -> Option<AreaId> {
    shared.area_of(memfd_of(thread, fd)?)
}

/// The answer to send for what a handler said.
pub(crate) fn answer(reply: Result<Reply, Errno>) -> Option<Answer> {
    match reply {
        Ok(Reply::Value(value)) => Some(Answer::Value(value)),
        Ok(Reply::Continue) => Some(Answer::Continue),
        Ok(Reply::Answered) => None,
        Err(errno) => Some(Answer::Failure(errno)),
    }
}
