//! What a reclaimer does: the list of regions, one look at them, and how much is to go ([`super::take`]).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use super::list::List;
use super::lookout::Lookout;
use super::metrics::{Counters, add};
use super::pressure::{Headroom, Reading};
use super::served::Driver;
use super::victims::{self, Scan, any_unpinned};
use super::{Clock, ListenerId, Policy, PurgeEvent, thread};
use crate::driver::client::Client;
use crate::page::page_size;
use crate::region::Inner;
use crate::sys::fork;

/// How long nothing may be unpinned before the thread ends.
pub(super) const LINGER: Duration = Duration::from_millis(250);

/// How often to look while memory is short and it is the daemon's turn.
const GUARD: Duration = Duration::from_millis(2);

/// When less than the reserve divided by this is left, nobody's turn is waited for.
const DIRE: u64 = 4;

/// How long the thread sleeps after it could not free anything although it should.
pub(super) const BACK_OFF: Duration = Duration::from_millis(100);

/// Bytes to take before looking again at what is available.
const STEP: u64 = 8 << 20;

/// What the clones of a reclaimer and its thread have in common.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) counters: Counters,
    pub(super) clock: Box<dyn Clock>,
    pub(super) threaded: bool,
    pub(super) driver: Driver,
}

pub(super) struct State {
    pub(super) regions: List,
    pub(super) policy: Policy,
    /// Away while the thread, or [`run_once`](super::Reclaimer::run_once), uses it.
    pub(super) lookout: Option<Lookout>,
    pub(super) policy_changed: bool,
    /// None while there is no thread.
    pub(super) thread: Option<Running>,
    /// The thread sleeps for as long as nobody calls it: the daemon looks after all regions, or nothing of the others is unpinned.
    pub(super) is_asleep: bool,
    /// None while there is no thread, or no daemon may be asked.
    pub(super) client: Option<Client>,
    pub(super) listeners: Vec<(ListenerId, Listener)>,
    /// Eventfds that count purges, as long as their owners keep them.
    pub(super) counters: Vec<Weak<OwnedFd>>,
    pub(super) last_stall: Option<Duration>,
    pub(super) idle_since: Option<Duration>,
}

/// The thread of a reclaimer.
pub(super) struct Running {
    /// Wakes it.
    pub(super) wake: Arc<OwnedFd>,
    pub(super) id: ThreadId,
}

/// What the thread does when nothing that it looks after is unpinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// It waits for a moment.
    Lingers,
    /// It sleeps until it is called.
    Sleeps,
    /// It has ended.
    Ended,
    /// Something has changed.
    Again,
}

pub(super) type Listener = Arc<dyn Fn(&PurgeEvent) + Send + Sync>;

