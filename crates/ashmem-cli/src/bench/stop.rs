//! Being told to end, so that what was made can be removed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::Error;
use crate::signals::Endings;

/// Readable once somebody wants the program to end.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Waits for SIGINT, SIGTERM and SIGHUP in a thread of its own. To be called before other threads start.
    pub fn watch() -> Result<Stop, Error> {
        let (endings, stop) = (Endings::hold_back().map_err(Error::Signals)?, Stop::new()?);
        let told = stop.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                // If it fails, signals end nothing, and the run ends by itself.
                if endings.wait().is_ok() {
                    told.tell();
                }
            })
            .map_err(Error::Signals)?;
        Ok(stop)
    }

    fn new() -> Result<Stop, Error> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::Signals(errno.into()))?;
        Ok(Stop(Arc::new(eventfd)))
    }

    fn tell(&self) {
        // Fails only when the count is full, and then it is readable.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Waits until `fd` can be read, which is true, or `patience` is over.
    pub fn or_readable(&self, fd: BorrowedFd<'_>, patience: Duration) -> Result<bool, Error> {
        let give_up = Instant::now() + patience;
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN), PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            let left = give_up.saturating_duration_since(Instant::now());
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::Talk(io::Error::from(errno))),
                Ok(_) if !fds[0].revents().is_empty() => return Err(Error::Interrupted),
                Ok(_) => return Ok(!fds[1].revents().is_empty()),
            }
        }
    }

    /// Sleeps, unless the program is to end.
    pub fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.or_readable(self.0.as_fd(), time).map(|_| ())
    }
}

#[cfg(test)]
impl Stop {
    pub fn never() -> Stop {
        Stop::new().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_end_comes_first() {
        let (stop, (mut ours, theirs)) = (Stop::never(), UnixStream::pair().unwrap());
        assert!(!stop.or_readable(theirs.as_fd(), Duration::from_millis(1)).unwrap());
        stop.sleep(Duration::from_millis(1)).unwrap();
        ours.write_all(b"x").unwrap();
        assert!(stop.or_readable(theirs.as_fd(), Duration::from_secs(60)).unwrap());
        stop.tell();
        assert!(matches!(stop.sleep(Duration::from_secs(60)), Err(Error::Interrupted)));
        assert!(matches!(stop.or_readable(theirs.as_fd(), Duration::ZERO), Err(Error::Interrupted)));
    }
}
