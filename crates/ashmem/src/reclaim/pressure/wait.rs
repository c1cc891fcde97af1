//! `poll(2)` that signals do not end.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

/// How long to sleep instead when the kernel cannot poll, which it answers only for want of memory or descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// The moment that is `timeout` away; `None` for never, also when it is further away than a clock can say.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Waits until a descriptor is ready; false when the deadline comes first.
pub(super) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A time that does not fit is as good as none.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(fds, timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(_) => {
                std::thread::sleep(left.map_or(PAUSE, |left| left.min(PAUSE)));
                fds.iter_mut().for_each(PollFd::clear_revents);
                return false;
            }
        }
    }
}
