//! Pressure stall information: the kernel tells when tasks wait for memory (`Documentation/accounting/psi.rst`).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};

use super::wait::poll_until;
use crate::sys::aside::aside;

/// When it counts as a stall: some task waited for memory for `threshold` of any `window`.
///
/// Without privileges (CAP_SYS_RESOURCE) the window must be a multiple of 2 s. The kernel takes windows of 0.5 to 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// How long tasks wait, in all.
    pub threshold: Duration,
    /// In what time.
    pub window: Duration,
}

impl Default for Stall {
    /// 150 ms, which is where a desktop begins to feel slow, in 2 s.
    fn default() -> Stall {
        Stall { threshold: Duration::from_millis(150), window: Duration::from_secs(2) }
    }
}

/// A trigger set on a pressure file. It lives as long as its descriptor and fires at most once per window.
#[derive(Debug)]
pub(super) struct Trigger(OwnedFd);

/// What became of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Quiet,
    Fired,
    /// Its cgroup was removed: it will report errors for ever and never fire again.
    Gone,
}

impl Trigger {
    /// `None` without PSI (`CONFIG_PSI`, `psi=1`) or without permission.
    pub(super) fn open(dir: BorrowedFd<'_>, name: &CStr, stall: Stall) -> Option<Trigger> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = aside(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
        let text = format!("some {} {}\0", stall.threshold.as_micros(), stall.window.as_micros());
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, text.as_bytes())).ok()?;
        (written == text.len()).then_some(Trigger(fd))
    }

    /// Asks without waiting. The kernel forgets an event once it was polled, so the answer must be kept.
    pub(super) fn ask(&self) -> Answer {
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        poll_until(&mut fds, Some(Instant::now()));
        Trigger::judge(fds[0].revents())
    }

    /// The meaning of what `poll(2)` reported for it.
    pub(super) fn judge(revents: PollFlags) -> Answer {
        if revents.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            Answer::Gone
        } else if revents.contains(PollFlags::PRI) {
            Answer::Fired
        } else {
            Answer::Quiet
        }
    }

    /// Something else that can be polled, in the trigger's place.
    #[cfg(test)]
    pub(super) fn stand_in(fd: OwnedFd) -> Trigger {
        Trigger(fd)
    }
}

impl AsFd for Trigger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::pressure::file::open_dir;

    #[test]
    fn tells_events_from_errors() {
        assert_eq!(Trigger::judge(PollFlags::empty()), Answer::Quiet);
        assert_eq!(Trigger::judge(PollFlags::PRI), Answer::Fired);
        assert_eq!(Trigger::judge(PollFlags::PRI | PollFlags::ERR), Answer::Gone);
    }

    #[test]
    fn the_kernel_takes_the_trigger() {
        let open = |stall| {
            let dir = open_dir("/proc/pressure".as_ref())?;
            Trigger::open(dir.as_fd(), c"memory", stall)
        };
        let backwards = Stall { threshold: Duration::from_secs(3), window: Duration::from_secs(2) };
        assert!(open(backwards).is_none(), "more than the window");
        match open(Stall::default()) {
            Some(trigger) => assert_ne!(trigger.ask(), Answer::Gone),
            None => println!("skipped: no memory triggers on this system"),
        }
    }

    #[test]
    fn absent_where_there_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = open_dir(dir.path()).unwrap();
        assert!(Trigger::open(dir.as_fd(), c"memory", Stall::default()).is_none());
    }
}
