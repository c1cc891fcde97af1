//! Handing a message over, as the kernel does it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::super::{Reply, free_from};
use super::receive::{Call, area_of, discard, write_data};
use crate::filter::HIGH;
use crate::model::AreaId;
use crate::state::Shared;
use crate::sys::control::Writer;
use crate::sys::message::{Control, Received, SCM_PIDFD};
use crate::task::Task;

/// Hands over a message that was received for a call, and says what the call returns.
///
/// # Errors
/// EFAULT where the kernel could not write either: then the message is lost, as it is with the kernel.
pub(super) fn deliver(
    shared: &Shared,
    task: &Task<'_>,
    call: &Call,
    message: Received,
) -> Result<Reply, Errno> {
    let length = message.length as i64;
    let done = hand_over(shared, task, call, &message);
    if done.is_err() && !task.is_waiting() && call.flags & libc::MSG_PEEK == 0 {
        shared.mail.keep(call.inode, message);
    } else {
        discard(shared, task, message);
    }
    done.map(|()| Reply::Value(length))
}

fn hand_over(shared: &Shared, task: &Task<'_>, call: &Call, message: &Received) -> Result<(), Errno> {
    write_data(task, call, &message.data)?;
    let room = usize::try_from(call.header.control_length).unwrap_or(usize::MAX);
    let mut writer = Writer::new(call.header.word, room);
    for control in &message.control {
        match control {
            Control::Data { level, kind, bytes } => writer.put(*level, *kind, bytes),
            Control::Rights(descriptors) => {
                let room = writer.room_for_descriptors();
                let numbers = give(shared, task, call, &descriptors[..descriptors.len().min(room)])?;
                writer.put_descriptors(&numbers, descriptors.len());
            }
            Control::Process(process) if writer.room_for_descriptors() > 0 => {
                let number = task.listener.give(task.call.id, process.as_fd(), None, true)?;
                writer.put(libc::SOL_SOCKET, SCM_PIDFD, &number.to_ne_bytes());
            }
            Control::Process(_) => writer.put_descriptors(&[], 1),
        }
    }
    let (control, is_cut) = writer.finish();
    // That this process has its descriptors closed on exec says nothing about the caller's.
    let mut flags = message.flags & !libc::MSG_CMSG_CLOEXEC | call.flags & libc::MSG_CMSG_CLOEXEC;
    if is_cut {
        flags |= libc::MSG_CTRUNC;
    }
    call.header.write_back(task, &message.name, &control, flags)
}

/// Gives the caller descriptors, areas with high numbers, until it has no room for more.
fn give(shared: &Shared, task: &Task<'_>, call: &Call, descriptors: &[OwnedFd]) -> Result<Vec<i32>, Errno> {
    let close_on_exec = call.flags & libc::MSG_CMSG_CLOEXEC != 0;
    let mut numbers = Vec::with_capacity(descriptors.len());
    let mut least = HIGH;
    for fd in descriptors {
        let give = |number| task.listener.give(task.call.id, fd.as_fd(), number, close_on_exec);
        let area = area_of(shared, fd);
        let high = area.and_then(|_| free_from(task, least));
        let given = match high.map(|number| give(Some(number))) {
            // Without a high number, or beyond the caller's limit.
            None | Some(Err(Errno::BADF | Errno::MFILE | Errno::INVAL)) => give(None),
            Some(given) => given,
        };
        match given {
            Ok(number) => {
                if let Some(area) = area {
                    least = u32::try_from(number).map_or(least, |number| least.max(number + 1));
                    note(shared, task, area, number);
                }
                numbers.push(number);
            }
            Err(Errno::NOENT) => return Err(Errno::NOENT),
            // The kernel gives no more, either.
            Err(_) => break,
        }
    }
    Ok(numbers)
}

fn note(shared: &Shared, task: &Task<'_>, area: AreaId, number: i32) {
    shared.mail.arrived(area);
    let mut state = shared.lock();
    if let Ok(held) = state.held(area) {
        held.holders.saw(task.thread(), number);
    }
}
