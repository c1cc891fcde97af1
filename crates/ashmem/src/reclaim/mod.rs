//! The embedded reclaimer: takes unpinned pages away when memory runs short, oldest unpin first.
//!
//! # Who knows what
//!
//! Pin and unpin never talk to the reclaimer. An unpin leaves a stamp next to the pin state, and looks at one flag of its region:
//! *watched* means that a reclaimer has the region in its list and its thread is running (or that it has none and is
//! run by hand). Only the first unpin that finds the flag unset takes the slow way through [`watch`].
//!
//! # The thread
//!
//! It is started by that first unpin, looks at pressure and regions ([`Reclaimer::run_once`]), sleeps in between, and ends
//! when nothing has been unpinned for a moment ([`Shared::retire`]).
//!
//! # Locks
//!
//! One mutex a reclaimer and one for the list of reclaimers, both only inside a [fork section](crate::sys::fork), the list's
//! first. Neither is held while a page is purged or a program's callback runs.

mod clock;
mod lookout;
mod metrics;
mod policy;
pub mod pressure;
mod thread;
mod victims;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use clock::{Clock, SystemClock};
pub use metrics::Metrics;
pub use policy::Policy;

use self::lookout::Lookout;
use self::metrics::{Counters, add};
use self::pressure::{PressureSource, Reading};
use self::victims::Scan;
pub(crate) use self::victims::any_unpinned;
use crate::page::page_size;
use crate::region::Inner;
use crate::sys::fork;
use crate::{Error, Region, Result, purger};

/// How long nothing may be unpinned before the thread ends.
const LINGER: Duration = Duration::from_millis(250);

/// How long the thread sleeps after it could not free anything although it should.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Watches regions and takes their unpinned pages away when memory runs short.
///
/// Every region has one, [`Reclaimer::global`] unless its [options](crate::RegionOptions::reclaimer) say otherwise. Several reclaimers, in
/// one process or in many, may watch the same region; they exclude each other for a moment at a time.
///
/// # Examples
/// ```
/// use ashmem::{Contents, Reclaimer, Region};
///
/// let reclaimer = Reclaimer::builder().without_thread().build();
/// let options = Region::options().reclaimer(&reclaimer);
/// let (older, newer) = (options.create("older", 1 << 20)?, options.create("newer", 1 << 20)?);
/// for region in [&older, &newer] {
///     region.map()?.fill(0, 1 << 20, 1)?;
///     region.unpin(..)?;
/// }
/// let freed = reclaimer.reclaim(1 << 20);
/// assert_eq!(freed.bytes, 1 << 20);
/// assert_eq!(older.pin(..)?, Contents::Purged);
/// assert_eq!(newer.pin(..)?, Contents::Intact);
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone)]
pub struct Reclaimer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    counters: Counters,
    clock: Box<dyn Clock>,
    threaded: bool,
}

struct State {
    /// By address; the weak reference keeps the address from being used again.
    regions: HashMap<usize, Weak<Inner>>,
    prune_at: usize,
    policy: Policy,
    /// Away while the thread, or [`Reclaimer::run_once`], uses it.
    lookout: Option<Lookout>,
    policy_changed: bool,
    /// Wakes the thread. None while there is no thread.
    thread: Option<Arc<OwnedFd>>,
    listeners: Vec<Listener>,
    last_stall: Option<Duration>,
    idle_since: Option<Duration>,
}

type Listener = Arc<dyn Fn(&PurgeEvent) + Send + Sync>;

/// A run of pages that a reclaimer has just taken away.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PurgeEvent {
    /// The region they belong to.
    pub region: Region,
    /// Where they are, in bytes.
    pub range: Range<u64>,
    /// Bytes of memory that this freed.
    pub freed: u64,
}

/// What a call of the reclaimer took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freed {
    /// Pages that are purged now, whether they were in memory or not.
    pub pages: u64,
    /// Bytes of memory that became free.
    pub bytes: u64,
}

