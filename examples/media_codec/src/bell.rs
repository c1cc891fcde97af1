//! Sleeping until the other process has something to say.
//!
//! A **bell** is a word that its owner puts up before it sleeps, and sleeps on. After the owner has put it up, it looks at its queues
//! once more; after the peer has pushed a record, it looks at the bell. Each has a fence in between, so one of them at least sees what
//! the other did. While both are awake nobody makes a system call.
//!
//! A bell that lies, because a peer writes what it likes, wakes its owner for nothing, or not at all: so a client sleeps in slices.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// Before the last look at the queues.
pub fn put_up(bell: &AtomicU32) {
    bell.store(ASLEEP, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// After sleep, or instead of it.
#[cfg(not(loom))]
pub fn take_down(bell: &AtomicU32) {
    bell.store(AWAKE, Ordering::Relaxed);
}

/// After a push: whether the peer sleeps, or is about to, and is to be woken by who asks.
pub fn is_up(bell: &AtomicU32) -> bool {
    fence(Ordering::SeqCst);
    // Mostly it is down, and then its cache line stays where it is.
    bell.load(Ordering::Relaxed) == ASLEEP && bell.swap(AWAKE, Ordering::Relaxed) == ASLEEP
}

/// Sleeps while the bell is up, no longer than `timeout`, if there is one. It may end for no reason.
#[cfg(not(loom))]
pub fn sleep(bell: &AtomicU32, timeout: Option<std::time::Duration>) {
    use rustix::thread::futex::{self, Flags, Timespec};

    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Woken, interrupted, too late or not even up: the owner looks at its queues.
    let _ = futex::wait(bell, Flags::empty(), ASLEEP, timeout.as_ref());
}

/// Wakes the owner.
#[cfg(not(loom))]
pub fn wake(bell: &AtomicU32) {
    // Fails for no address that a mapping has.
    let _ = rustix::thread::futex::wake(bell, rustix::thread::futex::Flags::empty(), 1);
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;
    use crate::queue::{Receiver, Sender, WORDS};

    /// Of one that goes to sleep and one that pushes, one at least sees what the other did.
    #[test]
    fn nobody_sleeps_over_a_record() {
        loom::model(|| {
            let words: Arc<Vec<_>> = Arc::new((0..WORDS).map(|_| AtomicU32::new(0)).collect());
            let bell = Arc::new(AtomicU32::new(AWAKE));
            let pushing = {
                let (words, bell) = (words.clone(), bell.clone());
                loom::thread::spawn(move || {
                    Sender::default().push(&words, [1; 8]);
                    is_up(&bell)
                })
            };
            put_up(&bell);
            let saw_record = Receiver::default().is_waiting(&words);
            let was_woken = pushing.join().expect("no panic");
            assert!(saw_record || was_woken);
        });
    }
}
