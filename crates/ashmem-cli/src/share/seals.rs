//! What can no longer be done to a heap's file.

use std::os::fd::{AsFd, OwnedFd};

use ashmem::Region;
use rustix::fs::{SealFlags, fcntl_add_seals};

use crate::error::Error;

/// Forbids to grow and to shrink it, so that it is never purged either, and with `read_only` to write it: for everybody, for good.
/// There must be no writable mapping of it.
pub fn seal(memory: &OwnedFd, read_only: bool) -> Result<(), Error> {
    let mut seals = SealFlags::GROW | SealFlags::SHRINK;
    if read_only {
        seals |= SealFlags::FUTURE_WRITE;
        // More than no new writers: bytes that cannot change can go into a pipe without being copied.
        seals.set(SealFlags::WRITE, can_map_sealed()?);
    }
    // Last, and at once.
    fcntl_add_seals(memory, seals | SealFlags::SEAL).map_err(|errno| Error::Seal(errno.into()))
}

/// Whether the kernel maps, through a descriptor that could write, what is sealed against writing (Linux 6.7).
fn can_map_sealed() -> Result<bool, Error> {
    let probe = Region::create("probe", 1)?;
    let sealed = fcntl_add_seals(probe.as_fd(), SealFlags::WRITE);
    Ok(sealed.is_ok() && probe.map_read_only().is_ok())
}
