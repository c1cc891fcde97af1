//! Having threads that wait in `recvmsg` enter it once more.
//!
//! A thread that a tracer interrupts leaves its system call with ERESTARTSYS; no signal is there for it, so it enters the call again,
//! and neither it nor its parent has noticed. Where a signal comes at the same time, it is as if there had been nothing but the signal.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::ptrace::{self, Stop};
use crate::task::proc_file;

/// A thread that was let go on to wait in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) thread: i32,
    /// The call's number.
    pub(super) call: i32,
    /// How often it had waited for something until then.
    pub(super) waits: u64,
}

/// How long the sender waits for this. It takes some 100 microseconds, as a rule; more on a busy machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// After that, a thread that does not stop is left alone: it waits for something that cannot be interrupted.
const GIVE_UP: Duration = Duration::from_secs(1);

/// How long a thread may be on its way to its call.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// This needs little of it.
const STACK: usize = 128 << 10;

/// Interrupts the threads that are in the calls named. A tracer is a thread, and its end frees all that it traces: so this
/// has one of its own, which may take longer than the sender can wait.
pub(super) fn kick(threads: Vec<Waiting>) {
    let (done, is_done) = channel();
    let interrupt = move || {
        interrupt(&threads);
        let _ = done.send(());
    };
    let thread = thread::Builder::new().name("ashmem-kick".into()).stack_size(STACK);
    if thread.spawn(interrupt).is_ok() {
        let _ = is_done.recv_timeout(PATIENCE);
    }
}

fn interrupt(threads: &[Waiting]) {
    let give_up = Instant::now() + GIVE_UP;
    // Fails for a thread that is being debugged.
    let seized = threads.iter().filter(|waiting| is_in(waiting) && ptrace::seize(waiting.thread).is_ok());
    // Looked at again: other calls, which would not be restarted, must not be interrupted.
    let interrupted = seized.filter(|waiting| is_in(waiting) && ptrace::interrupt(waiting.thread).is_ok());
    let mut left: Vec<i32> = interrupted.map(|waiting| waiting.thread).collect();
    for attempt in 0_u32.. {
        left.retain(|&thread| match ptrace::look(thread) {
            Stop::Not => doing(thread) != Doing::Unknown,
            Stop::Stopped(signal) => {
                let _ = ptrace::detach(thread, signal);
                false
            }
            Stop::Gone => false,
        });
        if left.is_empty() || Instant::now() > give_up {
            return;
        }
        if attempt < 16 { thread::yield_now() } else { thread::sleep(Duration::from_micros(100)) }
    }
}

/// What a thread does, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It runs, or is about to, in a call or not.
    Running,
    /// It sleeps in this call; -1 for none.
    Waiting(i32),
    /// It is gone, or may not be looked at.
    Unknown,
}

pub(super) fn doing(thread: i32) -> Doing {
    let text = std::fs::read_to_string(proc_file(thread, "syscall")).unwrap_or_default();
    match text.split_ascii_whitespace().next() {
        Some("running") => Doing::Running,
        Some(number) => number.parse().map_or(Doing::Unknown, Doing::Waiting),
        None => Doing::Unknown,
    }
}

/// How often a thread has waited for something, the present time included.
pub(super) fn waits(thread: i32) -> u64 {
    let text = std::fs::read_to_string(proc_file(thread, "status")).unwrap_or_default();
    let mut lines = text.lines();
    let waits = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    waits.and_then(|waits| waits.trim().parse().ok()).unwrap_or(0)
}

/// Whether a thread waits in its call. One that runs and has not waited since it was let go on is on its way there, and gets there as
/// soon as there is a processor for it; any other may be doing something else by now.
fn is_in(waiting: &Waiting) -> bool {
    let give_up = Instant::now() + ON_THE_WAY;
    for attempt in 0.. {
        match doing(waiting.thread) {
            Doing::Running if attempt < 10 => thread::yield_now(),
            Doing::Running if attempt < 30 => thread::sleep(Duration::from_micros(50)),
            Doing::Running if waits(waiting.thread) != waiting.waits || Instant::now() > give_up => {
                return false;
            }
            Doing::Running => thread::sleep(Duration::from_millis(1)),
            other => return other == Doing::Waiting(waiting.call),
        }
    }
    false
}
