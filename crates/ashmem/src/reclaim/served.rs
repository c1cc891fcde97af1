//! A reclaimer whose regions the driver daemon serves.
//!
//! A region is *served* when it was registered on the connection that there is, and the daemon has said that it is welcome there. Served
//! regions are left to the daemon, all others are looked after here, as without a daemon. When the connection ends, nothing is served any
//! more, at that moment.
//!
//! Messages are sent and received with the reclaimer locked; they never wait, and a lock is held for one message with descriptors.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::{Shared, State, lock};
use super::pressure::Woken;
use super::{Policy, PurgeEvent, thread};
use crate::Region;
use crate::driver::address;
use crate::driver::client::{Client, Heard, Registered};
use crate::driver::protocol::REGIONS_MAX;
use crate::page::{page_align, page_size};
use crate::region::Inner;
use crate::sys::fork;

/// Replies that are heard at once.
const REPLIES: usize = 64;

/// Whether a reclaimer may leave its regions to the daemon.
#[derive(Debug)]
pub(super) enum Driver {
    /// It has a source of pressure or a clock of its own, or no thread.
    Never,
    /// That of the user or the system, as long as the policy is the default.
    Any,
    /// The one that listens there, as long as the policy is the default.
    At(PathBuf),
}

impl Driver {
    fn candidates(&self) -> Vec<PathBuf> {
        match self {
            Driver::Never => Vec::new(),
            Driver::Any => address::candidates(),
            Driver::At(path) => vec![path.clone()],
        }
    }
}

/// What is left to do when nothing is locked any more.
#[derive(Default)]
struct Later {
    /// May be the last references.
    regions: Vec<Arc<Inner>>,
    purges: Vec<Purged>,
}

struct Purged {
    inner: Arc<Inner>,
    range: Range<u64>,
    freed: u64,
}

impl Shared {
    /// What the thread polls for calls, a descriptor that also tells of the daemon if there may be one; and how soon to
    /// [`talk`](Self::talk) again at the latest.
    pub(super) fn wakes(&self) -> (Option<Arc<OwnedFd>>, Option<Duration>) {
        let (wakes, deadline) = {
            let _section = fork::section();
            let state = lock(&self.state);
            let client = state.client.as_ref();
            (client.map(Client::epoll), client.and_then(Client::deadline))
        };
        (wakes, deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))
    }

    /// Hears what the daemon says, says what is due, and looks for a daemon if there is none.
    pub(super) fn talk(&self, woken: Woken) {
        // Whoever calls the thread says nothing of memory.
        let mut is_silent = woken == Woken::Event;
        let mut is_first = true;
        loop {
            let mut later = Later::default();
            let goes_on = {
                let _section = fork::section();
                let mut state = lock(&self.state);
                state.is_asleep = false;
                if is_first && woken == Woken::Called {
                    state.check_client();
                }
                let (heard, more) = state.hear(&mut later);
                is_silent &= !heard;
                let listens = state.listens();
                if let Some(client) = &mut state.client {
                    client.search(listens);
                    client.proceed();
                }
                state.note_end();
                let sent = state.register_some(&mut later);
                if !more && !sent && is_silent && state.regions.has_handed() {
                    // Memory may be short: it is the daemon's turn, if there still is one.
                    is_silent = false;
                    if let Some(client) = &mut state.client {
                        client.ping();
                    }
                    state.note_end();
                }
                more || sent
            };
            is_first = false;
            for Purged { inner, range, freed } in later.purges {
                if inner.has_handles() {
                    self.tell(&PurgeEvent { region: Region::handle(inner), range, freed });
                }
            }
            if !goes_on {
                return;
            }
        }
    }
}

