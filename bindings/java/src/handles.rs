//! Native objects that Java holds by number.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use jni::sys::jlong;

/// Objects of one class by number. Numbers start with 1 and are never given twice, so one that was
/// [removed](Handles::remove) names nothing.
pub(crate) struct Handles<T: ?Sized>(LazyLock<RwLock<Table<T>>>);

struct Table<T: ?Sized> {
    last: jlong,
    entries: HashMap<jlong, Arc<T>>,
}

impl<T: ?Sized> Handles<T> {
    pub(crate) const fn new() -> Handles<T> {
        Handles(LazyLock::new(|| RwLock::new(Table { last: 0, entries: HashMap::new() })))
    }

    pub(crate) fn insert(&self, object: Arc<T>) -> jlong {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.last += 1;
        let handle = table.last;
        table.entries.insert(handle, object);
        handle
    }

    pub(crate) fn get(&self, handle: jlong) -> Option<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).entries.get(&handle).cloned()
    }

    /// The object, so that it is dropped outside of the lock.
    pub(crate) fn remove(&self, handle: jlong) -> Option<Arc<T>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entries.remove(&handle)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).entries.len()
    }
}
