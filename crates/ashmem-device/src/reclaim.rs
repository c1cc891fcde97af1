//! The thread that takes pages away when memory runs short: that of the driver daemon, for areas.
//!
//! It watches the limits of the processes that have descriptors of them, and takes the pages that were unpinned longest ago below
//! each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ashmem::Reclaimer;
use ashmem_driver::reclaim::{Counts, Host, Served};
use ashmem_driver::{Policy, snapshot};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::state::Shared;

/// Rings when an area has come to have unpinned pages, and at the end.
#[derive(Debug)]
pub(crate) struct Bell {
    event: OwnedFd,
    is_end: AtomicBool,
}

impl Bell {
    /// # Errors
    /// Those of `eventfd(2)`.
    pub(crate) fn new() -> Result<Bell, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { event, is_end: AtomicBool::new(false) })
    }

    pub(crate) fn ring(&self) {
        // Fails only when it rings already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    pub(crate) fn end(&self) {
        self.is_end.store(true, Ordering::Release);
        self.ring();
    }
}

/// What the thread works for.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) policy: Arc<Policy>,
}

impl Host for Keeper {
    fn served(&self) -> Vec<Served> {
        let mut state = self.shared.lock();
        // What is only mapped any more is nobody's to take.
        state.let_go();
        state.served()
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.clone()
    }

    fn reclaimer(&self) -> &Reclaimer {
        &self.shared.reclaimer
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.shared.bell.event.as_fd()
    }

    fn is_stopping(&self) -> bool {
        self.shared.bell.is_end.load(Ordering::Acquire)
    }

    fn note(&self, _limits: Vec<snapshot::Limit>, _counts: Counts) {}
}
