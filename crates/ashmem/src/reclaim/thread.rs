//! The reclaimer's thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::Builder;

use rustix::event::{EventfdFlags, eventfd};

use super::pressure::{PressureSource, SystemPressure};
use super::{LINGER, Shared, lock};
use crate::sys::fork;

/// Starts the thread of a reclaimer that has none; its lock is held. Returns the eventfd that wakes the thread.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Arc<OwnedFd>> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (shared, woken) = (shared.clone(), wake.clone());
    let thread = Builder::new().name("ashmem-reclaim".into()).stack_size(256 << 10);
    fork::without_signals(|| thread.spawn(move || run(&shared, &woken)))?;
    Ok(wake)
}

/// Makes an eventfd readable.
pub(super) fn wake(eventfd: &OwnedFd) {
    // Fails only when the count is full, and then it is readable.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn run(shared: &Shared, woken: &OwnedFd) {
    let source = {
        let _section = fork::section();
        lock(&shared.state).source.take()
    };
    let mut source: Box<dyn PressureSource> = source.unwrap_or_else(|| Box::new(SystemPressure::new()));
    loop {
        let next = shared.look(source.as_mut());
        if next.is_none() && idle_for_long(shared) {
            if shared.retire() {
                break;
            }
            continue;
        }
        source.wait(woken.as_fd(), Some(next.unwrap_or(LINGER)));
        // Empty when it was not what ended the wait.
        let _ = rustix::io::read(woken, &mut [0; 8]);
        if next.is_some() {
            let _section = fork::section();
            lock(&shared.state).idle_since = None;
        }
    }
    let _section = fork::section();
    let mut state = lock(&shared.state);
    // Another thread may have been started in the meantime, with a source of its own.
    if state.thread.is_none() {
        state.source = Some(source);
        state.rearm = true;
    }
}

fn idle_for_long(shared: &Shared) -> bool {
    let now = shared.clock.now();
    let _section = fork::section();
    let mut state = lock(&shared.state);
    let since = *state.idle_since.get_or_insert(now);
    now.saturating_sub(since) >= LINGER
}