/// Makes a [`Reclaimer`]: see [`Reclaimer::builder`].
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ReclaimerBuilder {
    policy: Policy,
    source: Option<Box<dyn PressureSource>>,
    clock: Option<Box<dyn Clock>>,
    without_thread: bool,
}

impl ReclaimerBuilder {
    /// When to reclaim, and how much.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Who says when memory is short, instead of the system and its cgroups.
    pub fn pressure(mut self, source: impl PressureSource + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The clock, instead of the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Starts no thread: the program calls [`Reclaimer::run_once`], or reclaims when it likes.
    pub fn without_thread(mut self) -> Self {
        self.without_thread = true;
        self
    }

    /// The reclaimer.
    #[must_use]
    pub fn build(self) -> Reclaimer {
        let state = State {
            regions: HashMap::new(),
            prune_at: 64,
            policy: self.policy,
            lookout: Some(Lookout::new(self.source)),
            policy_changed: false,
            thread: None,
            listeners: Vec::new(),
            last_stall: None,
            idle_since: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            counters: Counters::default(),
            clock: self.clock.unwrap_or_else(|| Box::new(SystemClock::new())),
            threaded: !self.without_thread,
        });
        let _section = fork::section();
        fork::in_child(in_child);
        let mut all = lock(&RECLAIMERS);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&shared));
        Reclaimer { shared }
    }
}

static RECLAIMERS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state is left half-changed by a panic: there is nothing that panics between two changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reclaimer {
    /// The one that watches all regions of this process that name no other.
    pub fn global() -> &'static Reclaimer {
        static GLOBAL: OnceLock<Reclaimer> = OnceLock::new();
        GLOBAL.get_or_init(|| Reclaimer::builder().build())
    }

    /// A reclaimer for some regions, with a policy of its own.
    pub fn builder() -> ReclaimerBuilder {
        ReclaimerBuilder::default()
    }

    /// Changes the policy.
    pub fn set_policy(&self, policy: Policy) {
        self.with(|state| {
            state.policy = policy;
            state.policy_changed = true;
            if let Some(wake) = &state.thread {
                thread::wake(wake);
            }
        });
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.with(|state| state.policy.clone())
    }

    /// Calls `listener` after each purge by this reclaimer, in the thread that purged. It may use regions and this
    /// reclaimer, and should be quick: memory is short.
    pub fn on_purge(&self, listener: impl Fn(&PurgeEvent) + Send + Sync + 'static) {
        self.with(|state| state.listeners.push(Arc::new(listener)));
    }

    /// An eventfd that becomes readable after purges by this reclaimer, for event loops; reading it gives how many there
    /// were.
    ///
    /// # Errors
    /// [`Error::System`] when there is no free descriptor.
    pub fn purge_events(&self) -> Result<OwnedFd> {
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::system("make eventfd"))?;
        let counter =
            events.try_clone().map_err(|source| Error::System { operation: "make eventfd", source })?;
        self.on_purge(move |_| thread::wake(&counter));
        Ok(events)
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.read()
    }

    /// Whether its thread is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.with(|state| state.thread.is_some())
    }

    /// Takes every unpinned page of every watched region away.
    ///
    /// Stands for `ASHMEM_PURGE_ALL_CACHES`, for this process's regions.
    pub fn purge_all(&self) -> Freed {
        self.reclaim(u64::MAX)
    }

    /// Takes unpinned pages away, oldest unpin first, until `bytes` of memory are free or nothing is left. Pages that
    /// were unpinned by one call go together.
    pub fn reclaim(&self, bytes: u64) -> Freed {
        let regions = self.shared.regions();
        let mut freed = Freed::default();
        loop {
            let scan = victims::scan(&regions);
            let step = self.shared.take(&regions, &scan, bytes - freed.bytes);
            freed.pages += step.pages;
            freed.bytes = freed.bytes.saturating_add(step.bytes);
            if freed.bytes >= bytes || !scan.truncated || step.pages == 0 {
                return freed;
            }
        }
    }

    /// One turn of what the thread does: looks at the regions and at the pressure, and reclaims what is called for. Returns when
    /// to look again, or `None` when nothing is unpinned. While the reclaimer's thread, or another thread in this call, is at it, this does
    /// nothing and says to look again soon.
    pub fn run_once(&self) -> Option<Duration> {
        let Some(mut lookout) = self.with(|state| state.lookout.take()) else { return Some(BACK_OFF) };
        let next = self.shared.look(&mut lookout);
        self.with(|state| state.lookout = Some(lookout));
        next
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let _section = fork::section();
        action(&mut lock(&self.shared.state))
    }
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimer").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// Puts a region that has just been unpinned in front of its reclaimer.
#[cold]
pub(crate) fn watch(inner: &Arc<Inner>) {
    let reclaimer = inner.reclaimer.as_ref().unwrap_or_else(|| Reclaimer::global());
    let shared = &reclaimer.shared;
    let _section = fork::section();
    let mut state = lock(&shared.state);
    state.regions.insert(Arc::as_ptr(inner) as usize, Arc::downgrade(inner));
    if state.regions.len() > state.prune_at {
        state.regions.retain(|_, region| region.strong_count() > 0);
        state.prune_at = 64.max(2 * state.regions.len());
    }
    if shared.threaded && state.thread.is_none() {
        // Without a thread the flag stays unset, so that the next unpin tries again.
        let Ok(wake) = thread::start(shared) else { return };
        add(&shared.counters.threads, 1);
        state.thread = Some(wake);
        state.idle_since = None;
    }
    inner.watched.store(true, Ordering::SeqCst);
}