impl State {
    /// Looks for a daemon, if the reclaimer may have one, in the thread of the program that calls this. The reclaimer has a thread.
    pub(super) fn open_client(&mut self, driver: &Driver) {
        let Some(thread) = &self.thread else { return };
        if self.client.is_some() || !self.is_ordinary(driver) {
            return;
        }
        let candidates = driver.candidates();
        if candidates.is_empty() {
            return;
        }
        // Without descriptors for it there is no daemon for now.
        self.client = Client::open(candidates, thread.wake.as_fd()).ok();
        let listens = self.listens();
        if let Some(client) = &mut self.client {
            client.begin(listens);
        }
    }

    /// The policy has changed: a daemon is asked only as long as it is the default.
    pub(super) fn change_client(&mut self, driver: &Driver) {
        if !self.is_ordinary(driver) {
            self.close_client();
        }
        self.open_client(driver);
    }

    fn is_ordinary(&self, driver: &Driver) -> bool {
        !matches!(driver, Driver::Never) && self.policy == Policy::new()
    }

    /// Ends the connection, and the search for one.
    pub(super) fn close_client(&mut self) {
        if let Some(mut client) = self.client.take() {
            client.hang_up();
        }
        self.note_end();
    }

    /// Registers a region that was just unpinned, if it can be done at once; else the thread does it as soon as it can.
    pub(super) fn register(&mut self, inner: &Arc<Inner>) {
        let id = inner.registration.id();
        // The daemon knows regions by one descriptor.
        if self.regions.is_settled(id) || inner.apart().is_some() {
            return;
        }
        let Some(client) = &mut self.client else { return };
        if !client.is_welcome() {
            // The welcome makes all known.
            return;
        }
        if !client.is_clear() {
            return client.enqueue(std::iter::once(id));
        }
        match client.register(&[id], &[inner.fd()]) {
            Registered::Yes => self.regions.hand_over(id),
            Registered::NotNow => client.enqueue(std::iter::once(id)),
            Registered::BadDescriptor => self.regions.refuse(id),
            Registered::End => self.note_end(),
        }
    }

    /// A region is gone: the daemon, if it has it, is to let go of it.
    pub(super) fn forget(&mut self, id: u64) {
        let was_handed = self.regions.remove(id);
        let Some(client) = &mut self.client else { return };
        if was_handed {
            client.release(id);
            self.note_sending();
        } else {
            client.forget(id);
        }
    }

    /// Events are wanted now, or not any more.
    pub(super) fn listeners_changed(&mut self) {
        let listens = self.listens();
        if let Some(client) = &mut self.client {
            client.listen(listens);
            self.note_sending();
        }
    }

    fn listens(&self) -> bool {
        !self.listeners.is_empty() || self.counters.iter().any(|counter| counter.strong_count() > 0)
    }

    /// The regions that the thread has to look at.
    pub(super) fn looked_after(&self) -> Vec<Arc<Inner>> {
        let is_all = self.client.as_ref().is_none_or(|client| !client.sees_limits());
        if is_all { self.regions.all() } else { self.regions.alone() }
    }

    /// Whether there are others.
    pub(super) fn leaves_some_to_the_daemon(&self) -> bool {
        self.regions.has_handed() && self.client.as_ref().is_some_and(Client::sees_limits)
    }

    /// The others.
    pub(super) fn left_to_the_daemon(&self) -> Vec<Arc<Inner>> {
        if self.leaves_some_to_the_daemon() { self.regions.handed() } else { Vec::new() }
    }

    /// Whether the thread has to look at a region.
    pub(super) fn is_looked_after(&self, inner: &Inner) -> bool {
        !self.client.as_ref().is_some_and(Client::sees_limits)
            || !self.regions.is_handed(inner.registration.id())
    }

