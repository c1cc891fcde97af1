//! Waiting for changes in a directory.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// How long at most, whatever is heard: a process may have been replaced behind the same name, or the
/// directory.
const LONGEST: Duration = Duration::from_secs(1);
/// The same where nothing can be heard, as a user can have only so many inotify instances.
const BLIND: Duration = Duration::from_millis(50);

/// Hears of what is added to a directory from the moment on that it was made.
#[derive(Debug)]
pub(super) struct Watch(Option<OwnedFd>);

impl Watch {
    pub(super) fn new(directory: &Path) -> Watch {
        let watch = || {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let flags =
                WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
            inotify::add_watch(&inotify, directory, flags)?;
            Ok(inotify)
        };
        let watch =
            watch().inspect_err(|error: &Errno| log::debug!("watching {}: {error}", directory.display()));
        Watch(watch.ok())
    }

    /// One for what cannot be watched.
    pub(super) fn blind() -> Watch {
        Watch(None)
    }

    /// Waits for something new, for a moment at most.
    pub(super) fn wait(&self, most: Duration) {
        let Some(inotify) = &self.0 else { return std::thread::sleep(most.min(BLIND)) };
        let most = most.min(LONGEST);
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(inotify, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => {
                // What it was does not matter.
                let mut events = [MaybeUninit::<u8>::uninit(); 4096];
                while rustix::io::read(inotify, &mut events).is_ok_and(|(events, _)| !events.is_empty()) {}
            }
            Err(_) => std::thread::sleep(most.min(BLIND)),
        }
    }
}
