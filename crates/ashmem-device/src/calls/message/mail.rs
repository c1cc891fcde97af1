//! Who waits for a message, and who is just sending one.
//!
//! A receiver that finds nothing says so here ([`Mail::expect`]), looks once more, and goes to wait in the kernel. A sender of an area says
//! so ([`Mail::announce`]), has those that wait enter their call again, and goes on. Both say it before they look for the other, under
//! one lock: either the sender finds the receiver, or the receiver finds that something is coming, and waits for that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::discard::Discard;
use super::kick::{self, Doing, Waiting};
use crate::model::AreaId;
use crate::sys::message::Received;

/// How long a sender that the kernel is about to let go on is waited for, at most. It takes microseconds, but not where there is no
/// processor for it.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// How long one receiver may wait for what others of its listener send, and for what anybody does.
const OWN_PATIENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_millis(20);

/// So many receivers are told of one message.
const KICKED: usize = 64;

/// So many are remembered, with those that have ended, or do something else by now: a sender finds out.
const REMEMBERED: usize = 4096;

/// What could not be handed over is kept so long, and so much of it.
const KEPT_FOR: Duration = Duration::from_secs(10);
const KEPT: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Mail {
    state: Mutex<State>,
    /// How many threads are in there: most calls need not look.
    count: AtomicUsize,
    /// One at a time, so that nobody finds a thread traced by another sender and goes on before it was interrupted.
    kicking: Mutex<()>,
    pub(super) discard: Discard,
}

#[derive(Debug, Default)]
struct State {
    /// Threads that wait, and the order in which they came.
    waiting: HashMap<i32, (Waiting, u64)>,
    came: u64,
    sending: Vec<Sending>,
    kept: Vec<Kept>,
}

/// A thread that sends an area.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// The listener that it belongs to.
    listener: usize,
    thread: i32,
    call: i32,
    area: AreaId,
    /// How often it had waited for something when it was let go on.
    waits: u64,
    until: Instant,
}

#[derive(Debug)]
struct Kept {
    socket: u64,
    since: Instant,
    message: Received,
}

impl Sending {
    /// How long a caller of this listener may wait for it: callers of others are not to be held up.
    pub(super) fn patience(&self, listener: usize) -> Duration {
        if self.listener == listener { OWN_PATIENCE } else { PATIENCE }
    }

    /// Whether it has sent it.
    fn is_over(&self) -> bool {
        match kick::doing(self.thread) {
            Doing::Running => false,
            // Perhaps for its next message to be looked at.
            Doing::Waiting(call) => call != self.call || kick::waits(self.thread) != self.waits,
            Doing::Unknown => true,
        }
    }
}

impl Mail {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, state: &State) {
        self.count.store(state.waiting.len() + state.sending.len(), Ordering::Relaxed);
    }

    /// A thread has entered a call: whatever it waited for or was sending is over.
    pub(crate) fn heard_of(&self, thread: i32) {
        // Only its own listener's thread, this one, adds it.
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.lock();
        state.waiting.remove(&thread);
        state.sending.retain(|sending| sending.thread != thread);
        self.counted(&state);
    }

    /// A thread is about to wait in the kernel, unless something is coming: then that is returned.
    pub(super) fn expect(&self, listener: usize, thread: i32, call: i32) -> Option<Sending> {
        let waiting = Waiting { thread, call, waits: kick::waits(thread) };
        let mut state = self.lock();
        let now = Instant::now();
        state.sending.retain(|sending| now < sending.until);
        // Rather one of its own listener's, which may be waited for longer.
        let own = state.sending.iter().find(|sending| sending.listener == listener);
        let coming = own.or(state.sending.first()).copied();
        if coming.is_none() {
            state.came += 1;
            let came = state.came;
            if state.waiting.len() < REMEMBERED {
                state.waiting.insert(thread, (waiting, came));
            }
        }
        self.counted(&state);
        coming
    }

    /// Whether what was coming is still to be waited for.
    pub(super) fn is_coming(&self, sending: &Sending) -> bool {
        if Instant::now() < sending.until && !sending.is_over() {
            return true;
        }
        let mut state = self.lock();
        state.sending.retain(|other| other.thread != sending.thread);
        self.counted(&state);
        false
    }

    /// A thread, which waits in this call, is about to send an area: everybody who may be waiting for it is told.
    pub(super) fn announce(&self, listener: usize, thread: i32, call: i32, area: AreaId) {
        // While it waits for its answer, it waits for nothing else.
        let waits = kick::waits(thread);
        let sending = |until| Sending { listener, thread, call, area, waits, until };
        let all: Vec<(Waiting, u64)> = {
            let mut state = self.lock();
            state.sending.push(sending(Instant::now() + 2 * ON_ITS_WAY));
            self.counted(&state);
            state.waiting.values().copied().collect()
        };
        let (mut waiting, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(waiting, _)| {
            let doing = kick::doing(waiting.thread);
            doing == Doing::Running || doing == Doing::Waiting(waiting.call)
        });
        if !waiting.is_empty() {
            // Those that came last.
            waiting.sort_unstable_by_key(|&(_, came)| std::cmp::Reverse(came));
            waiting.truncate(KICKED);
            let one_at_a_time = self.kicking.lock();
            kick::kick(waiting.into_iter().map(|(waiting, _)| waiting).collect());
            drop(one_at_a_time);
        }
        let mut state = self.lock();
        for (other, came) in others {
            // It may be waiting anew.
            if state.waiting.get(&other.thread).is_some_and(|&(_, last)| last == came) {
                state.waiting.remove(&other.thread);
            }
        }
        // It is let go on now.
        state.sending.retain(|other| other.thread != thread);
        state.sending.push(sending(Instant::now() + ON_ITS_WAY));
        self.counted(&state);
    }

    /// An area has arrived: whoever sent it last has done so.
    pub(super) fn arrived(&self, area: AreaId) {
        let mut state = self.lock();
        state.sending.retain(|sending| sending.area != area);
        self.counted(&state);
    }

    /// Keeps what was received from a socket for a caller that could not be told: on kernels where signals interrupt even a
    /// notification that is being answered, or when it was killed. Whoever receives next has it.
    pub(super) fn keep(&self, socket: u64, message: Received) {
        let mut state = self.lock();
        state.kept.push(Kept { socket, since: Instant::now(), message });
        let excess = state.kept.len().saturating_sub(KEPT);
        let dropped: Vec<Kept> = state.kept.drain(..excess).collect();
        drop(state);
        drop(dropped);
    }

    /// What is kept of a socket, and what has been kept for too long.
    pub(super) fn kept(&self, socket: u64) -> (Option<Received>, Vec<Received>) {
        let mut state = self.lock();
        if state.kept.is_empty() {
            return (None, Vec::new());
        }
        let kept = std::mem::take(&mut state.kept);
        let (old, kept) = kept.into_iter().partition::<Vec<_>, _>(|kept| kept.since.elapsed() > KEPT_FOR);
        state.kept = kept;
        let old = old.into_iter().map(|kept| kept.message).collect();
        let place = state.kept.iter().position(|kept| kept.socket == socket);
        (place.map(|place| state.kept.remove(place).message), old)
    }
}