    /// Whether a daemon serves what is registered with it.
    pub(super) fn is_welcome(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_welcome)
    }

    /// What the connection served is not served any more, if it has ended.
    fn note_end(&mut self) {
        if self.regions.has_handed() && !self.client.as_ref().is_some_and(Client::is_connected) {
            self.regions.take_all_back();
            self.is_asleep = true;
            self.rouse();
        }
    }

    /// Another thread than the reclaimer's has sent something, or could not.
    fn note_sending(&mut self) {
        if self.client.as_ref().is_some_and(|client| client.deadline().is_some()) {
            self.rouse();
        }
        self.note_end();
    }

    /// Wakes the thread if it sleeps for as long as nobody calls it.
    pub(super) fn rouse(&mut self) {
        if std::mem::take(&mut self.is_asleep) {
            if let Some(thread) = &self.thread {
                thread::wake(&thread.wake);
            }
        }
    }

    /// Somebody may have closed what the thread polls.
    fn check_client(&mut self) {
        if let Some(client) = self.client.take_if(|client| !client.is_sound()) {
            client.abandon();
            self.note_end();
        }
    }

    /// Hears some replies. Returns whether there were any, and whether there may be more.
    fn hear(&mut self, later: &mut Later) -> (bool, bool) {
        let mut heard = false;
        for _ in 0..REPLIES {
            let Some(client) = &mut self.client else { return (heard, false) };
            match client.hear() {
                Heard::Nothing => return (heard, false),
                Heard::End => {
                    self.note_end();
                    return (true, false);
                }
                Heard::Welcome => client.enqueue(self.regions.ids_alone()),
                Heard::Refused(id) => self.regions.refuse(id),
                Heard::Purged { id, range, freed } => {
                    heard = true;
                    let Some(inner) = self.regions.get_handed(id) else { continue };
                    let is_whole = [range.start, range.end].iter().all(|end| end % page_size() == 0);
                    if is_whole && range.end <= page_align(inner.size) {
                        let freed = freed.min(range.end - range.start);
                        later.purges.push(Purged { inner, range, freed });
                    } else {
                        later.regions.push(inner);
                    }
                }
                Heard::Pong => {}
            }
            heard = true;
        }
        (heard, true)
    }

    /// Registers some of those that wait. Returns whether there may be more that can be.
    fn register_some(&mut self, later: &mut Later) -> bool {
        let Some(client) = &mut self.client else { return false };
        let (mut ids, mut regions) = (Vec::new(), Vec::new());
        while let Some(id) = (ids.len() < REGIONS_MAX).then(|| client.dequeue()).flatten() {
            // Those that were dropped or registered meanwhile are left out, and those of two descriptors.
            match self.regions.get_alone(id) {
                Some(inner) if inner.apart().is_none() && !ids.contains(&id) => {
                    ids.push(id);
                    regions.push(inner);
                }
                again => later.regions.extend(again),
            }
        }
        if ids.is_empty() {
            return false;
        }
        let descriptors: Vec<BorrowedFd<'_>> = regions.iter().map(|inner| inner.fd()).collect();
        match client.register(&ids, &descriptors) {
            Registered::Yes => ids.iter().for_each(|id| self.regions.hand_over(*id)),
            Registered::NotNow => client.enqueue(ids.iter().copied()),
            Registered::BadDescriptor => {
                // The others' are good.
                for (id, descriptor) in ids.iter().zip(descriptors) {
                    match client.register(&[*id], &[descriptor]) {
                        Registered::Yes => self.regions.hand_over(*id),
                        Registered::NotNow => client.enqueue(std::iter::once(*id)),
                        Registered::BadDescriptor => self.regions.refuse(*id),
                        Registered::End => {}
                    }
                }
            }
            Registered::End => {}
        }
        let more = client.has_queue();
        self.note_end();
        later.regions.append(&mut regions);
        more
    }

    /// In a forked child: there is no connection.
    pub(super) fn after_fork(&mut self) {
        let client = self.client.take();
        if let Some(thread) = self.thread.take() {
            // A listener may have forked.
            let is_in_use = thread.id == std::thread::current().id();
            if let Some(client) = client {
                client.after_fork(is_in_use);
            }
            if !is_in_use {
                fork::close_in_child(thread.wake);
            }
        }
        self.regions.take_all_back();
        self.is_asleep = false;
    }
}
