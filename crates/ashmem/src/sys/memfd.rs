//! memfd: making, sealing, looking at, punching holes.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::mode;
use crate::Protection;

/// A new memfd that can be sealed, without execute permission where the kernel can do that.
pub(crate) fn create(name: &CStr) -> Result<OwnedFd, Errno> {
    static OLD_KERNEL: AtomicBool = AtomicBool::new(false);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if !OLD_KERNEL.load(Ordering::Relaxed) {
        match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => {}
            answer => return answer,
        }
    }
    let fd = rustix::fs::memfd_create(name, flags)?;
    OLD_KERNEL.store(true, Ordering::Relaxed);
    Ok(fd)
}

/// What `fstat(2)` says, as far as regions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) size: u64,
    pub(crate) allocated: u64,
    pub(crate) inode: u64,
    pub(crate) has_control_mark: bool,
    pub(crate) has_device_mark: bool,
    /// Protection bits that were removed, as far as the mode says so.
    pub(crate) removed: Protection,
    device: u64,
    regular: bool,
}

impl Status {
    pub(crate) fn is_same_file(&self, other: &Status) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the file lives where the kernel keeps memfds (and not in a mounted tmpfs or on hugetlbfs).
    pub(crate) fn is_memfd(&self) -> Result<bool, Errno> {
        Ok(self.regular && self.device == memfd_device()?)
    }
}

pub(crate) fn status(fd: BorrowedFd<'_>) -> Result<Status, Errno> {
    let stat: Stat = rustix::fs::fstat(fd)?;
    let bits = Mode::from_raw_mode(stat.st_mode);
    Ok(Status {
        size: u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?,
        allocated: u64::try_from(stat.st_blocks).map_err(|_| Errno::OVERFLOW)? * 512,
        inode: stat.st_ino,
        has_control_mark: mode::has_control_mark(bits),
        has_device_mark: mode::has_device_mark(bits),
        removed: mode::removed_protection(bits),
        device: stat.st_dev,
        regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
    })
}

/// The device number of the kernel's internal tmpfs: that of a memfd made to see it.
fn memfd_device() -> Result<u64, Errno> {
    const UNKNOWN: u64 = u64::MAX;
    static DEVICE: AtomicU64 = AtomicU64::new(UNKNOWN);
    let known = DEVICE.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return Ok(known);
    }
    let probe = create(c"probe")?;
    let device = rustix::fs::fstat(&probe)?.st_dev;
    DEVICE.store(device, Ordering::Relaxed);
    Ok(device)
}

pub(crate) fn set_size(fd: BorrowedFd<'_>, size: u64) -> Result<(), Errno> {
    rustix::fs::ftruncate(fd, size)
}

pub(crate) fn seals(fd: BorrowedFd<'_>) -> Result<SealFlags, Errno> {
    rustix::fs::fcntl_get_seals(fd)
}

pub(crate) fn add_seals(fd: BorrowedFd<'_>, seals: SealFlags) -> Result<(), Errno> {
    rustix::fs::fcntl_add_seals(fd, seals)
}

/// Writes all of `bytes` at `place`.
pub(crate) fn write(fd: BorrowedFd<'_>, mut bytes: &[u8], mut place: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, place) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                place += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Allocates `start..start + len` (bytes), so that no later access can run out of memory.
pub(crate) fn populate(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    retry(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), start, len))
}

/// Gives `start..start + len` (bytes) back to the system; it reads as zeros afterwards.
pub(crate) fn punch(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    retry(|| rustix::fs::fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, len))
}

/// Calls `each` for every stretch of `start..end` (bytes) that is in memory or swap, in order. Moves the descriptor's file
/// position.
pub(crate) fn each_extent(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    mut each: impl FnMut(Range<u64>),
) -> Result<(), Errno> {
    let seek = |to| match rustix::fs::seek(fd, to) {
        Ok(place) => Ok(place.min(end)),
        // There is nothing more.
        Err(Errno::NXIO) => Ok(end),
        Err(errno) => Err(errno),
    };
    let mut place = start;
    while place < end {
        let data = seek(SeekFrom::Data(place))?;
        place = seek(SeekFrom::Hole(data))?;
        if place > data {
            each(data..place);
        }
    }
    Ok(())
}

fn retry(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// Whether this descriptor reads and writes.
pub(crate) fn is_writable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(flags & OFlags::RWMODE == OFlags::RDWR)
}

/// Opens the same file again, with a description (position, locks) of its own.
///
/// Needs `/proc`, and permission by the file's mode. Does not wait for who has taken a lease on the file (`F_SETLEASE`): then it is
/// EAGAIN.
pub(crate) fn reopen(fd: BorrowedFd<'_>, writable: bool) -> Result<OwnedFd, Errno> {
    let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    // Reads and writes of a memfd never block, so this concerns the opening alone.
    rustix::fs::open(proc_path(fd), access | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

/// The name that the memfd was made with, as the kernel shows it.
pub(crate) fn name(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let link = rustix::fs::readlink(proc_path(fd.as_fd()), Vec::new())?.into_bytes();
    let label = link.strip_prefix(b"/memfd:").unwrap_or(&link);
    Ok(label.strip_suffix(b" (deleted)").unwrap_or(label).to_vec())
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
