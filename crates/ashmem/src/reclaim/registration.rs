//! A region's place in the list of its reclaimer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Reclaimer;
use super::engine::lock;
use crate::sys::fork;

/// Which reclaimer a region has, and under which number. Dropped with the region: then the reclaimer forgets it, and so does the daemon.
///
/// It locks the reclaimer, so no region is dropped where that is locked or a fork section is open.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Unlike that of any other region that this process ever had.
    id: u64,
    /// Whether the reclaimer has it in its list.
    is_listed: AtomicBool,
    reclaimer: Option<Reclaimer>,
}

impl Registration {
    /// For a region that no reclaimer knows yet; `None` stands for [`Reclaimer::global`].
    pub(crate) fn new(reclaimer: Option<Reclaimer>) -> Registration {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Registration { id, is_listed: AtomicBool::new(false), reclaimer }
    }

    /// For what becomes of the region after the reclaimer has forgotten it.
    pub(crate) fn renewed(&self) -> Registration {
        Registration::new(self.reclaimer.clone())
    }

    pub(crate) fn reclaimer(&self) -> &Reclaimer {
        self.reclaimer.as_ref().unwrap_or_else(|| Reclaimer::global())
    }

    /// Whether the driver daemon has the region.
    pub(crate) fn is_served(&self) -> bool {
        if !self.is_listed.load(Ordering::Acquire) {
            return false;
        }
        let shared = &self.reclaimer().shared;
        let _section = fork::section();
        lock(&shared.state).regions.is_handed(self.id)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The reclaimer, whose lock is held, has put it in its list.
    pub(super) fn mark_listed(&self) {
        self.is_listed.store(true, Ordering::Release);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.is_listed.load(Ordering::Acquire) {
            return;
        }
        let shared = &self.reclaimer().shared;
        let _section = fork::section();
        let mut state = lock(&shared.state);
        state.forget(self.id);
        if state.regions.is_empty() {
            // Nothing is left to wait for.
            state.rouse();
        }
    }
}
