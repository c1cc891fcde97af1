//! `lseek`.

use rustix::io::Errno;

use super::{Reply, area_of};
use crate::filter::Call;
use crate::model::Whence;
use crate::state::Shared;
use crate::task::Task;

pub(super) fn seek(shared: &Shared, task: &Task<'_>, call: Call) -> Result<Reply, Errno> {
    let Some(id) = area_of(shared, task, task.descriptor(0)) else { return Ok(Reply::Continue) };
    let (offset, whence) = match call {
        Call::LongSeek => ((task.argument(1) << 32 | task.argument(2)) as i64, task.argument(4)),
        _ if task.abi.is_32_bit() => (i64::from(task.descriptor(1)), task.argument(2)),
        _ => (task.argument(1) as i64, task.argument(2)),
    };
    let whence = Whence::new(u32::try_from(whence).map_err(|_| Errno::INVAL)?)?;
    let position = {
        let mut state = shared.lock();
        let (area, held) = state.parts(id)?;
        let files = &held.files;
        let length = files.length();
        area.seek(offset, whence, length, &mut |offset, whence| files.seek(offset, whence == Whence::Data))?
    };
    if call == Call::LongSeek {
        task.write_all(task.argument(3), &position.to_ne_bytes())?;
        return Ok(Reply::Value(0));
    }
    Ok(Reply::Value(position as i64))
}
