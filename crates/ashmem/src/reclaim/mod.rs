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
//! when nothing has been unpinned for a moment ([`Shared::idle`]). While a driver daemon serves regions, it sleeps instead, and keeps the
//! connection ([`served`]).
//!
//! # Locks
//!
//! One mutex a reclaimer and one for the list of reclaimers, both only inside a [fork section](crate::sys::fork), the list's
//! first. Neither is held while a page is purged, a region is dropped or a program's callback runs.

mod builder;
mod clock;
mod engine;
mod list;
mod lookout;
mod metrics;
mod policy;
pub mod pressure;
mod registration;
mod served;
mod take;
mod thread;
mod victims;

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use builder::ReclaimerBuilder;
pub use clock::{Clock, SystemClock};
pub use metrics::Metrics;
pub use policy::Policy;

#[doc(hidden)]
pub(crate) use self::engine::watch;
use self::engine::{BACK_OFF, Shared, State, Turn, lock};
pub(crate) use self::registration::Registration;
pub use self::take::Progress;
pub(crate) use self::victims::{any_unpinned, resident as reclaimable};
use crate::region::Inner;
use crate::sys::fork;
use crate::{Error, Region, Result};

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

/// What [`Reclaimer::on_purge`] gives, for [`Reclaimer::remove_listener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

/// What a call of the reclaimer took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freed {
    /// Pages that are purged now, whether they were in memory or not.
    pub pages: u64,
    /// Bytes of memory that became free.
    pub bytes: u64,
}