impl Shared {
    fn regions(&self) -> Vec<Arc<Inner>> {
        let _section = fork::section();
        lock(&self.state).regions.values().filter_map(Weak::upgrade).collect()
    }

    /// Looks once, reclaims what is called for, and says when to look again; `None` when nothing is unpinned.
    fn look(&self, lookout: &mut Lookout) -> Option<Duration> {
        add(&self.counters.looks, 1);
        let policy = {
            let _section = fork::section();
            let mut state = lock(&self.state);
            if std::mem::take(&mut state.policy_changed) {
                lookout.disarm();
            }
            state.policy.clone()
        };
        let regions = self.regions();
        let scan = victims::scan(&regions);
        if scan.pages == 0 {
            return None;
        }
        let shortage = self.shortage(&policy, lookout.read(&policy), &scan);
        let wanted = shortage.max(self.excess(&policy, &regions, &scan));
        let mut next = lookout.next_look(&policy);
        if wanted > 0 {
            let freed = self.take(&regions, &scan, wanted);
            // Whoever uses up memory may be faster than one round.
            next = if freed.pages > 0 { Duration::from_millis(1) } else { next.max(BACK_OFF) };
        }
        Some(if policy.budget.is_some() { next.min(policy.budget_interval) } else { next })
    }

    /// Bytes to free because memory is short or processes stall.
    fn shortage(&self, policy: &Policy, reading: &Reading, scan: &Scan) -> u64 {
        let missing = |headroom: &pressure::Headroom| {
            let reserve = policy.reserve_for(headroom.limit);
            // Twice the reserve, so that not every page allocated next calls for another round.
            if headroom.available < reserve { reserve.saturating_mul(2) - headroom.available } else { 0 }
        };
        let mut wanted = reading.headrooms.iter().map(missing).max().unwrap_or(0);
        if wanted > 0 {
            add(&self.counters.shortages, 1);
        }
        if reading.stalled {
            let now = self.clock.now();
            let _section = fork::section();
            let mut state = lock(&self.state);
            if state.last_stall.is_none_or(|last| now.saturating_sub(last) >= policy.stall_pause) {
                state.last_stall = Some(now);
                add(&self.counters.stalls, 1);
                wanted = wanted.max(policy.stall_step).max(scan.pages / 8 * page_size());
            }
        }
        wanted
    }

