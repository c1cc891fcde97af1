//! Who wants to know of changes.

use std::collections::BTreeSet;
use std::io::Write;

use ashmem_binder::rsbinder::{self, Parcel, Remotable, SIBinder, StatusCode, TransactionCode};

use crate::wire;

/// Rows that are named one by one; more are [`ChangedRows::Any`].
pub(crate) const MOST_ROWS: usize = 64;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: ChangedRows,
}

/// Rows that were inserted, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedRows {
    /// These, by their ids.
    These(BTreeSet<i64>),
    /// Too many to name, or in a table without ids.
    Any,
}

impl ChangedRows {
    /// Whether that may include a row.
    #[must_use]
    pub fn include(&self, row: i64) -> bool {
        match self {
            ChangedRows::These(rows) => rows.contains(&row),
            ChangedRows::Any => true,
        }
    }

    pub(crate) fn none() -> ChangedRows {
        ChangedRows::These(BTreeSet::new())
    }

    /// One more row.
    pub(crate) fn add(&mut self, row: i64) {
        if let ChangedRows::These(rows) = self {
            rows.insert(row);
            if rows.len() > MOST_ROWS {
                *self = ChangedRows::Any;
            }
        }
    }

    /// Those of both.
    pub(crate) fn merge(&mut self, other: &ChangedRows) {
        match other {
            ChangedRows::These(rows) => rows.iter().for_each(|row| self.add(*row)),
            ChangedRows::Any => *self = ChangedRows::Any,
        }
    }
}

/// Is told of changes.
///
/// Stands for `android.database.ContentObserver`.
pub trait ContentObserver: Send + Sync {
    /// Something changed, and is there to be queried. In a thread of Binder's; what comes meanwhile waits.
    fn on_change(&self, change: Change);
}

impl<F: Fn(Change) + Send + Sync> ContentObserver for F {
    fn on_change(&self, change: Change) {
        self(change);
    }
}

/// Changes are told as long as this lives.
#[derive(Debug)]
#[must_use = "changes are told as long as it lives"]
pub struct Registration {
    /// The provider's; it learns when the last reference goes.
    _registration: SIBinder,
    _observer: SIBinder,
}

impl Registration {
    pub(crate) fn new(registration: SIBinder, observer: SIBinder) -> Registration {
        Registration { _registration: registration, _observer: observer }
    }
}

/// What the provider calls.
pub(crate) struct ObserverBinder(Box<dyn ContentObserver>);

impl ObserverBinder {
    pub(crate) fn new(observer: impl ContentObserver + 'static) -> ObserverBinder {
        ObserverBinder(Box::new(observer))
    }
}

impl Remotable for ObserverBinder {
    fn descriptor() -> &'static str {
        wire::OBSERVER
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        request: &mut Parcel,
        _: &mut Parcel,
    ) -> rsbinder::Result<()> {
        if code != wire::CHANGED {
            return Err(StatusCode::UnknownTransaction);
        }
        self.0.on_change(read_change(request)?);
        Ok(())
    }

    fn on_dump(&self, _: &mut dyn Write, _: &[String]) -> rsbinder::Result<()> {
        Ok(())
    }
}

pub(crate) fn write_change(parcel: &mut Parcel, change: &Change) -> rsbinder::Result<()> {
    parcel.write(&change.table)?;
    match &change.rows {
        ChangedRows::Any => parcel.write_bool(true),
        ChangedRows::These(rows) => {
            parcel.write_bool(false)?;
            parcel.write_u32(u32::try_from(rows.len()).map_err(|_| StatusCode::BadValue)?)?;
            rows.iter().try_for_each(|row| parcel.write_i64(*row))
        }
    }
}

fn read_change(parcel: &mut Parcel) -> rsbinder::Result<Change> {
    let table = parcel.read()?;
    let rows = if parcel.read_bool()? {
        ChangedRows::Any
    } else {
        ChangedRows::These(wire::read_parts(parcel, MOST_ROWS, Parcel::read_i64)?.into_iter().collect())
    };
    Ok(Change { table, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_and_stay_small() {
        let mut rows = ChangedRows::none();
        for row in 0..MOST_ROWS as i64 {
            rows.add(row);
            let change = Change { table: "people".to_owned(), rows: rows.clone() };
            let mut parcel = Parcel::new();
            write_change(&mut parcel, &change).unwrap();
            parcel.set_data_position(0);
            assert_eq!(read_change(&mut parcel).unwrap(), change);
        }
        assert!(rows.include(3) && !rows.include(64));
        let mut both = ChangedRows::none();
        both.merge(&rows);
        assert_eq!(both, rows);
        both.merge(&ChangedRows::These([5, 64].into()));
        assert_eq!(both, ChangedRows::Any);
    }
}
