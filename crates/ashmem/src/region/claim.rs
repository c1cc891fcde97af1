//! Claims: something that only one thread of one process may do at a time.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::Inner;
use super::holder::CLAIM_BYTES;
use crate::control::Layout;
use crate::sys::fork;
use crate::sys::lock::{self, Kind};
use crate::{Error, Result};

/// The number of the claim that whoever makes a region's contents anew has.
pub(crate) const BUILDING: u64 = 0;

/// As many claims as a region may have.
const CLAIMS: u64 = 1 << 40;

/// The shortest and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(2));

/// The bytes that stand for claims, in a file of this layout. They need not exist.
pub(crate) fn claims(layout: Layout) -> Range<u64> {
    let start = layout.control_start() + CLAIM_BYTES;
    start..start + CLAIMS
}

/// The right to do it. Ends with the process, too. In a forked child it means nothing.
pub(crate) struct Claim<'a> {
    inner: &'a Inner,
    byte: u64,
    generation: u32,
}

impl Inner {
    /// Claims number `number`, and waits while somebody else has it.
    ///
    /// # Errors
    /// [`Error::BuildReentered`] when this thread has it; [`Error::BuildStuck`] when it is not to be had for `patience`.
    pub(crate) fn claim(&self, number: u64, patience: Duration) -> Result<Claim<'_>> {
        let since = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            if let Some(claim) = self.try_claim(number)? {
                return Ok(claim);
            }
            if since.elapsed() >= patience {
                return Err(Error::BuildStuck { seconds: patience.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Claims number `number`, unless somebody else has it.
    pub(crate) fn try_claim(&self, number: u64) -> Result<Option<Claim<'_>>> {
        let byte = claims(self.layout()).start + number;
        let section = fork::section();
        let mut kept = self.holder.kept(&section);
        let me: ThreadId = std::thread::current().id();
        // The lock belongs to the process.
        match kept.claimed.iter().find(|(claimed, _)| *claimed == byte) {
            Some((_, thread)) if *thread == me => return Err(Error::BuildReentered),
            Some(_) => return Ok(None),
            None => {}
        }
        let lock = |file: BorrowedFd<'_>| lock::try_set(file, Kind::Write, byte, byte + 1);
        if !kept.with_file(self, &section, lock)? {
            return Ok(None);
        }
        kept.claimed.push((byte, me));
        Ok(Some(Claim { inner: self, byte, generation: fork::generation() }))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            return;
        }
        let section = fork::section();
        let mut kept = self.inner.holder.kept(&section);
        kept.claimed.retain(|(byte, _)| *byte != self.byte);
        let unlock = |file: BorrowedFd<'_>| lock::try_set(file, Kind::Unlock, self.byte, self.byte + 1);
        // Cannot fail for a byte that was locked.
        let _ = kept.with_file(self.inner, &section, unlock);
    }
}