    /// Bytes of unpinned memory above the budget.
    fn excess(&self, policy: &Policy, regions: &[Arc<Inner>], scan: &Scan) -> u64 {
        let Some(budget) = policy.budget else { return 0 };
        if scan.pages.saturating_mul(page_size()) <= budget {
            return 0;
        }
        // What is unpinned need not be in memory; and one region may have been opened twice.
        let mut counted = HashMap::new();
        for inner in regions.iter().filter(|inner| !inner.is_unpurgeable()) {
            let unpinned = |inner: &Inner| -> Result<(u64, u64)> {
                let Some(control) = inner.known_control() else { return Ok((0, 0)) };
                let counts = control.table().counts(0..control.layout().pages())?;
                let bytes = counts.unpinned * page_size();
                Ok((inner.status()?.inode, bytes.min(inner.resident()?)))
            };
            if let Ok((inode, bytes)) = unpinned(inner) {
                counted.insert(inode, bytes);
            }
        }
        let excess = counted.values().sum::<u64>().saturating_sub(budget);
        if excess > 0 {
            add(&self.counters.over_budget, 1);
        }
        excess
    }

    /// Purges the scan's victims in order until `bytes` are free.
    fn take(&self, regions: &[Arc<Inner>], scan: &Scan, bytes: u64) -> Freed {
        let listeners = {
            let _section = fork::section();
            lock(&self.state).listeners.clone()
        };
        let mut freed = Freed::default();
        for victim in &scan.oldest {
            if freed.bytes >= bytes {
                break;
            }
            let inner = &regions[victim.region];
            let Some(control) = inner.known_control() else { continue };
            let before = inner.status().map_or(0, |status| status.allocated);
            match purger::purge(inner, control, victim.first..victim.end, victim.stamp) {
                Ok(0) => {}
                Ok(pages) => {
                    let after = inner.status().map_or(before, |status| status.allocated);
                    let event = PurgeEvent {
                        region: Region { inner: inner.clone() },
                        range: victim.first * page_size()..victim.end * page_size(),
                        freed: before.saturating_sub(after),
                    };
                    freed.pages += pages;
                    freed.bytes += event.freed;
                    add(&self.counters.purges, 1);
                    add(&self.counters.purged_pages, pages);
                    add(&self.counters.freed_bytes, event.freed);
                    for listener in &listeners {
                        listener(&event);
                    }
                }
                Err(error) => {
                    add(&self.counters.failures, 1);
                    inner.note_purge_failure(&error);
                }
            }
        }
        freed
    }

    /// Ends the thread, unless something is unpinned after all: an unpin that saw its region watched has come before the
    /// look that follows, and one that comes after it finds the region unwatched.
    fn retire(&self, lookout: Lookout) -> Result<(), Lookout> {
        let _section = fork::section();
        let mut state = lock(&self.state);
        let regions: Vec<_> = state.regions.values().filter_map(Weak::upgrade).collect();
        for inner in &regions {
            inner.watched.store(false, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if regions.iter().any(|inner| any_unpinned(inner)) {
            for inner in &regions {
                inner.watched.store(true, Ordering::SeqCst);
            }
            return Err(lookout);
        }
        state.thread = None;
        state.lookout = Some(lookout);
        Ok(())
    }

    /// There is no thread any more, and nobody has told it to end.
    fn abandon(&self) {
        let _section = fork::section();
        lock(&self.state).without_thread();
    }
}

impl State {
    /// Every region's next unpin has to start a thread.
    fn without_thread(&mut self) {
        self.thread = None;
        self.lookout.get_or_insert_with(|| Lookout::new(None));
        for inner in self.regions.values().filter_map(Weak::upgrade) {
            inner.watched.store(false, Ordering::SeqCst);
        }
    }
}

/// What a forked child does first: it has no reclaimer thread. Inside of fork, where no section may be opened.
fn in_child() {
    for shared in lock(&RECLAIMERS).iter().filter_map(Weak::upgrade) {
        let mut state = lock(&shared.state);
        state.without_thread();
        if let Some(lookout) = &mut state.lookout {
            lookout.after_fork();
        }
    }
}
