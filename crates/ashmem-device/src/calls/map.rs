//! `mmap`, `mprotect`, `remap_file_pages`.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::{Reply, area_and_file, put};
use crate::filter::{Call, Number, Width};
use crate::maps::{self, Mapped};
use crate::model::{AreaId, MapCall};
use crate::state::{Mappable, Shared};
use crate::task::Task;

const READ: u64 = libc::PROT_READ as u64;
const EXEC: u64 = libc::PROT_EXEC as u64;
const ALL: u64 = 7;

pub(super) fn mmap(shared: &Shared, task: &Task<'_>, number: Number) -> Result<Reply, Errno> {
    let mut arguments = [0, 1, 2, 3, 4, 5].map(|index| task.argument(index));
    if number.call == Call::OldMmap {
        let mut words = [0; 24];
        task.read_exact(task.argument(0), &mut words)?;
        for (argument, word) in arguments.iter_mut().zip(words.chunks_exact(4)) {
            *argument = u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let [_, length, protection, flags, fd, offset] = arguments;
    let (flags, fd) = (flags as i32, fd as i32);
    if flags & libc::MAP_ANONYMOUS != 0 {
        return Ok(Reply::Continue);
    }
    let Some((id, current)) = area_and_file(shared, task, fd) else { return Ok(Reply::Continue) };
    let shared_type = flags & libc::MAP_TYPE;
    let is_shared = match shared_type {
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        libc::MAP_PRIVATE => false,
        _ => return Err(Errno::INVAL),
    };
    let offset = if number.width == Width::Pages { offset << 12 } else { offset };
    let implied = if protection & READ != 0 && task.read_implies_exec() { EXEC } else { 0 };
    let call = MapCall { length, offset, protection: (protection | implied) & ALL, shared: is_shared };
    let no_reserve = flags & libc::MAP_NORESERVE != 0;
    let (exchange, mask) = loop {
        match shared.lock().map(id, &call, no_reserve, current, task.thread())? {
            Mappable::Now { exchange, mask } => break (exchange, mask),
            Mappable::NotYet => {}
        }
        thread::sleep(Duration::from_millis(1));
    };
    note(shared, task, id, mask);
    if let Some(description) = exchange {
        put(task, fd, &description)?;
    }
    Ok(Reply::Continue)
}

/// Takes note of a mapping that is about to be made.
fn note(shared: &Shared, task: &Task<'_>, id: AreaId, mask: u64) {
    // While nothing was ever taken away there is nothing to find out; and mappings of then may become anything.
    if mask == ALL && !shared.lock().protections.is_needed() {
        return;
    }
    let Some(status) = task.status() else { return };
    let mapped = mapped(shared, task);
    let process = (status.process, status.parent);
    shared.lock().protections.allow(process, &mapped, id, mask, ALL);
}

/// The mappings of areas that the caller has.
fn mapped(shared: &Shared, task: &Task<'_>) -> Vec<(AreaId, Mapped)> {
    let mapped = maps::memfds(task.thread());
    let state = shared.lock();
    mapped.into_iter().filter_map(|mapped| Some((state.area_of(mapped.file)?, mapped))).collect()
}

pub(super) fn mprotect(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    if !shared.lock().protections.is_needed() {
        return Ok(Reply::Continue);
    }
    let Some(addresses) = range(task.argument(0), task.argument(1)) else { return Ok(Reply::Continue) };
    let protection = task.argument(2);
    let mapped = mapped(shared, task);
    if mapped.is_empty() {
        return Ok(Reply::Continue);
    }
    let Some(status) = task.status() else { return Ok(Reply::Continue) };
    let implied = if protection & READ != 0 && task.read_implies_exec() { EXEC } else { 0 };
    let wanted = (protection | implied) & ALL;
    let process = (status.process, status.parent);
    let allowed = shared.lock().protections.allowed(process, &mapped, &addresses, ALL);
    match allowed {
        Some(allowed) if wanted & !allowed != 0 => Err(Errno::ACCESS),
        // WRITE is the kernel's to refuse, through the seal.
        _ => Ok(Reply::Continue),
    }
}

/// Page-aligned addresses; `None` for what the kernel refuses anyway.
fn range(start: u64, length: u64) -> Option<Range<u64>> {
    let page = ashmem::page_size();
    let end = start.checked_add(length.checked_next_multiple_of(page)?)?;
    (start % page == 0 && start < end).then_some(start..end)
}

/// The driver refuses to have an area's pages mapped in another order. (Its kernel has removed the mapping by then. Here it stays.)
pub(super) fn remap_file_pages(shared: &Shared, task: &Task<'_>) -> Result<Reply, Errno> {
    let Some(addresses) = range(task.argument(0), task.argument(1)) else { return Ok(Reply::Continue) };
    let mapped = mapped(shared, task);
    let touched = mapped
        .iter()
        .find(|(_, mapped)| mapped.addresses.start < addresses.end && addresses.start < mapped.addresses.end);
    match touched {
        Some((_, mapped)) if mapped.is_shared => Err(Errno::PERM),
        _ => Ok(Reply::Continue),
    }
}
