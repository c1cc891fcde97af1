//! Sessions: what accesses do while the setting stays as it is, and the holds that keep purges away from them.
//!
//! While purging is allowed an access holds the region, looks at its page states, and leaves them alone: what is purged stays so
//! for everybody. Only who makes the file whole again, a writer or who switches purging off, changes them, one at a time:
//!
//! ```text
//!   hold, look: purged --> claim, look again: purged --> zeros --> write --> accept
//! ```
//!
//! Whoever writes holds the region, so that nothing more is purged, and has either seen that nothing is purged, or has the
//! claim. So no zeros come over what somebody has written, and a writer that is killed leaves the file as purged as it was.
//!
//! While purging is not allowed the pages are pinned and accesses hold nothing. Those that are still under way when it is allowed get a hold
//! all together, before anything is unpinned: it ends with the last reference to their session.

use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::control::Control;
use crate::page::page_align;
use crate::purger::PinWait;
use crate::region::{BUILDING, Hold, OwnedHold};
use crate::sys::{fork, memfd};
use crate::{Mapping, PageRange, Region, Result, state};

/// How long somebody else may make the file whole, or change the setting.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What the accesses of one process that begin under one setting have in common.
pub(super) struct Session {
    region: Region,
    mapping: Arc<Mapping>,
    is_allowed: bool,
    generation: u32,
    /// For accesses that hold nothing and go on after purging was allowed.
    late: OnceLock<OwnedHold>,
}

impl Session {
    pub(super) fn new(region: Region, mapping: Arc<Mapping>, is_allowed: bool) -> Session {
        Session { region, mapping, is_allowed, generation: fork::generation(), late: OnceLock::new() }
    }

    /// A new one for the same file, in this process.
    pub(super) fn next(&self, is_allowed: bool) -> Session {
        Session::new(self.region.clone(), self.mapping.clone(), is_allowed)
    }

    /// A parent's has accesses that never end here.
    #[inline]
    pub(super) fn is_of_this_process(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Holds the region until the last access of the session ends. Gives the hold back if there is one already.
    pub(super) fn hold_late(&self, hold: OwnedHold) -> Option<OwnedHold> {
        self.late.set(hold).err()
    }

    /// Begins an access: nothing is purged until it ends.
    #[inline]
    pub(super) fn begin(&self) -> Result<Access<'_>> {
        let held = if self.is_allowed { Some(HeldFile::take(&self.region, "pin")?) } else { None };
        Ok(Access { mapping: &self.mapping, held })
    }
}

/// An access under way.
pub(super) struct Access<'a> {
    pub(super) mapping: &'a Mapping,
    /// None while purging is not allowed.
    held: Option<HeldFile<'a>>,
}

impl Access<'_> {
    /// Whether there is nothing to read.
    #[inline]
    pub(super) fn is_purged(&mut self) -> Result<bool> {
        let Some(held) = &mut self.held else { return Ok(false) };
        let purged = held.is_purged()?;
        if purged {
            held.hold.for_nothing();
        }
        Ok(purged)
    }

    /// Writes, after everything has become zeros if the file is purged.
    #[inline]
    pub(super) fn write(&self, write: impl FnOnce(&Mapping) -> Result<()>) -> Result<()> {
        match &self.held {
            Some(held) if held.is_purged()? => {
                let claim = held.region.inner.claim(BUILDING, PATIENCE)?;
                if held.is_purged()? {
                    return held.make_whole(|| write(self.mapping));
                }
                drop(claim);
                write(self.mapping)
            }
            _ => write(self.mapping),
        }
    }
}

/// A whole region, held.
pub(super) struct HeldFile<'a> {
    region: &'a Region,
    control: &'a Control,
    hold: Hold<'a>,
}

impl<'a> HeldFile<'a> {
    #[inline]
    pub(super) fn take(region: &'a Region, operation: &'static str) -> Result<HeldFile<'a>> {
        let inner = &region.inner;
        let control = inner.need_control(operation)?;
        let hold = inner.hold(Some(control), PageRange::all(region.size()))?.for_use();
        Ok(HeldFile { region, control, hold })
    }

    /// Whether a page is purged. If none is, none will be.
    #[inline]
    pub(super) fn is_purged(&self) -> Result<bool> {
        let mut wait = PinWait::new(&self.region.inner, self.control);
        self.control.table().is_any_purged(self.hold.pages(), &mut |futex, purged| wait.wait(futex, purged))
    }

    /// Makes everything zeros, writes, and takes note that nothing is purged any more. The caller has the claim. After an
    /// error, and if the process dies, it is purged as before.
    #[cold]
    pub(super) fn make_whole(&self, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let (inner, table) = (&self.region.inner, self.control.table());
        let mut wait = PinWait::new(inner, self.control);
        let mut wait = |futex, purged| wait.wait(futex, purged);
        // The end of all purges that began before the file was held: they would take away what is written now.
        table.purged_runs(self.hold.pages(), &mut wait)?;
        // Fails only where a purge would fail, too: then what is left stays.
        let _ = memfd::punch(inner.fd(), 0, page_align(self.region.size()));
        write()?;
        table.accept(self.hold.pages(), state::now(), &mut wait).map(drop).inspect_err(|_| {
            // Corrupt words are for the next access to tell.
            let _ = table.lose(self.hold.pages());
        })
    }

    pub(super) fn into_owned(self) -> OwnedHold {
        let held = ManuallyDrop::new(self);
        held.hold.to_owned()
    }
}

impl Drop for HeldFile<'_> {
    #[inline]
    fn drop(&mut self) {
        self.hold.end();
    }
}