/// All reclaimers of the process, for a forked child.
static RECLAIMERS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Makes a reclaimer known to a child of `fork(2)`.
pub(super) fn enlist(shared: &Arc<Shared>) {
    let _section = fork::section();
    fork::in_child(fork::Part::Reclaimers, in_child);
    let mut all = lock(&RECLAIMERS);
    all.retain(|other| other.strong_count() > 0);
    all.push(Arc::downgrade(shared));
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state is left half-changed by a panic: there is nothing that panics between two changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a region that has just been unpinned in front of its reclaimer.
#[cold]
pub(crate) fn watch(inner: &Arc<Inner>) {
    let shared = &inner.registration.reclaimer().shared;
    let _section = fork::section();
    let mut state = lock(&shared.state);
    state.regions.insert(inner);
    if shared.threaded && state.thread.is_none() {
        if let Some(lookout) = &mut state.lookout {
            lookout.open();
        }
        // Without a thread the flag stays unset, so that the next unpin tries again.
        let Ok(thread) = thread::start(shared) else { return };
        add(&shared.counters.threads, 1);
        state.thread = Some(thread);
        state.idle_since = None;
        state.open_client(&shared.driver);
    }
    state.register(inner);
    inner.watched.store(true, Ordering::SeqCst);
    if state.is_looked_after(inner) {
        state.rouse();
    }
}

impl Shared {
    /// Those that the program still has. The others only live because somebody looks at them just now; two that look in turn
    /// would keep them for ever.
    pub(super) fn regions(&self) -> Vec<Arc<Inner>> {
        self.those(|state| state.regions.all())
    }

    /// As [`regions`](Self::regions), without those that the daemon looks after.
    fn looked_after(&self) -> Vec<Arc<Inner>> {
        self.those(State::looked_after)
    }

    fn those(&self, which: impl FnOnce(&State) -> Vec<Arc<Inner>>) -> Vec<Arc<Inner>> {
        let mut regions = {
            let _section = fork::section();
            which(&lock(&self.state))
        };
        // Outside of the section, as this may be what drops them.
        regions.retain(|inner| inner.has_handles());
        regions
    }

    /// Looks once, reclaims what is called for, and says when to look again; `None` when nothing is unpinned.
    pub(super) fn look(&self, lookout: &mut Lookout) -> Option<Duration> {
        add(&self.counters.looks, 1);
        let policy = {
            let _section = fork::section();
            let mut state = lock(&self.state);
            if std::mem::take(&mut state.policy_changed) {
                lookout.disarm();
            }
            state.policy.clone()
        };
        let guard = self.guard(lookout, &policy);
        let regions = self.looked_after();
        if !regions.iter().any(|inner| any_unpinned(inner)) {
            return guard;
        }
        let started = self.clock.now();
        let shortage = self.shortage(&policy, lookout.read(&policy));
        let stalled = self.is_stall_due(&policy, lookout.is_stalled());
        let mut next = lookout.next_look(&policy);
        // Most looks end here: memory is not short.
        if shortage > 0 || stalled || policy.budget.is_some() {
            let scan = victims::scan(&regions);
            let stall_step = if stalled { policy.stall_step.max(scan.pages / 8 * page_size()) } else { 0 };
            let (counted, excess) = self.excess(&policy, &regions, &scan);
            let must = stall_step.max(excess);
            if shortage > 0 || must > 0 {
                let freed = self.reclaim_while(&regions, scan, &mut |progress| {
                    let freed = progress.freed.bytes;
                    // Others may see the same shortage, and free some of it meanwhile.
                    let missing = match freed {
                        0 => shortage,
                        _ if shortage == 0 => 0,
                        _ => {
                            let headrooms = &lookout.read(&policy).headrooms;
                            let missing = headrooms.iter().map(|headroom| missing(&policy, headroom)).max();
                            // What was allocated meanwhile is for the next look.
                            missing.unwrap_or(0).min(shortage.saturating_sub(freed))
                        }
                    };
                    must.saturating_sub(freed).max(missing.min(STEP))
                });
                // Whoever uses up memory may be faster than one round.
                next = if freed.bytes > 0 { Duration::from_millis(1) } else { next.max(BACK_OFF) };
            } else if policy.budget.is_some() {
                let spent = self.clock.now().saturating_sub(started);
                next = next.min(lookout.pace.pause(counted, policy.budget_interval, spent));
            }
        }
        Some(next.min(guard.unwrap_or(next)))
    }

    /// After an event, while the daemon looks after regions and memory is short: takes some of those regions' pages all the same where the
    /// daemon is so late that it comes to the worst. Says when to look again, if memory is short.
    fn guard(&self, lookout: &mut Lookout, policy: &Policy) -> Option<Duration> {
        if !lookout.is_alert {
            return None;
        }
        let most = |reading: &Reading, share: u64| {
            let missing = |headroom: &Headroom| {
                (policy.reserve_for(headroom.limit) / share).saturating_sub(headroom.available)
            };
            reading.headrooms.iter().map(missing).max().unwrap_or(0)
        };
        let reading = lookout.read(policy);
        let is_dire = most(reading, DIRE) > 0;
        lookout.is_alert = most(reading, 1) > 0 && self.leaves_some_to_the_daemon();
        if !lookout.is_alert || !is_dire {
            return lookout.is_alert.then_some(GUARD);
        }
        let regions = self.those(State::left_to_the_daemon);
        let freed = self.reclaim_while(&regions, victims::scan(&regions), &mut |_| {
            most(lookout.read(policy), DIRE / 2).min(STEP)
        });
        Some(if freed.bytes > 0 { GUARD } else { BACK_OFF })
    }

    fn leaves_some_to_the_daemon(&self) -> bool {
        let _section = fork::section();
        lock(&self.state).leaves_some_to_the_daemon()
    }

    /// Bytes to free because a limit is near.
    fn shortage(&self, policy: &Policy, reading: &Reading) -> u64 {
        let is_short = |headroom: &&Headroom| headroom.available < policy.reserve_for(headroom.limit);
        let wanted =
            reading.headrooms.iter().filter(is_short).map(|headroom| missing(policy, headroom)).max();
        if wanted.is_some() {
            add(&self.counters.shortages, 1);
        }
        wanted.unwrap_or(0)
    }

    /// Whether there was a stall, and the last one that counted is long enough ago.
    fn is_stall_due(&self, policy: &Policy, stalled: bool) -> bool {
        if !stalled {
            return false;
        }
        let now = self.clock.now();
        let _section = fork::section();
        let mut state = lock(&self.state);
        let due = state.last_stall.is_none_or(|last| now.saturating_sub(last) >= policy.stall_pause);
        if due {
            state.last_stall = Some(now);
            add(&self.counters.stalls, 1);
        }
        due
    }

    /// Bytes of unpinned memory as far as they were counted, and those of them above the budget.
    fn excess(&self, policy: &Policy, regions: &[Arc<Inner>], scan: &Scan) -> (u64, u64) {
        let Some(budget) = policy.budget else { return (0, 0) };
        let unpinned = scan.pages.saturating_mul(page_size());
        if unpinned <= budget {
            return (unpinned, 0);
        }
        // What is unpinned need not be in memory; and one region may have been opened twice.
        let mut counted = HashMap::new();
        for inner in regions.iter().filter(|inner| !inner.is_unpurgeable()) {
            let measured = inner.status().and_then(|status| Ok((status.inode, victims::resident(inner)?)));
            if let Ok((inode, bytes)) = measured {
                counted.insert(inode, bytes);
            }
        }
        let counted = counted.values().sum::<u64>();
        let excess = counted.saturating_sub(budget);
        if excess > 0 {
            add(&self.counters.over_budget, 1);
        }
        (counted, excess)
    }

    /// Nothing that the thread looks after was unpinned. It may end, or sleep until it is called: as long as the daemon serves regions,
    /// the connection needs a thread.
    pub(super) fn idle(&self, turn: &mut Turn<'_>) -> Idle {
        let (may_sleep, policy) = {
            let _section = fork::section();
            let state = lock(&self.state);
            (state.may_sleep(), state.policy.clone())
        };
        if may_sleep {
            // Events wake it, once the source knows of which.
            turn.lookout().arm(&policy);
        }
        let is_all_served = may_sleep && self.looked_after().is_empty();
        if !is_all_served && !self.is_idle_for_long() {
            return Idle::Lingers;
        }
        let which = if may_sleep { State::looked_after } else { |state: &State| state.regions.all() };
        if !self.unwatch(which) {
            return Idle::Again;
        }
        // Dropped when nothing is locked.
        let regions;
        let _section = fork::section();
        let mut state = lock(&self.state);
        regions = which(&state);
        // An unpin since then has found its region unwatched, and has put it in front of this thread again.
        if state.may_sleep() != may_sleep || regions.iter().any(|inner| inner.watched.load(Ordering::SeqCst))
        {
            watch_again(&regions);
            return Idle::Again;
        }
        if may_sleep {
            state.is_asleep = true;
            state.idle_since = None;
            return Idle::Sleeps;
        }
        state.close_client();
        state.thread = None;
        state.lookout = turn.lookout.take();
        Idle::Ended
    }

    /// Marks regions as unwatched, unless something in them is unpinned after all: an unpin that saw its region watched has come before
    /// the look that follows, and one that comes after it finds the region unwatched.
    fn unwatch(&self, which: fn(&State) -> Vec<Arc<Inner>>) -> bool {
        let regions = self.those(which);
        for inner in &regions {
            inner.watched.store(false, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        let unpinned = regions.iter().any(|inner| any_unpinned(inner));
        if unpinned {
            watch_again(&regions);
        }
        !unpinned
    }

    fn is_idle_for_long(&self) -> bool {
        let now = self.clock.now();
        let _section = fork::section();
        let mut state = lock(&self.state);
        let since = *state.idle_since.get_or_insert(now);
        now.saturating_sub(since) >= LINGER
    }

    /// There is no thread any more, and nobody has told it to end.
    pub(super) fn abandon(&self) {
        // Dropped when nothing is locked.
        let _regions;
        let _section = fork::section();
        let mut state = lock(&self.state);
        state.close_client();
        _regions = state.without_thread();
    }
}

fn watch_again(regions: &[Arc<Inner>]) {
    for inner in regions {
        inner.watched.store(true, Ordering::SeqCst);
    }
}

/// Bytes until twice the reserve is available: not every page allocated next is to call for another round.
fn missing(policy: &Policy, headroom: &Headroom) -> u64 {
    policy.reserve_for(headroom.limit).saturating_mul(2).saturating_sub(headroom.available)
}

/// The lookout, taken for one or many looks, and given back in the end.
pub(super) struct Turn<'a> {
    shared: &'a Shared,
    /// None once it was given back.
    lookout: Option<Lookout>,
}

impl<'a> Turn<'a> {
    /// `None` while somebody else has it.
    pub(super) fn take(shared: &'a Shared) -> Option<Turn<'a>> {
        let _section = fork::section();
        let lookout = lock(&shared.state).lookout.take()?;
        Some(Turn { shared, lookout: Some(lookout) })
    }

    pub(super) fn lookout(&mut self) -> &mut Lookout {
        self.lookout.get_or_insert_with(|| Lookout::new(None))
    }
}

impl Drop for Turn<'_> {
    /// Also when a program's listener, clock or pressure source panics.
    fn drop(&mut self) {
        if let Some(lookout) = self.lookout.take() {
            let _section = fork::section();
            lock(&self.shared.state).lookout = Some(lookout);
        }
    }
}

impl State {
    /// Every region's next unpin has to start a thread. Returns what may only be dropped when nothing is locked.
    #[must_use]
    fn without_thread(&mut self) -> Vec<Arc<Inner>> {
        self.thread = None;
        self.is_asleep = false;
        let regions = self.regions.all();
        for inner in &regions {
            inner.watched.store(false, Ordering::SeqCst);
        }
        regions
    }

    /// Whether the thread may sleep until it is called, rather than end, when nothing that it looks after is unpinned.
    fn may_sleep(&self) -> bool {
        self.is_welcome() && !self.regions.is_empty()
    }
}

/// What a forked child does first: it has no reclaimer thread. Inside of fork, where no section may be opened.
fn in_child() {
    for shared in lock(&RECLAIMERS).iter().filter_map(Weak::upgrade) {
        let mut state = lock(&shared.state);
        state.after_fork();
        // The other threads' references are there for ever: these are not the last ones.
        drop(state.without_thread());
        // The parent's thread may have had it.
        state.lookout.get_or_insert_with(|| Lookout::new(None)).after_fork();
    }
}
