//! What the two ends have in common: the claim, the position, sleeping and waking.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Ring;
use super::patience::Patience;
use super::positions::{ASLEEP, Cursor, OutOfRange, Side};
use super::region::Memory;
use super::window::Window;
use crate::sys::lock::{self, Kind};
use crate::sys::lock_file::LockFile;
use crate::sys::{fork, futex};
use crate::{Error, Result};

/// The longest sleep before the peer is looked after. In unit tests it is so long that nobody takes it for a wake.
pub(super) const NAP: Duration =
    if cfg!(test) { Duration::from_secs(60) } else { Duration::from_millis(100) };

/// What the word of an end says whose holder is, or was, there. Before the first claim it is 0.
const CLAIMED: u64 = 1;
/// What it says when the holder is about to let go of its claim, or has.
const LEFT: u64 = 2;

const OUT_OF_RANGE: Error =
    Error::RingCorrupt { reason: "the positions are further apart than the capacity" };

/// A claimed end of a ring.
#[derive(Debug)]
pub(super) struct End {
    memory: Arc<Memory>,
    side: Side,
    cursor: Cursor,
    patience: Patience,
    /// Dropped first of all when the end is.
    claim: Option<LockFile>,
}

impl From<OutOfRange> for Error {
    fn from(_: OutOfRange) -> Error {
        OUT_OF_RANGE
    }
}

impl End {
    pub(super) fn claim(ring: &Ring, side: Side) -> Result<End> {
        let memory = ring.memory().clone();
        // Before there is a lock: whoever is killed while it has one was there. Who has the lock may be leaving, and that stays.
        let _ = memory.claimed(side)?.compare_exchange(0, CLAIMED, Ordering::SeqCst, Ordering::SeqCst);
        let section = fork::section();
        let claim = LockFile::open(ring.as_fd(), true, &section).map_err(Error::system("reopen ring"))?;
        let (start, end) = (side.lock(), side.lock() + 1);
        let lock = |file: BorrowedFd<'_>| lock::try_set(file, Kind::Write, start, end);
        if !claim.with(&section, lock).map_err(Error::system("lock ring"))? {
            return Err(Error::RingEndTaken { end: side.name() });
        }
        drop(section);
        let pair = memory.pair(side)?;
        let position = |words: super::positions::Words<'_>| words.position.load(Ordering::SeqCst);
        let cursor = Cursor::new(side, memory.capacity(), position(pair.mine), position(pair.theirs))?;
        memory.claimed(side)?.store(CLAIMED, Ordering::SeqCst);
        Ok(End { memory, side, cursor, patience: Patience::new(), claim: Some(claim) })
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Bytes that this end can write or read now. Looks at the peer's position only when it knows of less than `enough`.
    #[inline]
    pub(super) fn available(&mut self, enough: u64) -> Result<u64> {
        let known = self.cursor.available();
        if known >= enough {
            return Ok(known);
        }
        let theirs = self.memory.pair(self.side)?.theirs.position.load(Ordering::SeqCst);
        self.cursor.see(theirs)?;
        Ok(self.cursor.available())
    }

    /// `len` bytes from `offset` behind this end's position; all within the capacity.
    #[inline]
    pub(super) fn window(&self, offset: u64, len: u64) -> Window<'_> {
        let (place, before_wrap) = self.cursor.place(offset);
        Window::new(self.memory.mapping(), self.memory.data(), place, before_wrap, len)
    }

    /// Leaves `len` bytes to the peer, and wakes it if it waits for them.
    #[inline]
    pub(super) fn commit(&mut self, len: u64) -> Result<()> {
        let pair = self.memory.pair(self.side)?;
        if pair.commit(self.cursor.advance(len)) {
            futex::wake_one(pair.theirs.bell);
        }
        Ok(())
    }

    /// Waits until `len` bytes are available, at most the capacity. False when that took longer than `timeout`.
    #[inline]
    pub(super) fn wait(
        &mut self,
        len: u64,
        timeout: Option<Duration>,
        operation: &'static str,
    ) -> Result<bool> {
        if self.available(len)? >= len {
            return Ok(true);
        }
        self.wait_longer(len, timeout, operation)
    }

    #[cold]
    fn wait_longer(&mut self, len: u64, timeout: Option<Duration>, operation: &'static str) -> Result<bool> {
        if timeout == Some(Duration::ZERO) {
            return Ok(false);
        }
        for _ in 0..self.patience.looks() {
            std::hint::spin_loop();
            if self.available(len)? >= len {
                self.patience.paid();
                return Ok(true);
            }
        }
        self.patience.did_not_pay();
        // A moment that no clock reaches is none.
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let nap = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()).min(NAP));
            if nap.is_zero() {
                return Ok(false);
            }
            self.nap(len, nap)?;
            if self.available(len)? >= len {
                return Ok(true);
            }
            if self.peer_is_gone()? {
                // It may have committed something since, before it went.
                return if self.available(len)? >= len {
                    Ok(true)
                } else {
                    Err(Error::RingPeerGone { operation })
                };
            }
        }
    }

    /// Sleeps until the peer has committed enough, or wakes this end for another reason, at most that long.
    fn nap(&mut self, len: u64, most: Duration) -> Result<()> {
        let (memory, claim, peer) = (&self.memory, self.claim.as_ref(), self.side.peer());
        let claimed = memory.claimed(peer)?;
        let pair = memory.pair(self.side)?;
        let sleep = |bell: &AtomicU32| {
            // A peer that left before the bell was up did not ring it. One that has not let go of its claim yet will.
            if claimed.load(Ordering::SeqCst) == LEFT && is_gone(memory, claim, peer).unwrap_or(true) {
                return false;
            }
            futex::wait(bell, ASLEEP, most)
        };
        Ok(pair.nap(&mut self.cursor, len, sleep)?)
    }

    fn peer_is_gone(&self) -> Result<bool> {
        is_gone(&self.memory, self.claim.as_ref(), self.side.peer())
    }
}

/// Whether the end `peer` was claimed once, and is not any more, as seen by who has the other claim.
fn is_gone(memory: &Memory, claim: Option<&LockFile>, peer: Side) -> Result<bool> {
    let Some(claim) = claim else { return Ok(true) };
    if memory.claimed(peer)?.load(Ordering::SeqCst) == 0 {
        return Ok(false);
    }
    let section = fork::section();
    let held = claim.with(&section, |file| lock::is_held(file, Kind::Write, peer.lock(), peer.lock() + 1));
    Ok(!held.map_err(Error::system("look for the ring's other end"))?)
}

impl Drop for End {
    fn drop(&mut self) {
        // While the claim is there: behind it, the word is the next holder's.
        if let Ok(claimed) = self.memory.claimed(self.side) {
            claimed.store(LEFT, Ordering::SeqCst);
        }
        // Then the claim, so that a peer that is woken finds it gone.
        self.claim = None;
        if let Ok(pair) = self.memory.pair(self.side) {
            if pair.wake() {
                futex::wake_one(pair.theirs.bell);
            }
        }
    }
}
