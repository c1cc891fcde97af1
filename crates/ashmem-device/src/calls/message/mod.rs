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

use rustix::io::Errno;

use self::header::Header;
pub(crate) use self::mail::Mail;
pub(super) use self::receive::receive;
use super::{Reply, means_area};
use crate::model::AreaId;
use crate::state::Shared;
use crate::sys::control::{Messages, descriptors};
use crate::task::Task;

/// Senders' control data is looked at up to here; the kernel takes no more than 253 descriptors at once.
const CONTROL_MAX: u64 = 8192;

/// `sendmsg`, which the kernel carries out. Before, everybody who may be waiting for an area is told to ask for it.
pub(super) fn send(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    if let Some(area) = sent_area(shared, task) {
        if task.is_waiting() {
            shared.mail.announce(task.thread(), task.call.number, area);
        }
    }
    Ok(Reply::Continue)
}

/// The first area in a message that is about to be sent.
fn sent_area(shared: &Shared, task: &Task<'_>) -> Option<AreaId> {
    let header = Header::read(task).ok()?;
    if !header.has_room_for_descriptor() {
        return None;
    }
    let mut control = vec![0; header.control_length.min(CONTROL_MAX) as usize];
    task.read_exact(header.control, &mut control).ok()?;
    let mut messages = Messages::new(&control, header.word)
        .filter(|&(level, kind, _)| (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS));
    messages.find_map(|(_, _, data)| descriptors(data).find_map(|fd| means_area(shared, task.thread(), fd)))
}
