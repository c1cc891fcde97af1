//! `recvmsg`: whether the next message brings an area, and taking it then.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, socket_timeout};

use super::super::Reply;
use super::super::input::vectors;
use super::deliver::deliver;
use super::header::Header;
use crate::state::Shared;
use crate::sys::message::{self, Control, Received};
use crate::task::{FileId, Task, memfd_of};

/// More is left to the kernel.
const LENGTH_MAX: u64 = 1 << 20;

/// Everything else is left to the kernel.
const FLAGS: i32 = libc::MSG_CMSG_CLOEXEC
    | libc::MSG_DONTWAIT
    | libc::MSG_NOSIGNAL
    | libc::MSG_PEEK
    | libc::MSG_TRUNC
    | libc::MSG_WAITALL;

/// `SCM_SECURITY`: a label.
const SCM_SECURITY: i32 = 3;

/// A receiver's call.
pub(super) struct Call {
    pub(super) header: Header,
    pub(super) flags: i32,
    /// Where the data goes.
    pub(super) buffers: Vec<(u64, u64)>,
    length: usize,
    socket: OwnedFd,
    /// The socket's inode.
    pub(super) inode: u64,
}

/// See the [module](super).
pub(in super::super) fn receive(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let Some(call) = Call::of(shared, task) else { return Ok(Reply::Continue) };
    match take(shared, task, &call) {
        Some(message) => deliver(shared, task, &call, message),
        None => Ok(Reply::Continue),
    }
}

impl Call {
    /// What a call asks for; `None` for one that receives no descriptors, or is unusual.
    fn of(shared: &Shared, task: &Task<'_>) -> Option<Call> {
        // What most calls are is found out first.
        let header = Header::read(task).ok()?;
        let flags = task.descriptor(2);
        if !header.has_room_for_descriptor() || flags & !FLAGS != 0 {
            return None;
        }
        let fd = task.descriptor(0);
        let link = rustix::fs::readlink(task.proc(&format!("fd/{fd}")), Vec::new()).ok()?;
        let inode = link.to_str().ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        if i32::try_from(header.name_length).is_err() || shared.mail.discard.is_clogged(task.listener) {
            return None;
        }
        let buffers = vectors(task, header.vectors, header.vector_count).ok()?;
        let length = buffers.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        if length > LENGTH_MAX {
            return None;
        }
        let socket = task.known.duplicate(task.thread(), fd)?;
        let option = |option| message::option(socket.as_fd(), option).ok();
        // What is looked at would be other than what is received then.
        if option(libc::SO_DOMAIN)? != libc::AF_UNIX || option(libc::SO_PEEK_OFF)? >= 0 {
            return None;
        }
        Some(Call { header, flags, buffers, length: length as usize, socket, inode })
    }

    /// Whether the kernel lets the caller wait, for as long as it takes, for anything at all: then it can be interrupted, and
    /// begins anew.
    fn waits(&self) -> bool {
        self.flags & (libc::MSG_DONTWAIT | libc::MSG_WAITALL) == 0
            && rustix::fs::fcntl_getfl(&self.socket).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
            && socket_timeout(&self.socket, Timeout::Recv) == Ok(None)
            && message::option(self.socket.as_fd(), libc::SO_RCVLOWAT) == Ok(1)
    }

    fn receive(&self, flags: i32) -> Result<Received, Errno> {
        message::receive(self.socket.as_fd(), self.length, flags | libc::MSG_DONTWAIT)
    }
}

/// Takes the next message if it brings an area.
fn take(shared: &Shared, task: &Task<'_>, call: &Call) -> Option<Received> {
    if call.flags & libc::MSG_PEEK == 0 {
        let (kept, old) = shared.mail.kept(call.inode);
        old.into_iter().for_each(|message| discard(shared, task, message));
        if kept.is_some() {
            return kept;
        }
    }
    let looked_at = match call.receive(libc::MSG_PEEK) {
        Err(Errno::AGAIN) if call.waits() => {
            expect(shared, task, call);
            call.receive(libc::MSG_PEEK)
        }
        looked_at => looked_at,
    };
    let looked_at = looked_at.ok()?;
    // As much as the kernel would write, where it would: if that cannot be, it says so itself, and nothing is lost.
    let is_ours = brings_area(shared, &looked_at)
        && is_usual(task, &looked_at)
        && write_data(task, call, &looked_at.data).is_ok();
    discard(shared, task, looked_at);
    if !is_ours || !task.is_waiting() {
        return None;
    }
    call.receive(call.flags & !libc::MSG_CMSG_CLOEXEC).ok()
}

/// Returns when there is something to receive, or the caller may wait in the kernel.
fn expect(shared: &Shared, task: &Task<'_>, call: &Call) {
    const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };
    let started = Instant::now();
    let listener = task.listener_number();
    while let Some(sending) = shared.mail.expect(listener, task.thread(), task.call.number) {
        loop {
            let mut events = [PollFd::new(&call.socket, PollFlags::IN)];
            if poll(&mut events, Some(&STEP)).is_ok_and(|ready| ready > 0) {
                return;
            }
            // Whoever sends to whomever must not keep this caller, and all others of its listener, for long.
            if started.elapsed() > sending.patience(listener) {
                return;
            }
            if !shared.mail.is_coming(&sending) {
                break;
            }
        }
    }
}

fn brings_area(shared: &Shared, message: &Received) -> bool {
    let mut descriptors = message.control.iter().flat_map(|control| match control {
        Control::Rights(descriptors) => descriptors.as_slice(),
        _ => &[],
    });
    descriptors.any(|fd| area_of(shared, fd).is_some())
}

/// The area of a file that was received; no other file is asked anything.
pub(super) fn area_of(shared: &Shared, fd: &OwnedFd) -> Option<crate::model::AreaId> {
    shared.area_of(received_memfd(fd)?)
}

fn received_memfd(fd: &OwnedFd) -> Option<FileId> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    memfd_of(own, std::os::fd::AsRawFd::as_raw_fd(fd))
}

/// Whether a message is the same for the caller as for this process.
fn is_usual(task: &Task<'_>, message: &Received) -> bool {
    if message.flags & libc::MSG_CTRUNC != 0 {
        return false;
    }
    message.control.iter().all(|control| match control {
        Control::Data { level: libc::SOL_SOCKET, kind: libc::SCM_CREDENTIALS, .. } => has_our_numbers(task),
        Control::Data { level, kind, .. } => (*level, *kind) == (libc::SOL_SOCKET, SCM_SECURITY),
        Control::Rights(_) | Control::Process(_) => true,
    })
}

/// Whether processes and users have the same numbers for the caller as for this process.
fn has_our_numbers(task: &Task<'_>) -> bool {
    task.shares("pid") && task.shares("user")
}

/// Closes what came with a message.
pub(super) fn discard(shared: &Shared, task: &Task<'_>, message: Received) {
    for control in message.control {
        if let Control::Rights(descriptors) = control {
            for fd in descriptors {
                // Areas are this process's own, and closed at once.
                if area_of(shared, &fd).is_none() {
                    shared.mail.discard.put(task.listener, fd);
                }
            }
        }
    }
}

/// Writes the data to the caller's buffers.
///
/// # Errors
/// EFAULT.
pub(super) fn write_data(task: &Task<'_>, call: &Call, data: &[u8]) -> Result<(), Errno> {
    let mut rest = data;
    for &(address, length) in &call.buffers {
        let (part, others) = rest.split_at(rest.len().min(length as usize));
        task.write_all(address, part)?;
        rest = others;
    }
    Ok(())
}
