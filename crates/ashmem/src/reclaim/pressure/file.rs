//! Small files of procfs and cgroupfs, read again and again into one buffer.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::aside::aside;

/// Bytes that the buffer of a reader should have. The longest files, `memory.stat` and `/proc/meminfo`, have 2 KiB;
/// `/proc/self/cgroup` has a path of up to 4 KiB.
pub const BUFFER_SIZE: usize = 16 << 10;

/// A file kept open. Each read shows its contents of that moment.
#[derive(Debug)]
pub(super) struct KeptFile(OwnedFd);

impl KeptFile {
    pub(super) fn open(dir: BorrowedFd<'_>, name: &CStr) -> Option<KeptFile> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty()).ok().map(aside).map(KeptFile)
    }

    pub(super) fn open_path(path: &Path) -> Option<KeptFile> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).ok().map(aside).map(KeptFile)
    }

    /// The contents, as much as fits the buffer. These files come whole from one read at offset 0.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        loop {
            match rustix::io::pread(&self.0, &mut *buffer, 0) {
                Ok(len) => return buffer.get(..len),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for KeptFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A directory to open files in, at the price of one descriptor and no lookups of its path.
pub(super) fn open_dir(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok().map(aside)
}
