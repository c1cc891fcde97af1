//! How many cursors, or observers, a client may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::{Failure, Result};
use crate::Refusal;

/// Counts what each process has.
#[derive(Debug)]
pub(super) struct Quota {
    what: &'static str,
    /// Of one process.
    most: usize,
    /// Of all.
    limit: usize,
    counts: Mutex<HashMap<i32, usize>>,
}

impl Quota {
    pub(super) fn new(what: &'static str, most: usize, limit: usize) -> Arc<Quota> {
        Arc::new(Quota { what, most, limit, counts: Mutex::default() })
    }

    /// One more, for as long as the place lives. Those whose process the kernel does not tell share -1.
    pub(super) fn take(self: &Arc<Quota>, process: i32) -> Result<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, all) = (counts.get(&process).copied().unwrap_or(0), counts.values().sum::<usize>());
        if own >= self.most {
            let message = format!("this process has {own} {} already", self.what);
            return Err(Failure::new(Refusal::TooMany, message));
        }
        if all >= self.limit {
            return Err(Failure::new(Refusal::TooMany, format!("all processes have {all} {}", self.what)));
        }
        counts.insert(process, own + 1);
        drop(counts);
        Ok(Place { quota: Arc::clone(self), process })
    }
}

/// Counts for one as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    quota: Arc<Quota>,
    process: i32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.quota.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.process) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.process)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let quota = Quota::new("cursors", 2, 3);
        let (first, _second) = (quota.take(1).unwrap(), quota.take(1).unwrap());
        assert_eq!(quota.take(1).unwrap_err().refusal, Refusal::TooMany);
        let _third = quota.take(2).unwrap();
        assert_eq!(quota.take(3).unwrap_err().refusal, Refusal::TooMany);
        drop(first);
        let third = quota.take(3).unwrap();
        drop(third);
        assert_eq!(quota.counts.lock().unwrap().len(), 2);
    }
}
