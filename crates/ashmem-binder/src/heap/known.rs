//! Which heaps this process knows, so that the same remote heap is always the same proxy with one mapping.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use ashmem::fork_section;
use rsbinder::SIBinder;

use super::proxy::Inner;

/// By the address of the binder object. Who is in the table keeps that object alive, so the address is not used again.
static KNOWN: LazyLock<Mutex<HashMap<usize, Weak<Inner>>>> = LazyLock::new(Mutex::default);

/// Inside a section alone, or a child of `fork(2)` may find it locked for ever.
fn known() -> MutexGuard<'static, HashMap<usize, Weak<Inner>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(binder: &SIBinder) -> usize {
    std::ptr::from_ref(&**binder).cast::<()>().addr()
}

/// The proxy for a binder.
pub(super) fn get(binder: &SIBinder) -> Arc<Inner> {
    let _section = fork_section();
    let mut known = known();
    let entry = known.entry(address(binder)).or_default();
    if let Some(inner) = entry.upgrade() {
        return inner;
    }
    let inner = Arc::new(Inner::new(binder.clone()));
    *entry = Arc::downgrade(&inner);
    inner
}

/// A proxy ends. Its place may be another's by now: one that was asked for since its last reference went.
pub(super) fn forget(inner: &Inner) {
    let _section = fork_section();
    let mut known = known();
    let address = address(inner.binder());
    if known.get(&address).is_some_and(|entry| entry.strong_count() == 0) {
        known.remove(&address);
    }
    if known.capacity() > 1024 && known.len() < known.capacity() / 8 {
        known.shrink_to_fit();
    }
}

#[cfg(test)]
pub(super) fn count() -> usize {
    let _section = fork_section();
    known().len()
}
