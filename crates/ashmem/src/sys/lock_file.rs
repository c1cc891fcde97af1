//! Descriptions that a process opens to keep locks through.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;

use super::aside::aside;
use super::fork::{self, Part, Section};
use super::memfd;

type Slot = Mutex<Option<OwnedFd>>;

/// A description of a region's file that this process opened for its locks alone. A forked child finds it closed, so that what is locked
/// through it is not locked any longer than the process lives. Dropping it ends the locks.
#[derive(Debug)]
pub(crate) struct LockFile {
    slot: Arc<Slot>,
}

static OPEN: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LockFile {
    /// Opens the file behind a descriptor again. Needs `/proc`.
    pub(crate) fn open(fd: BorrowedFd<'_>, writable: bool, _: &Section) -> Result<LockFile, Errno> {
        fork::in_child(Part::LockFiles, close_in_child);
        let slot = Arc::new(Mutex::new(Some(aside(memfd::reopen(fd, writable)?))));
        let mut open = lock(&OPEN);
        if open.len() == open.capacity() {
            open.retain(|slot| slot.strong_count() > 0);
        }
        open.push(Arc::downgrade(&slot));
        Ok(LockFile { slot })
    }

    /// Does something with it; EBADF in a child of the process that opened it.
    pub(crate) fn with<T>(
        &self,
        _: &Section,
        action: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match &*lock(&self.slot) {
            Some(file) => action(file.as_fd()),
            None => Err(Errno::BADF),
        }
    }
}

/// Inside of fork, where no section may be opened.
fn close_in_child() {
    for slot in lock(&OPEN).iter().filter_map(Weak::upgrade) {
        lock(&slot).take();
    }
}
