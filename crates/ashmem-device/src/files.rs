//! An area's files: memfds, one of them with the contents.
//!
//! A client's descriptor leads to one of these, whichever the last call needed: contents for a shared mapping, zeros for a private one.
//! All of them mean the area. They are exchanged while a thread waits in a call with that very descriptor.

use std::ffi::CString;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

use crate::model::Access;
use crate::task::FileId;

/// Longest name of a memfd in bytes.
const NAME_MAX: usize = 249;

/// The files of one area. No descriptor in here is shared with a client: each has a description of its own, so that the kernel can
/// tell whether others are left.
#[derive(Debug)]
pub(crate) struct Files {
    contents: OwnedFd,
    id: FileId,
    /// As large as can be, and empty: what a private mapping shows.
    zeros: Option<(OwnedFd, FileId)>,
    /// Those that had the area's earlier names.
    former: Vec<(OwnedFd, FileId)>,
}

impl Files {
    /// Files of an area without a name or a size.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`.
    pub(crate) fn new() -> Result<Files, Errno> {
        let contents = memfd(b"ashmem", 0)?;
        let id = FileId::of(&contents)?;
        Ok(Files { contents, id, zeros: None, former: Vec::new() })
    }

    pub(crate) fn contents(&self) -> BorrowedFd<'_> {
        self.contents.as_fd()
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// All of them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = FileId> + '_ {
        let others = self.former.iter().chain(&self.zeros).map(|(_, id)| *id);
        std::iter::once(self.id).chain(others)
    }

    /// New contents under another name; the old file still means the area. Nothing was ever written.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`.
    pub(crate) fn rename(&mut self, name: &[u8], size: u64) -> Result<FileId, Errno> {
        let contents = memfd(&name[..name.len().min(NAME_MAX)], size)?;
        let id = FileId::of(&contents)?;
        let former = std::mem::replace(&mut self.contents, contents);
        self.former.push((former, std::mem::replace(&mut self.id, id)));
        Ok(id)
    }

    /// # Errors
    /// EFBIG, EINVAL for sizes that no file has; then the contents are empty.
    pub(crate) fn set_size(&self, size: u64) -> Result<(), Errno> {
        if self.length() == size {
            return Ok(());
        }
        rustix::fs::ftruncate(&self.contents, 0)?;
        rustix::fs::ftruncate(&self.contents, size)
    }

    /// The size is final from now on.
    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        rustix::fs::fcntl_add_seals(&self.contents, SealFlags::SHRINK | SealFlags::GROW)
    }

    /// Nobody gets write access any more who has none (`F_SEAL_FUTURE_WRITE`).
    pub(crate) fn seal_against_writing(&self) -> Result<(), Errno> {
        rustix::fs::fcntl_add_seals(&self.contents, SealFlags::FUTURE_WRITE)
    }

    /// The zeros, made when they are asked for first.
    pub(crate) fn zeros(&mut self) -> Result<FileId, Errno> {
        if let Some((_, id)) = self.zeros {
            return Ok(id);
        }
        let zeros = memfd(b"ashmem", i64::MAX as u64)?;
        let id = FileId::of(&zeros)?;
        self.zeros = Some((zeros, id));
        Ok(id)
    }

    /// A description of one of the files for a client.
    ///
    /// # Errors
    /// EMFILE, ENFILE; ENOENT for an id of no file of this area.
    pub(crate) fn open(&self, id: FileId, access: Access, flags: OFlags) -> Result<OwnedFd, Errno> {
        let others = self.former.iter().chain(&self.zeros);
        let mut all = std::iter::once((&self.contents, self.id)).chain(others.map(|(fd, id)| (fd, *id)));
        let (file, _) = all.find(|(_, other)| *other == id).ok_or(Errno::NOENT)?;
        reopen(file.as_fd(), access, flags)
    }

    /// Takes the memory of a range away, in bytes.
    ///
    /// # Errors
    /// EPERM when the contents are sealed against writing.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        punch(self.contents.as_fd(), range)
    }

    /// Gives up memory that private mappings have made the kernel allocate for zeros.
    pub(crate) fn trim(&self) {
        if let Some((zeros, _)) = &self.zeros {
            if rustix::fs::fstat(zeros).is_ok_and(|stat| stat.st_blocks > 0) {
                // Whoever looks at them sees zeros again.
                let _ = punch(zeros.as_fd(), 0..i64::MAX as u64);
            }
        }
    }

    /// Where data or a hole starts, at `offset` or behind it.
    ///
    /// # Errors
    /// ENXIO.
    pub(crate) fn seek(&self, offset: u64, data: bool) -> Result<u64, Errno> {
        let offset = if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
        // The position of this description is nobody's.
        rustix::fs::seek(&self.contents, offset)
    }

    pub(crate) fn length(&self) -> u64 {
        let length = rustix::fs::fstat(&self.contents).map_or(0, |stat| stat.st_size);
        u64::try_from(length).unwrap_or(0)
    }

    /// Whether anybody else has one of them open, mapped, or under way. Forgets former files that nobody has; says which.
    pub(crate) fn others(&mut self) -> (bool, Vec<FileId>) {
        let mut gone = Vec::new();
        self.former.retain(|(fd, id)| {
            let stays = is_open_elsewhere(fd.as_fd());
            if !stays {
                gone.push(*id);
            }
            stays
        });
        if let Some((fd, id)) = self.zeros.take_if(|(fd, _)| !is_open_elsewhere(fd.as_fd())) {
            drop(fd);
            gone.push(id);
        }
        let others =
            !self.former.is_empty() || self.zeros.is_some() || is_open_elsewhere(self.contents.as_fd());
        (others, gone)
    }
}

