//! The limit: room is made before memory is used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashmem::Reclaimer;

use super::table::Table;
use super::{Refusal, Refused};

/// So much of the limit is freed at a time beyond what is needed, so that not every bitmap has to look for room.
const SPARE: u64 = 32;

/// How long to wait for others who have reserved room: they copy one bitmap each.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is room for.
pub(super) struct Room {
    limit: u64,
    /// Bytes that are reserved and may not be allocated yet.
    reserved: Mutex<u64>,
    released: Condvar,
    most: AtomicU64,
}

/// Bytes that may be allocated while this lives.
pub(super) struct Reserved<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    pub(super) fn new(limit: u64) -> Room {
        Room { limit, reserved: Mutex::new(0), released: Condvar::new(), most: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The most bytes that were in use.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Refuses what there will never be room for.
    pub(super) fn check(&self, bytes: u64) -> Result<(), Refused> {
        if bytes <= self.limit {
            return Ok(());
        }
        let message = format!("a bitmap takes {bytes} bytes, and the service has {}", self.limit);
        Err(Refused::new(Refusal::TooLarge, message))
    }

    /// Makes room. First goes what was asked for longest ago and nobody leases; then what nobody has, and is leased all the same. What is
    /// reserved for others is waited for.
    pub(super) fn reserve(&self, table: &Table, bytes: u64) -> Result<Reserved<'_>, Refused> {
        let until = Instant::now() + PATIENCE;
        let mut reserved = self.lock();
        while self.make(table, reserved.saturating_add(bytes)) > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if *reserved == 0 || left.is_zero() {
                let message = "clients look at as much as the service's limit allows";
                return Err(Refused::new(Refusal::Full, message));
            }
            let waited = self.released.wait_timeout(reserved, left);
            reserved = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *reserved = reserved.saturating_add(bytes);
        Ok(Reserved { room: self, bytes })
    }

    /// Sees to it that so many bytes are free, and says how many of them are not.
    fn make(&self, table: &Table, bytes: u64) -> u64 {
        let missing = || table.allocated().saturating_add(bytes).saturating_sub(self.limit);
        let wanted = missing();
        if wanted == 0 {
            return 0;
        }
        Reclaimer::global().reclaim_among(&table.regions(), wanted.saturating_add(self.limit / SPARE));
        table.sweep();
        for entry in table.unheld() {
            if missing() == 0 {
                break;
            }
            table.take(entry.number);
        }
        missing()
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// Looks at the memory in use.
    pub(super) fn note_most(&self, table: &Table) {
        self.room.most.fetch_max(table.allocated(), Ordering::Relaxed);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut reserved = self.room.lock();
        *reserved = reserved.saturating_sub(self.bytes);
        self.room.released.notify_all();
    }
}
