//! The reclaimer's thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::Builder;

use rustix::event::{EventfdFlags, eventfd};

use super::engine::{BACK_OFF, LINGER, Shared, Turn, lock};

use crate::sys::aside::aside;
use crate::sys::{fork, thread};

/// Starts the thread of a reclaimer that has none; its lock is held. Returns the eventfd that wakes the thread.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Arc<OwnedFd>> {
    let wake = Arc::new(aside(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
    let (shared, woken) = (shared.clone(), wake.clone());
    let builder = Builder::new().name("ashmem-reclaim".into()).stack_size(256 << 10);
    thread::without_signals(|| builder.spawn(move || run(&shared, &woken)))?;
    Ok(wake)
}

/// Makes an eventfd readable.
pub(super) fn wake(eventfd: &OwnedFd) {
    // Fails only when the count is full, and then it is readable.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

/// Puts things right when a program's listener, clock or pressure source panics in the thread: the next unpin starts another.
struct OnPanic<'a>(&'a Shared);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

fn run(shared: &Shared, woken: &OwnedFd) {
    let _on_panic = OnPanic(shared);
    thread::be_prompt();
    // Away only while a thread of the program is in `run_once`.
    let mut turn = loop {
        match Turn::take(shared) {
            Some(turn) => break turn,
            None => std::thread::sleep(BACK_OFF),
        }
    };
    loop {
        let next = shared.look(turn.lookout());
        if next.is_none() && idle_for_long(shared) {
            if shared.retire(&mut turn) {
                return;
            }
            continue;
        }
        turn.lookout().wait(woken.as_fd(), next.unwrap_or(LINGER));
        // Empty when it was not what ended the wait.
        let _ = rustix::io::read(woken, &mut [0; 8]);
        if next.is_some() {
            let _section = fork::section();
            lock(&shared.state).idle_since = None;
        }
    }
}

fn idle_for_long(shared: &Shared) -> bool {
    let now = shared.clock.now();
    let _section = fork::section();
    let mut state = lock(&shared.state);
    let since = *state.idle_since.get_or_insert(now);
    now.saturating_sub(since) >= LINGER
}