/// A lease on a file is granted only to who is alone with it. It is given back at once.
fn is_open_elsewhere(fd: BorrowedFd<'_>) -> bool {
    match crate::sys::lease(fd) {
        Ok(alone) => !alone,
        // Where there are no leases nobody can know.
        Err(_) => true,
    }
}

/// A description of its own for the file of a descriptor.
pub(crate) fn reopen(fd: BorrowedFd<'_>, access: Access, flags: OFlags) -> Result<OwnedFd, Errno> {
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let kept = flags & (OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOATIME);
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, access | kept | OFlags::CLOEXEC, Mode::empty())
}

fn punch(fd: BorrowedFd<'_>, range: Range<u64>) -> Result<(), Errno> {
    let length = range.end.saturating_sub(range.start);
    if length == 0 {
        return Ok(());
    }
    rustix::fs::fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.start, length)
}

fn memfd(name: &[u8], size: u64) -> Result<OwnedFd, Errno> {
    static OLD_KERNEL: AtomicBool = AtomicBool::new(false);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let fd = if OLD_KERNEL.load(Ordering::Relaxed) {
        rustix::fs::memfd_create(&name, flags)?
    } else {
        // Areas may be executed. Kernels before 6.3 do not know the flag, and some are set up to refuse it.
        match rustix::fs::memfd_create(&name, flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => {
                OLD_KERNEL.store(true, Ordering::Relaxed);
                rustix::fs::memfd_create(&name, flags)?
            }
            Err(Errno::ACCESS) => rustix::fs::memfd_create(&name, flags | MemfdFlags::NOEXEC_SEAL)?,
            made => made?,
        }
    };
    // Its pins are asked for at the device, not looked for behind its contents.
    ashmem::driver::device::mark(&fd)?;
    if size > 0 {
        // A size that no file has: nobody can map that.
        let _ = rustix::fs::ftruncate(&fd, size);
    }
    // The kernel counts descriptions that were opened, and this one was not.
    reopen(fd.as_fd(), Access::ReadWrite, OFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_else_has_them() {
        let mut files = Files::new().expect("files");
        assert_eq!(files.others(), (false, vec![]));
        let client = files.open(files.id(), Access::ReadWrite, OFlags::empty()).expect("a description");
        assert!(files.others().0);
        let former = files.id();
        files.rename(b"name", 4096).expect("another file");
        assert_eq!(files.ids().count(), 2);
        assert_eq!(files.others(), (true, vec![]));
        drop(client);
        assert_eq!(files.others(), (false, vec![former]));
        let zeros = files.zeros().expect("zeros");
        let private = files.open(zeros, Access::Read, OFlags::empty()).expect("a description");
        assert!(files.others().0);
        drop(private);
        assert_eq!(files.others(), (false, vec![zeros]));
    }

    #[test]
    fn a_client_s_description_has_its_flags() {
        let files = Files::new().expect("files");
        let client = files
            .open(files.id(), Access::Read, OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC)
            .expect("a description");
        let flags = rustix::fs::fcntl_getfl(&client).expect("flags");
        assert!(flags.contains(OFlags::APPEND | OFlags::NONBLOCK));
        assert_eq!(flags & OFlags::RWMODE, OFlags::RDONLY);
    }

    #[test]
    fn sizes_that_no_file_has() {
        let files = Files::new().expect("files");
        assert!(files.set_size(u64::MAX).is_err());
        assert_eq!(files.length(), 0);
        files.set_size(i64::MAX as u64).expect("a size");
        files.set_size(5).expect("a size");
        files.freeze().expect("sealed");
        assert_eq!(files.length(), 5);
        assert!(files.set_size(6).is_err());
    }
}
