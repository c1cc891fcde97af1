//! Tells observers of changes.
//!
//! Each observer has a thread, and what it has not been told yet. A change is noted there, which waits for nobody; what comes while an
//! observer is being told becomes one change with what came before. So one that takes its time, or whose process is stopped,
//! delays nobody, and what it has not been told stays small.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ashmem_binder::rsbinder::{
    self, Binder, FLAG_ONEWAY, Interface as _, Parcel, Remotable, SIBinder, StatusCode, TransactionCode,
};

use super::failure::{Failure, Result};
use super::quota::Place;
use crate::observer::{self, Change, ChangedRows};
use crate::{Refusal, wire};

/// Tables in one outbox that are named; it is for hostile schemas.
const MOST_TABLES: usize = 1000;

/// All observers of a provider.
#[derive(Debug, Default)]
pub(super) struct Observers {
    known: Mutex<HashMap<u64, Observer>>,
    next: AtomicU64,
}

/// What an observer wants to know, and has not been told.
#[derive(Clone, Debug)]
struct Observer {
    /// `None`: all.
    table: Option<String>,
    /// `None`: all.
    row: Option<i64>,
    outbox: Arc<Outbox>,
}

impl Observer {
    fn wants(&self, change: &Change) -> bool {
        let table = self.table.as_ref().is_none_or(|table| table.eq_ignore_ascii_case(&change.table));
        table && self.row.is_none_or(|row| change.rows.include(row))
    }
}

#[derive(Debug, Default)]
struct Outbox {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    changes: BTreeMap<String, ChangedRows>,
    closed: bool,
}

impl Outbox {
    fn add(&self, change: &Change) {
        let mut pending = lock(&self.pending);
        if let Some(rows) = pending.changes.get_mut(&change.table) {
            rows.merge(&change.rows);
        } else if pending.changes.len() < MOST_TABLES {
            pending.changes.insert(change.table.clone(), change.rows.clone());
        }
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.pending).closed = true;
        self.changed.notify_one();
    }

    /// Waits for something to tell; `None` when it is closed.
    fn take(&self) -> Option<BTreeMap<String, ChangedRows>> {
        let pending = lock(&self.pending);
        let waiting = |pending: &mut Pending| pending.changes.is_empty() && !pending.closed;
        let mut pending = self.changed.wait_while(pending, waiting).unwrap_or_else(PoisonError::into_inner);
        (!pending.closed).then(|| std::mem::take(&mut pending.changes))
    }
}

impl Observers {
    /// Tells a binder of changes for as long as the registration that this gives lives.
    pub(super) fn register(
        self: &Arc<Observers>,
        table: Option<String>,
        row: Option<i64>,
        binder: SIBinder,
        place: Place,
    ) -> Result<SIBinder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::default());
        let (observers, mail) = (Arc::clone(self), Arc::clone(&outbox));
        let run = move || {
            while let Some(changes) = mail.take() {
                if tell(&binder, changes).is_err() {
                    // It has died, or is not one.
                    observers.forget(number);
                }
            }
            drop(place);
        };
        let observer = Observer { table, row, outbox };
        lock(&self.known).insert(number, observer);
        // Whatever happens from here on, it is forgotten when this is dropped.
        let registration = Binder::new(RegistrationBinder { observers: Arc::clone(self), number });
        let thread = thread::Builder::new().name("observer".to_owned()).spawn(run);
        thread.map_err(|error| Failure::new(Refusal::Resources, format!("start an observer: {error}")))?;
        Ok(registration.as_binder())
    }

    /// Notes changes for those who want to know, and waits for none of them.
    pub(super) fn notify(&self, changes: &[Change]) {
        let known = lock(&self.known);
        for observer in known.values() {
            changes
                .iter()
                .filter(|change| observer.wants(change))
                .for_each(|change| observer.outbox.add(change));
        }
    }

    fn forget(&self, number: u64) {
        let forgotten = lock(&self.known).remove(&number);
        if let Some(observer) = forgotten {
            observer.outbox.close();
        }
    }
}

fn tell(binder: &SIBinder, changes: BTreeMap<String, ChangedRows>) -> rsbinder::Result<()> {
    for (table, rows) in changes {
        let change = Change { table, rows };
        wire::submit(binder, wire::OBSERVER, wire::CHANGED, FLAG_ONEWAY, |request| {
            observer::write_change(request, &change)
        })?;
    }
    Ok(())
}

/// What an observer's process has for as long as it wants to be told.
struct RegistrationBinder {
    observers: Arc<Observers>,
    number: u64,
}

impl Drop for RegistrationBinder {
    fn drop(&mut self) {
        self.observers.forget(self.number);
    }
}

impl Remotable for RegistrationBinder {
    fn descriptor() -> &'static str {
        wire::REGISTRATION
    }

    fn on_transact(&self, _: TransactionCode, _: &mut Parcel, _: &mut Parcel) -> rsbinder::Result<()> {
        Err(StatusCode::UnknownTransaction)
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::observer::MOST_ROWS;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against sets of all that changed: nothing is lost between two looks, and little is kept.
        #[test]
        fn nothing_is_lost(
            steps in prop::collection::vec(prop::option::weighted(0.9, (0usize..3, prop::collection::btree_set(0i64..200, 1..30))), 1..40),
        ) {
            let outbox = Outbox::default();
            let mut model: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
            for step in steps.into_iter().chain([None]) {
                if let Some((table, rows)) = step {
                    let table = ["a", "b", "c"][table].to_owned();
                    model.entry(table.clone()).or_default().extend(&rows);
                    outbox.add(&Change { table, rows: ChangedRows::These(rows) });
                } else if !model.is_empty() {
                    let taken = outbox.take().unwrap();
                    prop_assert!(taken.keys().eq(model.keys()));
                    for (table, rows) in std::mem::take(&mut model) {
                        match &taken[&table] {
                            ChangedRows::These(told) => prop_assert_eq!(told, &rows),
                            ChangedRows::Any => prop_assert!(rows.len() > MOST_ROWS),
                        }
                    }
                }
            }
            outbox.close();
            prop_assert!(outbox.take().is_none());
        }
    }
}
