//! Memory that came out of a reply.
#![allow(unsafe_code, reason = "uses the mapping that rsbinder made")]

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use ashmem::{Mapping, Protection, Region, View};
use rsbinder::shared_memory::{IMemoryHeap, MappedHeap};
use rustix::fs::SealFlags;

use super::HeapFlags;
use crate::{Error, Result};

const OPERATION: &str = "receive heap";

/// What rsbinder received and mapped, as a mapping of this library.
pub(super) struct Received {
    memory: View<'static>,
    /// Has the descriptor, and the mapping that `memory` is.
    sent: Arc<MappedHeap>,
}

impl Received {
    /// Takes over what a server sent, once it is certain that no page of it can vanish (SIGBUS).
    pub(super) fn new(sent: Arc<MappedHeap>) -> Result<Received> {
        let fd = sent.heap_fd().ok_or(NOT_MAPPED)?;
        seal_against_shrinking(fd)?;
        // Only now, as it cannot get less any more.
        let available = Region::probe_for(fd, Protection::READ).map_err(Error::memory(OPERATION))?;
        let (offset, size) = (sent.offset() as u64, sent.size() as u64);
        if size == 0 || offset.checked_add(size).is_none_or(|end| end > available) {
            return Err(Error::OutOfHeap { operation: OPERATION, offset, size, heap_size: available });
        }
        let start = sent.as_ptr().and_then(NonNull::new).ok_or(NOT_MAPPED)?;
        let mut protection = Protection::READ;
        // As rsbinder maps it.
        protection.set(Protection::WRITE, !flags(&sent).contains(HeapFlags::READ_ONLY));
        // SAFETY: that mapping has this size and protection, is of a memfd that was sealed and reaches that far just now, and lasts as
        // long as `sent`, which is kept beside the view.
        let memory = unsafe { View::foreign(start, sent.size(), offset, protection) };
        Ok(Received { memory, sent })
    }

    pub(super) fn flags(&self) -> HeapFlags {
        flags(&self.sent)
    }

    /// The region that the memory is in.
    pub(super) fn region(&self) -> Result<Region> {
        let fd = self.as_fd().try_clone_to_owned().map_err(Error::system("duplicate heap's descriptor"))?;
        Region::from_fd(fd).map_err(Error::memory("look at heap's region"))
    }
}

const NOT_MAPPED: Error = Error::Garbage { operation: OPERATION, reason: "there is no memory" };

fn flags(sent: &MappedHeap) -> HeapFlags {
    HeapFlags::from_bits_retain(sent.flags())
}

/// Makes sure that the file loses no page any more.
fn seal_against_shrinking(fd: BorrowedFd<'_>) -> Result<()> {
    let refused = |source| Error::Memory { operation: OPERATION, source };
    let seals = rustix::fs::fcntl_get_seals(fd)
        .map_err(|_| refused(ashmem::Error::NotARegion { reason: "the descriptor is not a memfd" }))?;
    if seals.contains(SealFlags::SHRINK) {
        return Ok(());
    }
    rustix::fs::fcntl_add_seals(fd, SealFlags::SHRINK).map_err(|_| refused(ashmem::Error::Unsealable))
}

impl Deref for Received {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.memory
    }
}

impl AsFd for Received {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sent.as_fd()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.memory.fmt(f)
    }
}
