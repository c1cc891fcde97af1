//! What wakes a reclaimer's thread: who calls it, the daemon, and a socket that appears.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{Timespec, epoll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::sys::aside::aside;
use crate::sys::fork;

/// An epoll descriptor, which is readable when one of those in it has something to say.
#[derive(Debug)]
pub(super) struct Wakes {
    epoll: Arc<OwnedFd>,
    /// Says when a file appears beside the sockets. Only there while it is waited for: a user may have but a few of these.
    inotify: Option<OwnedFd>,
}

impl Wakes {
    /// With the eventfd that the thread is called by.
    pub(super) fn open(called: BorrowedFd<'_>) -> Result<Wakes, Errno> {
        let wakes =
            Wakes { epoll: Arc::new(aside(epoll::create(epoll::CreateFlags::CLOEXEC)?)), inotify: None };
        wakes.add(called)?;
        Ok(wakes)
    }

    /// What to poll.
    pub(super) fn epoll(&self) -> Arc<OwnedFd> {
        self.epoll.clone()
    }

    /// Whether it works: somebody may have closed it.
    pub(super) fn is_sound(&self) -> bool {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 1];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(epoll::wait(&self.epoll, &mut events, Some(&at_once)), Ok(_) | Err(Errno::INTR))
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
    }

    /// Also wakes when something can be sent, or not any more.
    pub(super) fn when_writable(&self, socket: BorrowedFd<'_>, wanted: bool) -> Result<(), Errno> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, wanted);
        epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(0), flags)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // Fails only when it is gone already.
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(super) fn is_watching(&self) -> bool {
        self.inotify.is_some()
    }

    /// Wakes when a file appears in the directory of one of these, as far as there is one.
    pub(super) fn watch(&mut self, paths: &[PathBuf]) {
        let mut directories =
            paths.iter().filter_map(|path| path.parent()).filter(|dir| dir.is_dir()).peekable();
        if self.is_watching() || directories.peek().is_none() {
            return;
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        // Without it, the reclaimer looks for the socket itself now and then.
        let Ok(inotify) = inotify::init(flags).map(aside) else { return };
        let wanted =
            inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        for dir in directories {
            // As above.
            let _ = inotify::add_watch(&inotify, dir, wanted);
        }
        if self.add(inotify.as_fd()).is_ok() {
            self.inotify = Some(inotify);
        }
    }

    pub(super) fn stop_watching(&mut self) {
        if let Some(inotify) = self.inotify.take() {
            self.remove(inotify.as_fd());
        }
    }

    /// Whether one of these has appeared since the last time, perhaps.
    pub(super) fn has_appeared(&mut self, paths: &[PathBuf]) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut space);
        let mut appeared = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    let is_it = |path: &PathBuf| Path::file_name(path) == name;
                    appeared |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW)
                        || paths.iter().any(is_it);
                }
                Err(Errno::AGAIN) => return appeared,
                Err(Errno::INTR) => {}
                Err(_) => {
                    // It is closed, or another file.
                    std::mem::forget(self.inotify.take());
                    return appeared;
                }
            }
        }
    }

    /// In a forked child: closes all, and changes nothing about the parent's. `is_in_use` when the thread that polls it goes on here.
    pub(super) fn after_fork(self, is_in_use: bool) {
        if !is_in_use {
            fork::close_in_child(self.epoll);
        }
    }

    /// It is not sound any more: the numbers are somebody else's.
    pub(super) fn abandon(self) {
        std::mem::forget((self.epoll, self.inotify));
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

    use super::*;

    fn is_ready(wakes: &Wakes) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&*wakes.epoll, PollFlags::IN)], Some(&at_once)) == Ok(1)
    }

    #[test]
    fn a_socket_s_name_appears() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = [dir.path().join("absent/driver"), dir.path().join("driver")];
        let called = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        let mut wakes = Wakes::open(called.as_fd()).expect("opened");
        assert!(wakes.is_sound());
        wakes.watch(&paths);
        assert!(wakes.is_watching() && !is_ready(&wakes));
        std::fs::write(dir.path().join("other"), "").expect("written");
        assert!(is_ready(&wakes) && !wakes.has_appeared(&paths) && !is_ready(&wakes));
        std::fs::rename(dir.path().join("other"), &paths[1]).expect("renamed");
        assert!(is_ready(&wakes) && wakes.has_appeared(&paths) && !wakes.has_appeared(&paths));
        wakes.stop_watching();
        std::fs::write(dir.path().join("third"), "").expect("written");
        assert!(!is_ready(&wakes) && !wakes.has_appeared(&paths));
        rustix::io::write(&called, &1u64.to_ne_bytes()).expect("called");
        assert!(is_ready(&wakes));
        wakes.watch(&paths[..1]);
        assert!(!wakes.is_watching(), "there is no directory to watch");
    }
}
