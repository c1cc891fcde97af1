//! The reclaimer's thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::Builder;

use rustix::event::{EventfdFlags, eventfd};

use super::engine::{BACK_OFF, Idle, LINGER, Running, Shared, Turn, lock};
use super::pressure::Woken;

use crate::sys::aside::aside;
use crate::sys::{fork, thread};

/// Starts the thread of a reclaimer that has none; its lock is held.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Running> {
    let wake = Arc::new(aside(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
    let (shared, woken) = (shared.clone(), wake.clone());
    let builder = Builder::new().name("ashmem-reclaim".into()).stack_size(256 << 10);
    let thread = thread::without_signals(|| builder.spawn(move || run(&shared, &woken)))?;
    Ok(Running { wake, id: thread.thread().id() })
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
    thread::be_prompt_but_in_callbacks();
    // Away only while a thread of the program is in `run_once`.
    let mut turn = loop {
        match Turn::take(shared) {
            Some(turn) => break turn,
            None => std::thread::sleep(BACK_OFF),
        }
    };
    let mut why = Woken::TimedOut;
    loop {
        shared.talk(why);
        let next = shared.look(turn.lookout());
        let rest = match next {
            Some(next) => Some(next),
            None => match shared.idle(&mut turn) {
                Idle::Lingers => Some(LINGER),
                Idle::Sleeps => None,
                Idle::Again => {
                    why = Woken::TimedOut;
                    continue;
                }
                Idle::Ended => return,
            },
        };
        // Asked for last: who says something meanwhile wakes the thread only once it sleeps.
        let (wakes, soon) = shared.wakes();
        let timeout = rest.into_iter().chain(soon).min();
        let wake = wakes.as_ref().map_or(woken.as_fd(), |wakes| wakes.as_fd());
        why = turn.lookout().wait(wake, timeout);
        turn.lookout().is_alert |= why == Woken::Event;
        // Empty when it was not what ended the wait.
        let _ = rustix::io::read(woken, &mut [0; 8]);
        if next.is_some() {
            let _section = fork::section();
            lock(&shared.state).idle_since = None;
        }
    }
}
