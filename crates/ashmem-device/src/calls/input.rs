//! `read` and its relatives.

use rustix::io::Errno;

use super::{Reply, area_of};
use crate::filter::Call;
use crate::model::AreaId;
use crate::state::Shared;
use crate::task::Task;

/// The kernel reads at most so much at once.
const COUNT_MAX: u64 = 0x7fff_f000;
const STEP: u64 = 1 << 20;
const VECTORS_MAX: u64 = 1024;

pub(super) fn read(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let Some(id) = area_of(shared, task, task.descriptor(0)) else { return Ok(Reply::Continue) };
    let buffers = match call {
        Call::Read | Call::Pread => vec![(task.argument(1), task.argument(2))],
        _ => vectors(task, task.argument(1), task.argument(2))?,
    };
    let offset = match call {
        Call::Pread | Call::Preadv | Call::Preadv2 => Some(offset(task)),
        _ => None,
    };
    // preadv2 with -1 reads on from where it is.
    let offset = offset.filter(|&offset| call != Call::Preadv2 || offset != -1);
    let mut wanted = 0_u64;
    for (_, length) in &buffers {
        wanted = wanted.saturating_add(*length);
    }
    let is_one = matches!(call, Call::Read | Call::Pread);
    if is_one && i64::try_from(wanted).is_err() {
        return Err(Errno::INVAL);
    }
    let wanted = wanted.min(COUNT_MAX);
    let Some(start) = shared.lock().area(id)?.check_read(offset, wanted)? else { return Ok(Reply::Value(0)) };
    let copied = copy(shared, task, id, start, wanted, &buffers)?;
    shared.lock().area(id)?.did_read(offset, copied);
    Ok(Reply::Value(copied as i64))
}

/// The offset of `pread`. In registers of 32 bits it has two; on arm they are an even and an odd one.
fn offset(task: &Task<'_>) -> i64 {
    if !task.abi.is_32_bit() {
        return task.argument(3) as i64;
    }
    let is_pread = |number: i32| number == 180;
    let first = if task.abi == crate::filter::Abi::Arm && is_pread(task.call.number) { 4 } else { 3 };
    (task.argument(first) | task.argument(first + 1) << 32) as i64
}

/// `struct iovec`s.
pub(super) fn vectors(task: &Task<'_>, address: u64, count: u64) -> Result<Vec<(u64, u64)>, Errno> {
    if count > VECTORS_MAX {
        return Err(Errno::INVAL);
    }
    let word = if task.abi.is_32_bit() { 4 } else { 8 };
    let mut bytes = vec![0; count as usize * 2 * word];
    task.read_exact(address, &mut bytes)?;
    let value = |bytes: &[u8]| {
        let mut value = [0; 8];
        value[..word].copy_from_slice(bytes);
        u64::from_le_bytes(value)
    };
    let vectors: Vec<_> =
        bytes.chunks_exact(2 * word).map(|pair| (value(&pair[..word]), value(&pair[word..]))).collect();
    let too_long = |&(_, length): &(u64, u64)| {
        if word == 4 { length > i32::MAX as u64 } else { i64::try_from(length).is_err() }
    };
    if vectors.iter().any(too_long) { Err(Errno::INVAL) } else { Ok(vectors) }
}

/// Copies contents to the caller's buffers: how much of `wanted` there was, and could be written.
fn copy(
    shared: &Shared,
    task: &Task<'_>,
    id: AreaId,
    start: u64,
    wanted: u64,
    buffers: &[(u64, u64)],
) -> Result<u64, Errno> {
    // So that nothing is locked while the caller's memory is written.
    let file = {
        let mut state = shared.lock();
        state.held(id)?.files.contents().try_clone_to_owned().map_err(|_| Errno::NOMEM)?
    };
    let mut done = 0;
    let mut step = vec![0; wanted.min(STEP) as usize];
    for &(address, length) in buffers {
        let length = length.min(wanted - done);
        let mut filled = 0;
        while filled < length {
            let part = (length - filled).min(STEP) as usize;
            let read = rustix::io::pread(&file, &mut step[..part], start + done)?;
            if read == 0 {
                return Ok(done);
            }
            let place = address.wrapping_add(filled);
            let written = crate::sys::write(task.thread(), place, &step[..read])?;
            (done, filled) = (done + written as u64, filled + written as u64);
            if written < read {
                return if done == 0 { Err(Errno::FAULT) } else { Ok(done) };
            }
        }
    }
    Ok(done)
}