impl Reclaimer {
    /// The one that watches all regions of this process that name no other.
    pub fn global() -> &'static Reclaimer {
        static GLOBAL: OnceLock<Reclaimer> = OnceLock::new();
        if let Some(global) = GLOBAL.get() {
            return global;
        }
        let reclaimer = Reclaimer::builder().build();
        // A child of fork must not find it being set.
        let _section = fork::section();
        GLOBAL.get_or_init(|| reclaimer)
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
            state.change_client(&self.shared.driver);
            if let Some(thread) = &state.thread {
                thread::wake(&thread.wake);
            }
        });
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.with(|state| state.policy.clone())
    }

    /// Calls `listener` after each purge by this reclaimer, in the thread that purged, and after those by the [driver
    /// daemon](Self::driver) in its place that it tells of, in the reclaimer's thread: it does not wait for who is slow to hear. The
    /// listener may use regions and this reclaimer, and should be quick: memory is short. It is called until it is
    /// [removed](Self::remove_listener), or for as long as the reclaimer lives.
    pub fn on_purge(&self, listener: impl Fn(&PurgeEvent) + Send + Sync + 'static) -> ListenerId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = ListenerId(NEXT.fetch_add(1, Ordering::Relaxed));
        self.with(|state| {
            state.listeners.push((id, Arc::new(listener)));
            state.listeners_changed();
        });
        id
    }

    /// Removes a listener, and says whether there was one of that number. Calls that began before go on meanwhile.
    pub fn remove_listener(&self, id: ListenerId) -> bool {
        let removed = self.with(|state| {
            let place = state.listeners.iter().position(|(other, _)| *other == id)?;
            let removed = state.listeners.remove(place);
            state.listeners_changed();
            Some(removed)
        });
        // Dropped here, where nothing is locked: it is the program's.
        removed.is_some()
    }

    /// An eventfd that becomes readable after purges by this reclaimer, or by the [driver daemon](Self::driver) in its place, for event
    /// loops; reading it gives how many there
    /// were. It counts until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::System`] when there is no free descriptor.
    pub fn purge_events(&self) -> Result<Arc<OwnedFd>> {
        let events = Arc::new(
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(Error::system("make eventfd"))?,
        );
        let counter = Arc::downgrade(&events);
        self.with(|state| {
            state.counters.retain(|counter| counter.strong_count() > 0);
            state.counters.push(counter);
            state.listeners_changed();
        });
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

    /// The socket of the driver daemon that takes pages away in place of this reclaimer; `None` when it does so itself.
    ///
    /// A reclaimer with a thread asks one, the user's or the system's, as long as its policy is the default and its clock and source of
    /// pressure are the system's. `$ASHMEM_DRIVER` names the socket of another, or is `off`. What is called explicitly, like
    /// [`reclaim`](Self::reclaim), is done here in any case.
    #[must_use]
    pub fn driver(&self) -> Option<PathBuf> {
        self.with(|state| state.client.as_ref()?.path().map(Path::to_owned))
    }

    /// How many regions that daemon has.
    #[doc(hidden)]
    #[must_use]
    pub fn served(&self) -> usize {
        self.with(|state| state.regions.handed_len())
    }

    /// Takes every unpinned page of every watched region away that nobody holds.
    ///
    /// Stands for `ASHMEM_PURGE_ALL_CACHES`, for this process's regions.
    pub fn purge_all(&self) -> Freed {
        self.reclaim(u64::MAX)
    }

    /// Takes unpinned pages away, oldest unpin first, until `bytes` of memory are free or nothing is left. Pages that
    /// were unpinned by one call go together.
    pub fn reclaim(&self, bytes: u64) -> Freed {
        let regions = self.shared.regions();
        self.shared.reclaim(&regions, victims::scan(&regions), bytes)
    }

    /// As [`reclaim`](Self::reclaim), from these regions, whether they are watched or not.
    ///
    /// For who keeps an account of some of them: those of a user, of a cgroup, of a cache.
    ///
    /// # Examples
    /// ```
    /// use ashmem::{Reclaimer, Region};
    ///
    /// let (mine, other) = (Region::create("mine", 1 << 20)?, Region::create("other", 1 << 20)?);
    /// for region in [&mine, &other] {
    ///     region.map()?.fill(0, 1 << 20, 1)?;
    ///     region.unpin(..)?;
    /// }
    /// let freed = Reclaimer::global().reclaim_among(&[mine.clone()], u64::MAX);
    /// assert_eq!((freed.bytes, mine.resident()?, other.resident()?), (1 << 20, 0, 1 << 20));
    /// # Ok::<(), ashmem::Error>(())
    /// ```
    pub fn reclaim_among(&self, regions: &[Region], bytes: u64) -> Freed {
        let regions = mapped(regions);
        self.shared.reclaim(&regions, victims::scan(&regions), bytes)
    }

    /// As [`reclaim_among`](Self::reclaim_among) in steps: `wanted` says before each how many bytes are to be freed next, none to end.
    /// Pages that are not in memory need not go.
    #[doc(hidden)]
    pub fn reclaim_while(&self, regions: &[Region], wanted: &mut dyn FnMut(Progress) -> u64) -> Freed {
        let regions = mapped(regions);
        self.shared.reclaim_while(&regions, victims::scan_present(&regions), wanted)
    }

    /// As [`reclaim`](Self::reclaim), from one region that need not be watched.
    pub(crate) fn reclaim_from(inner: &Arc<Inner>, bytes: u64) -> Freed {
        let reclaimer = inner.registration.reclaimer();
        let regions = std::slice::from_ref(inner);
        reclaimer.shared.reclaim(regions, victims::scan(regions), bytes)
    }

    /// One turn of what the thread does: looks at the regions and at the pressure, and reclaims what is called for. Returns when
    /// to look again, or `None` when nothing is unpinned. While the reclaimer's thread, or another thread in this call, is at it, this does
    /// nothing and says to look again soon.
    pub fn run_once(&self) -> Option<Duration> {
        match Turn::take(&self.shared) {
            Some(mut turn) => self.shared.look(turn.lookout()),
            None => Some(BACK_OFF),
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let _section = fork::section();
        action(&mut lock(&self.shared.state))
    }
}

/// Those of them whose control block can be mapped.
fn mapped(regions: &[Region]) -> Vec<Arc<Inner>> {
    let is_mapped = |region: &&Region| region.inner.control().is_ok_and(|control| control.is_some());
    regions.iter().filter(is_mapped).map(|region| region.inner.clone()).collect()
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimer").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}
