//! What the threads of a daemon have in common.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ashmem::Reclaimer;
use rustix::event::{EventfdFlags, eventfd};

use crate::answer::Answers;
use crate::closing::Closing;
use crate::listen::Audience;
use crate::policy::Policy;
use crate::purges::History;
use crate::snapshot;
use crate::table::{Served, Table};
use crate::turn::{Counts, Host};
use crate::{Error, Result};

/// Locks are held for moments, one at a time, and never while something is asked of the kernel that could take long.
pub(crate) struct Shared {
    pub(crate) table: Mutex<Table>,
    pub(crate) history: Mutex<History>,
    pub(crate) answers: Mutex<Answers>,
    policy: Mutex<Arc<Policy>>,
    /// What was found at the last look.
    found: Mutex<(Vec<snapshot::Limit>, Counts)>,
    /// Without a thread: whoever reclaims says when.
    pub(crate) reclaimer: Reclaimer,
    pub(crate) closing: Closing,
    pub(crate) counters: Counters,
    /// An eventfd that wakes whoever reclaims: regions were registered, there is another policy, or it is the end.
    pub(crate) wake: OwnedFd,
    /// Descriptors for regions and connections.
    pub(crate) descriptors: u64,
    pub(crate) audience: Audience,
    /// The user that the daemon runs as.
    pub(crate) user: u32,
    pub(crate) started: Instant,
    stopping: AtomicBool,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What is counted besides the reclaimer's own figures.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)+
        }
    };
}

counters! {
    /// As in [`snapshot::Counters`], as all of these.
    connections,
    expelled,
    registered,
    released,
    refused,
    dropped_messages,
}

/// Counts.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state is left half-changed by a panic: there is nothing that panics between two changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the counter of an eventfd positive.
pub(crate) fn ring(event: &OwnedFd) {
    // Fails only where it is as full as it gets, and then it is readable.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// An eventfd that does not block.
pub(crate) fn bell() -> Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::system("make eventfd"))
}

impl Shared {
    pub(crate) fn new(policy: Policy, audience: Audience, descriptors: u64) -> Result<Shared> {
        Ok(Shared {
            table: Mutex::default(),
            history: Mutex::default(),
            answers: Mutex::default(),
            policy: Mutex::new(Arc::new(policy)),
            found: Mutex::default(),
            reclaimer: Reclaimer::builder().without_thread().build(),
            closing: Closing::start(descriptors).map_err(Error::system("start thread"))?,
            counters: Counters::default(),
            wake: bell()?,
            descriptors,
            audience,
            user: rustix::process::geteuid().as_raw(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        *lock(&self.policy) = Arc::new(policy);
        ring(&self.wake);
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        lock(&self.policy).clone()
    }

    pub(crate) fn limits(&self) -> Vec<snapshot::Limit> {
        lock(&self.found).0.clone()
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        ring(&self.wake);
    }

    /// Whether there are descriptors for one more region or connection.
    pub(crate) fn has_room(&self) -> bool {
        let used = {
            let table = lock(&self.table);
            table.regions() + table.connections()
        };
        (used + self.closing.pending()) as u64 <= self.descriptors.saturating_sub(1)
    }

    pub(crate) fn counters(&self) -> snapshot::Counters {
        let metrics = self.reclaimer.metrics();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let own = &self.counters;
        let found = lock(&self.found).1;
        snapshot::Counters {
            looks: found.looks,
            shortages: found.shortages,
            stalls: found.stalls,
            over_budget: found.over_budget,
            purges: metrics.purges,
            purged_pages: metrics.purged_pages,
            freed_bytes: metrics.freed_bytes,
            failures: metrics.failures,
            connections: count(&own.connections),
            expelled: count(&own.expelled),
            registered: count(&own.registered),
            released: count(&own.released),
            refused: count(&own.refused),
            dropped_messages: count(&own.dropped_messages),
        }
    }
}

impl Host for Shared {
    fn served(&self) -> Vec<Served> {
        lock(&self.table).served()
    }

    fn policy(&self) -> Arc<Policy> {
        Shared::policy(self)
    }

    fn reclaimer(&self) -> &Reclaimer {
        &self.reclaimer
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn note(&self, limits: Vec<snapshot::Limit>, counts: Counts) {
        *lock(&self.found) = (limits, counts);
    }
}
