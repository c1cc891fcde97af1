//! Staying sane across `fork(2)`.
//!
//! Everything in the crate that holds a mutex, or the purge lock of a region, holds it inside a [`Section`]. Fork waits until no
//! section is open, so a child never inherits a lock that nobody will release. Locks that are kept for longer are held through
//! descriptions that a child finds closed ([`super::lock_file`]).
#![allow(unsafe_code, reason = "pthread_atfork, close")]

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());
static CHILD: [RwLock<Option<Action>>; 2] = [const { RwLock::new(None) }; 2];
/// What is done in a child.
type Action = fn();

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Who has something to put right in a child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Reclaimers = 0,
    LockFiles = 1,
}

thread_local! {
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// While one is open, no other thread of the process is inside `fork(2)`. Never open one inside another.
#[must_use = "the section ends when this is dropped"]
pub(crate) struct Section(
    #[allow(dead_code, reason = "held for its drop")] Option<RwLockReadGuard<'static, ()>>,
);

#[cfg(debug_assertions)]
thread_local! {
    static OPEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(debug_assertions)]
impl Drop for Section {
    fn drop(&mut self) {
        let _ = OPEN.try_with(|open| open.set(false));
    }
}

/// Opens a section; waits while another thread forks.
pub(crate) fn section() -> Section {
    // Not a `Once`: a child of a fork in the middle of it would wait for ever. Installing twice does no harm.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.load(Ordering::Acquire) {
        // SAFETY: the three handlers are functions of this crate that live as long as the process.
        let answer =
            unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
        INSTALLED.store(answer == 0, Ordering::Release);
    }
    #[cfg(debug_assertions)]
    let _ =
        OPEN.try_with(|open| assert!(!open.replace(true), "a fork section inside another: fork would hang"));
    // Inside of fork, in a handler of the program's, nobody else has one.
    let forks = FORKING.try_with(|slot| slot.borrow().is_some()).unwrap_or(false);
    Section((!forks).then(|| GATE.read().unwrap_or_else(PoisonError::into_inner)))
}

/// What a child does first for one part of the crate, from now on. It may not open a section.
pub(crate) fn in_child(part: Part, action: Action) {
    *CHILD[part as usize].write().unwrap_or_else(PoisonError::into_inner) = Some(action);
}

/// In a child: closes a descriptor that this process shared with threads, which it does not have any more.
pub(crate) fn close_in_child(shared: Arc<OwnedFd>) {
    if let Err(shared) = Arc::try_unwrap(shared) {
        let number = shared.as_raw_fd();
        std::mem::forget(shared);
        // SAFETY: the number is this process's own, and those that would use it or close it again are threads of the parent's alone.
        unsafe { libc::close(number) };
    }
}

/// Another one in a child than in its parent, if a section was opened before the fork. (A bare `clone(2)` passes that by.)
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

extern "C" fn before() {
    // A thread that is being torn down has no thread-local storage any more; then fork goes ahead unguarded.
    let _ = FORKING.try_with(|slot| {
        slot.borrow_mut().get_or_insert_with(|| GATE.write().unwrap_or_else(PoisonError::into_inner));
    });
}

extern "C" fn after_in_parent() {
    let _ = FORKING.try_with(|slot| slot.borrow_mut().take());
}

extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for part in &CHILD {
        let action = part.try_read().ok().and_then(|action| *action);
        if let Some(action) = action {
            action();
        }
    }
    after_in_parent();
}
