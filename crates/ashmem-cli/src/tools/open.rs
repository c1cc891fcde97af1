//! Opening the memfds of other processes, which may replace them by anything at any moment.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{
    AtFlags, FileType, MemfdFlags, Mode, OFlags, Statx, StatxFlags, memfd_create, open as open_path, statx,
};
use rustix::io::Errno;

use super::scan::Place;

/// What a file is to be opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look at it.
    Read,
    /// To take pages of it away.
    Write,
}

/// Which file it is, among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: (u32, u32),
    pub inode: u64,
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub id: FileId,
    /// Of the file, in bytes.
    pub size: u64,
    /// Bytes in memory or swap.
    pub allocated: u64,
    /// As a region with a control block. Anybody can mark a file of his own.
    pub is_marked: bool,
    is_regular: bool,
}

impl Status {
    fn from_statx(file: &Statx) -> Status {
        Status {
            id: FileId { device: (file.stx_dev_major, file.stx_dev_minor), inode: file.stx_ino },
            size: file.stx_size,
            allocated: file.stx_blocks.saturating_mul(512),
            is_marked: u32::from(file.stx_mode) & Mode::SVTX.as_raw_mode() != 0,
            is_regular: FileType::from_raw_mode(file.stx_mode.into()) == FileType::RegularFile,
        }
    }

    /// Whether it lives where the kernel keeps memfds of ordinary pages.
    pub fn is_memfd(&self, memfds: Memfds) -> bool {
        self.is_regular && self.id.device == memfds.0
    }
}

/// Where the kernel keeps memfds.
#[derive(Clone, Copy, Debug)]
pub struct Memfds((u32, u32));

impl Memfds {
    /// Finds out by making one, once.
    pub fn find() -> Result<Memfds, Errno> {
        static KNOWN: OnceLock<Memfds> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(*known);
        }
        let probe = memfd_create(c"probe", MemfdFlags::CLOEXEC)?;
        let found = Memfds(status_of(probe.as_fd())?.id.device);
        Ok(*KNOWN.get_or_init(|| found))
    }
}

/// What a descriptor of a process names. Asks no file server: it could keep the answer to itself.
pub fn status(place: Place) -> Result<Status, Errno> {
    let flags = AtFlags::STATX_DONT_SYNC;
    statx(rustix::fs::CWD, place.path(), flags, StatxFlags::BASIC_STATS).map(|file| Status::from_statx(&file))
}

fn status_of(file: BorrowedFd<'_>) -> Result<Status, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(file, c"", flags, StatxFlags::BASIC_STATS).map(|file| Status::from_statx(&file))
}

/// Opens the memfd that a descriptor of a process names, with a description of its own; ESTALE if it names something else than
/// `expected` by now, ENOTTY if that is no memfd.
///
/// It is first taken hold of without being opened, for opening can wait, and do things to devices. Not even a memfd is waited
/// for: somebody may have a lease on it (`F_SETLEASE` of `fcntl(2)`).
pub fn open(place: Place, expected: Option<FileId>, access: Access) -> Result<OwnedFd, Errno> {
    let memfds = Memfds::find()?;
    let handle = open_path(place.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let status = status_of(handle.as_fd())?;
    if expected.is_some_and(|expected| expected != status.id) {
        return Err(Errno::STALE);
    }
    if !status.is_memfd(memfds) {
        return Err(Errno::NOTTY);
    }
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::RDWR,
    };
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    open_path(path, access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}
