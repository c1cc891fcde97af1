//! A source that the program itself feeds.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};

use super::wait::{deadline, poll_until};
use super::{PressureSource, Reading, Woken};
use crate::sys::fork;
use crate::{Error, Result};

/// A pressure source whose readings the program sets: for tests, and for programs that know better than the system
/// when memory is short (a budget of their own, a memory limit of a runtime, a message from a supervisor).
///
/// Clones are handles to the same source. One of them goes to whoever reclaims; more than one waiter would take
/// each other's events.
///
/// ```
/// use ashmem::pressure::{Headroom, ManualPressure, PressureSource, Reading};
///
/// # fn main() -> ashmem::Result<()> {
/// let handle = ManualPressure::new()?;
/// let mut source = handle.clone();
///
/// let headroom = Headroom { available: 10 << 20, limit: 1 << 30 };
/// handle.set(Reading { headrooms: vec![headroom], stalled: true });
/// assert!(source.read().stalled);
/// assert!(!source.read().stalled);
/// assert_eq!(source.read().headrooms, [headroom]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualPressure {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reading: Mutex<Reading>,
    /// Readable after a change that no wait has reported yet.
    changed: OwnedFd,
}

impl ManualPressure {
    /// A source without any limits and without stalls.
    ///
    /// # Errors
    /// [`Error::System`] when there is no descriptor left for its `eventfd(2)`.
    pub fn new() -> Result<ManualPressure> {
        let changed = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::system("create pressure source"))?;
        Ok(ManualPressure { shared: Arc::new(Shared { reading: Mutex::default(), changed }) })
    }

    /// Sets what is known from now on and wakes the waiter. `stalled` is reported once, the headrooms for good.
    pub fn set(&self, reading: Reading) {
        self.with(|known| *known = reading);
        self.announce();
    }

    /// Reports a stall at the next reading and wakes the waiter.
    pub fn stall(&self) {
        self.with(|known| known.stalled = true);
        self.announce();
    }

    fn announce(&self) {
        // It fails only when the count is full, and then the waiter is as good as awake.
        let _ = rustix::io::write(&self.shared.changed, &1u64.to_ne_bytes());
    }

    fn with(&self, action: impl FnOnce(&mut Reading)) {
        let _section = fork::section();
        action(&mut self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl PressureSource for ManualPressure {
    fn read_into(&mut self, reading: &mut Reading) {
        self.with(|known| {
            reading.headrooms.clone_from(&known.headrooms);
            reading.stalled = std::mem::take(&mut known.stalled);
        });
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        let mut fds =
            [PollFd::from_borrowed_fd(wake, PollFlags::IN), PollFd::new(&self.shared.changed, PollFlags::IN)];
        poll_until(&mut fds, deadline(timeout));
        let [called, changed] = fds.map(|fd| !fd.revents().is_empty());
        if changed {
            let _ = rustix::io::read(&self.shared.changed, &mut [0; 8]);
        }
        match (called, changed) {
            (true, _) => Woken::Called,
            (false, true) => Woken::Event,
            (false, false) => Woken::TimedOut,
        }
    }

    fn describe(&self) -> Vec<String> {
        vec!["set by the program".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::Headroom;
    use super::*;

    fn wake() -> OwnedFd {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn readings_are_those_that_were_set() {
        let handle = ManualPressure::new().unwrap();
        let mut source = handle.clone();
        assert_eq!(source.read(), Reading::default());
        let headrooms = vec![Headroom { available: 1, limit: 2 }];
        handle.set(Reading { headrooms: headrooms.clone(), stalled: true });
        assert_eq!(source.read(), Reading { headrooms: headrooms.clone(), stalled: true });
        assert_eq!(source.read(), Reading { headrooms, stalled: false });
    }

    #[test]
    fn a_change_ends_one_wait() {
        let handle = ManualPressure::new().unwrap();
        let mut source = handle.clone();
        let wake = wake();
        let setter = std::thread::spawn(move || handle.stall());
        assert_eq!(source.wait(wake.as_fd(), None), Woken::Event);
        setter.join().unwrap();
        assert!(source.read().stalled);
        assert_eq!(source.wait(wake.as_fd(), Some(Duration::ZERO)), Woken::TimedOut);
    }

    #[test]
    fn a_call_ends_the_wait_and_stays() {
        let mut source = ManualPressure::new().unwrap();
        let wake = wake();
        rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap();
        assert_eq!(source.wait(wake.as_fd(), None), Woken::Called);
        assert_eq!(source.wait(wake.as_fd(), None), Woken::Called);
    }
}
