//! The one error type of the crate.

use std::io;

use crate::Protection;
use crate::region::NAME_MAX;

/// What went wrong, and in which operation.
///
/// Every variant maps to the errno that the ashmem driver or the kernel would have answered
/// ([`Error::raw_os_error`]), so that a C or Java layer can pass it on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name has a NUL byte, which neither the kernel nor C can keep.
    #[error("create region: the name contains a NUL byte")]
    NameHasNul,
    /// The name is longer than a memfd's name may be (249 bytes).
    #[error("create region: the name has {len} bytes, at most {NAME_MAX} fit")]
    NameTooLong {
        /// Length of the refused name in bytes.
        len: usize,
    },
    /// Size zero, or larger than a file can be.
    #[error("region size of {size} bytes: it must be between 1 and {max}")]
    InvalidSize {
        /// The refused size in bytes.
        size: u64,
        /// The largest size in bytes that is accepted.
        max: u64,
    },
    /// The descriptor is not a memfd, or its size does not fit its control block.
    #[error("not a region: {reason}")]
    NotARegion {
        /// Which check failed.
        reason: &'static str,
    },
    /// The region is no cache, or one of another layout.
    #[error("not a cache: {reason}")]
    NotACache {
        /// Which check failed.
        reason: &'static str,
    },
    /// An empty key, or one that is too long for a cache.
    #[error("cache key of {len} bytes: it must have between 1 and {max}")]
    InvalidKey {
        /// Length of the refused key in bytes.
        len: usize,
        /// The longest key in bytes that is accepted.
        max: usize,
    },
    /// The control block says something that no honest holder of the region writes.
    #[error("control block corrupt: {reason}")]
    ControlBlockCorrupt {
        /// Which check failed.
        reason: &'static str,
    },
    /// This region's pages cannot be unpinned.
    #[error("region cannot be made purgeable: {reason}")]
    NotPurgeable {
        /// Why not.
        reason: &'static str,
    },
    /// A range of no pages.
    #[error("range {start}..{end} is empty")]
    RangeEmpty {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A range that ends outside of the region, or overflows.
    #[error("range {start}..{end} is outside of the region's {size} bytes")]
    RangeOutOfBounds {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Size of the region in bytes.
        size: u64,
    },
    /// A range that does not start and end at a page.
    #[error("range {start}..{end} is not aligned to pages of {page_size} bytes")]
    RangeMisaligned {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes in a page.
        page_size: u64,
    },
    /// An access that leaves the mapping, the memory file or the buffer.
    #[error("access of {len} bytes at {offset} is outside of {size} bytes")]
    AccessOutOfBounds {
        /// Where the access starts, in bytes.
        offset: u64,
        /// Length of the access in bytes.
        len: u64,
        /// Length of what it leaves, in bytes.
        size: u64,
    },
    /// An atomic view at an address that its type may not have.
    #[error("offset {offset} is not aligned to {align} bytes")]
    AccessMisaligned {
        /// Offset in the mapping, in bytes.
        offset: u64,
        /// The alignment asked for, in bytes.
        align: u64,
    },
    /// The protection mask can only lose bits.
    #[error("set protection {requested}: the region's mask is {mask}, and bits can only be removed")]
    ProtectionAdded {
        /// The mask asked for.
        requested: Protection,
        /// The mask in force.
        mask: Protection,
    },
    /// The region's protection mask, or its descriptor's mode, does not allow this.
    #[error("{operation}: needs {needed}, but the region allows {mask}")]
    ProtectionDenied {
        /// What was tried.
        operation: &'static str,
        /// The access needed for it.
        needed: Protection,
        /// What the region allows.
        mask: Protection,
    },
    /// Protection bits that there are not.
    #[error("protection {bits:#x}: it has other bits than READ, WRITE and EXEC")]
    ProtectionInvalid {
        /// The refused bits, with those that are known.
        bits: u32,
    },
    /// A write through a read-only mapping or descriptor.
    #[error("{operation}: the mapping or descriptor is read-only")]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
    },
    /// Somebody could shrink this file under a mapping (SIGBUS), and it cannot be sealed against that.
    #[error("map region: the file can be shrunk by others and cannot be sealed against it")]
    Unsealable,
    /// A purge of the same pages did not finish in time: its process is stopped, or hostile.
    /// The pages that were not reached keep their state; pinning again is safe.
    #[error(
        "pin: a purge of the same pages has not finished for {seconds} s (pages before it purged: {purged})"
    )]
    PurgeStuck {
        /// How long the pin waited.
        seconds: u64,
        /// Whether pages that it pinned before had been purged: that is not told again.
        purged: bool,
    },
    /// Another process holds the purge lock of this region.
    #[error("{operation}: another process holds the region's purge lock")]
    PurgeLocked {
        /// What was tried.
        operation: &'static str,
    },
    /// A cache has no room for an entry: it is too large, or all that could make way for it is in use.
    #[error("cache: no room for an entry of {len} bytes")]
    CacheFull {
        /// Length of the entry in bytes.
        len: u64,
    },
    /// A cache's entry is to make way for another one of the same key, and somebody uses it.
    #[error("cache: the entry of {len} bytes is in use")]
    EntryInUse {
        /// Length of the entry that is there, in bytes.
        len: u64,
    },
    /// The budget of a cache is smaller than its index.
    #[error("cache: a budget of {budget} bytes, but its index has {index} bytes")]
    BudgetTooSmall {
        /// The refused budget in bytes.
        budget: u64,
        /// Size of the index in bytes.
        index: u64,
    },
    /// Somebody has been building the same contents, or changing the same cache or memory file, for too long: its process is stopped,
    /// or takes longer than the patience that was asked for.
    #[error("somebody else has been building the same for {seconds} s")]
    BuildStuck {
        /// How long this thread waited.
        seconds: u64,
    },
    /// A builder has asked for what it is building.
    #[error("build: the builder asks for what it builds")]
    BuildReentered,
    /// The object was closed before.
    #[error("{operation}: it is closed")]
    Closed {
        /// What was tried.
        operation: &'static str,
    },
    /// The memory file was deactivated, or closed, before.
    #[error("{operation}: the memory file has been deactivated")]
    Deactivated {
        /// What was tried.
        operation: &'static str,
    },
    /// The memory file was purged and has not been written since.
    #[error("{operation}: the memory file has been purged")]
    Purged {
        /// What was tried.
        operation: &'static str,
    },
    /// The header of a ring, or the length of a message in it, is nothing that an honest end writes.
    #[error("ring corrupt: {reason}")]
    RingCorrupt {
        /// Which check failed.
        reason: &'static str,
    },
    /// Somebody, in this process or another, has this end of the ring.
    #[error("claim the {end} of a ring: somebody has it")]
    RingEndTaken {
        /// Which end: "producer" or "consumer".
        end: &'static str,
    },
    /// The other end of the ring was claimed once and is not any more, and nothing is left that could be done without it.
    /// Whoever claims it goes on from where it was.
    #[error("{operation}: nobody has the other end of the ring any more")]
    RingPeerGone {
        /// What waited for the peer.
        operation: &'static str,
    },
    /// The message does not fit into the ring, however empty it is.
    #[error("send to ring: the message has {len} bytes, at most {max} fit")]
    MessageTooLong {
        /// Length of the message in bytes.
        len: u64,
        /// The longest message of this ring in bytes.
        max: u64,
    },
    /// A system call failed.
    #[error("{operation}: {source}")]
    System {
        /// The operation that needed the call.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
        move |errno| Error::System { operation, source: errno.into() }
    }

    /// The errno that stands for this error in a C interface.
    #[must_use]
    pub fn raw_os_error(&self) -> i32 {
        match self {
            Error::NameTooLong { .. }
            | Error::NameHasNul
            | Error::InvalidSize { .. }
            | Error::InvalidKey { .. }
            | Error::RangeEmpty { .. }
            | Error::RangeOutOfBounds { .. }
            | Error::RangeMisaligned { .. }
            | Error::AccessOutOfBounds { .. }
            | Error::AccessMisaligned { .. }
            | Error::ProtectionAdded { .. }
            | Error::ProtectionInvalid { .. } => libc::EINVAL,
            Error::NotARegion { .. } | Error::NotACache { .. } => libc::ENOTTY,
            Error::ControlBlockCorrupt { .. } | Error::RingCorrupt { .. } => libc::EUCLEAN,
            Error::NotPurgeable { .. } | Error::ProtectionDenied { .. } | Error::Unsealable => libc::EPERM,
            Error::ReadOnly { .. } => libc::EACCES,
            Error::PurgeStuck { .. } | Error::BuildStuck { .. } => libc::ETIMEDOUT,
            Error::CacheFull { .. } => libc::ENOSPC,
            Error::EntryInUse { .. } => libc::EBUSY,
            Error::BudgetTooSmall { .. } => libc::EINVAL,
            Error::BuildReentered => libc::EDEADLK,
            Error::PurgeLocked { .. } | Error::RingEndTaken { .. } => libc::EBUSY,
            Error::RingPeerGone { .. } => libc::EPIPE,
            Error::MessageTooLong { .. } => libc::EMSGSIZE,
            Error::Closed { .. } | Error::Deactivated { .. } => libc::EBADF,
            Error::Purged { .. } => libc::ENODATA,
            Error::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = io::Error::from_raw_os_error(error.raw_os_error()).kind();
        io::Error::new(kind, error)
    }
}
