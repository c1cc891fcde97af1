//! `sendmsg` and `recvmsg`: areas that are received have high numbers, like those that are opened.
//!
//! The kernel gives a received descriptor the lowest free number, at which nobody looks at `read` or `lseek`. So where a message brings
//! an area, it is received on the caller's behalf. That is an improvement, not a necessity: whatever is unusual is left to the kernel,
//! and then a descriptor has a low number and all else is as it was.
//!
//! A message is looked at before it is taken (`MSG_PEEK`). A receiver that waits in the kernel already cannot be told of a message
//! that comes; so who waits is remembered, and when an area is sent, those that wait enter their call once more, before the sender goes
//! on. A listener holds nobody's notification while there is nothing to receive: signals must get through.
//!
//! What stays low: an area from a sender that nobody looks at, or that comes by `sendmmsg`, `recvmmsg`, `io_uring` or i386's
//! `socketcall`; for a receiver that is being debugged; for one that waits with a timeout or for all it asked for; with buffers of more
//! than a mebibyte.

mod deliver;
mod discard;
mod header;
mod kick;
mod mail;
mod receive;

use rustix::fs::OFlags;
use rustix::io::Errno;

use self::header::Header;
pub(crate) use self::mail::Mail;
pub(super) use self::receive::receive;
use super::{Reply, means_area, put};
use crate::model::AreaId;
use crate::state::Shared;
use crate::sys::control::{Messages, descriptors};
use crate::task::Task;

/// Senders' control data is looked at up to here; the kernel takes no more than 253 descriptors at once.
const CONTROL_MAX: u64 = 8192;

/// `sendmsg`, which the kernel carries out. Before, everybody who may be waiting for an area is told to ask for it.
pub(super) fn send(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let areas = sent_areas(shared, task);
    for &(fd, area) in &areas {
        lead_to_contents(shared, task, fd, area);
        if let Ok(held) = shared.lock().held(area) {
            held.holders.sent();
        }
    }
    if let Some(&(_, area)) = areas.first() {
        if task.is_waiting() {
            shared.mail.announce(task.listener_number(), task.thread(), task.call.number, area);
        }
    }
    Ok(Reply::Continue)
}

/// The areas in a message that is about to be sent, with their descriptors.
fn sent_areas(shared: &Shared, task: &Task<'_>) -> Vec<(i32, AreaId)> {
    rights(task).into_iter().filter_map(|fd| Some((fd, means_area(shared, task.thread(), fd)?))).collect()
}

/// The descriptors in a message.
fn rights(task: &Task<'_>) -> Vec<i32> {
    let Ok(header) = Header::read(task) else { return Vec::new() };
    if !header.has_room_for_descriptor() {
        return Vec::new();
    }
    let mut control = vec![0; header.control_length.min(CONTROL_MAX) as usize];
    if task.read_exact(header.control, &mut control).is_err() {
        return Vec::new();
    }
    let messages = Messages::new(&control, header.word)
        .filter(|&(level, kind, _)| (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS));
    messages.flat_map(|(_, _, data)| descriptors(data).collect::<Vec<_>>()).collect()
}

/// Who receives it may know nothing of the device, and is to find the contents, not what a private mapping has left there.
fn lead_to_contents(shared: &Shared, task: &Task<'_>, fd: i32, area: AreaId) {
    let description = {
        let mut state = shared.lock();
        let Ok(held) = state.held(area) else { return };
        let contents = held.files.id();
        if task.memfd(fd) == Some(contents) {
            return;
        }
        state.description(area, contents, OFlags::empty())
    };
    if let Ok(description) = description {
        // Where that fails, it goes as it is.
        let _ = put(task, fd, &description);
    }
}
