//! Where an area's pins are kept, and how its pages are taken away.
//!
//! The driver's ranges say what a client is told. Underneath are the page states of a region whose state is in a file of its own, from the
//! first unpin on: the reclaimer works on those, and so do holders of the memory that know nothing of the device. What they
//! change is brought to the ranges before these are asked.

use std::ops::{ControlFlow, Range};

use ashmem::{Contents, PageState, Reclaimer, Region};
use rustix::io::Errno;

use crate::files::Files;
use crate::model::{AreaId, Device};
use crate::sys::Writable;

/// The pins of one area.
#[derive(Default)]
pub(crate) struct Pins {
    region: Option<Region>,
    /// Nobody can write any more who cannot already, and the kernel takes no memory away. What can be done is to overwrite: with this, if anybody ever
    /// could write.
    closed: Option<Option<Writable>>,
    /// A holder that knows nothing of the device has the page states.
    is_shared: bool,
    /// Who reclaims has been told.
    is_listed: bool,
}

impl Pins {
    /// Pins pages, and says whether one of them was purged underneath.
    ///
    /// # Errors
    /// EIO when their state cannot be known.
    pub(crate) fn pin(&mut self, pages: Range<u64>) -> Result<bool, Errno> {
        let Some((region, range)) = self.bytes(&pages) else { return Ok(false) };
        match region.pin(range) {
            Ok(contents) => Ok(contents == Contents::Purged),
            Err(error) => {
                log::error!("pages cannot be pinned: {error}");
                Err(Errno::IO)
            }
        }
    }

    /// Unpins pages. Where there are no page states, nothing but the device itself takes them away.
    pub(crate) fn unpin(&mut self, files: &Files, pages: Range<u64>, reclaimer: &Reclaimer) {
        if self.closed.is_some() {
            return;
        }
        if self.region.is_none() {
            self.region = with_states(files, reclaimer);
        }
        let Some((region, range)) = self.bytes(&pages) else { return };
        if let Err(error) = region.unpin(range) {
            log::warn!("pages stay pinned: {error}");
        }
    }

    /// Takes pages away that the device has chosen.
    pub(crate) fn purge(&mut self, files: &Files, pages: Range<u64>) {
        let page = ashmem::page_size();
        if let Some(writable) = &self.closed {
            // A holder of the page states would not learn of it.
            if let (Some(writable), false) = (writable, self.is_shared) {
                overwrite(files, writable, &pages);
            }
            return;
        }
        match self.bytes(&pages) {
            Some((region, range)) => {
                if let Err(error) = region.purge_range(range) {
                    log::warn!("pages cannot be taken away: {error}");
                }
            }
            None => {
                let end = pages.end.saturating_mul(page).min(i64::MAX as u64);
                let _ = files.punch(pages.start.saturating_mul(page)..end);
            }
        }
    }

    /// Brings what others have done to pages to the device's ranges.
    pub(crate) fn observe(&mut self, device: &mut Device, id: AreaId, pages: Range<u64>) {
        let Some(region) = self.region() else { return };
        let page = ashmem::page_size();
        let all = region.size().div_ceil(page);
        // Ranges answer as a whole: those that are touched are looked at whole.
        let mut span = pages.start..pages.end.min(all);
        let ends = [span.start, span.end.saturating_sub(1)].map(|place| {
            let at = device.unpinned_in(id, place..place.saturating_add(1)).next();
            at.map_or(place..place, |(range, _)| range)
        });
        span = span.start.min(ends[0].start)..span.end.max(ends[1].end.min(all));
        let Some((region, bytes)) = self.bytes(&span) else { return };
        let mut seen: Vec<(Range<u64>, PageState)> = Vec::new();
        let looked = region.each_run_in(bytes, |run| {
            seen.push((run.range.start / page..run.range.end.div_ceil(page), run.state));
            ControlFlow::Continue(())
        });
        if looked.is_err() {
            return;
        }
        for (run, state) in seen {
            if state == PageState::Pinned {
                // Only what there is: a request for pinned pages is more than nothing to the driver.
                let ranges: Vec<_> = device.unpinned_in(id, run.clone()).map(|(range, _)| range).collect();
                for range in ranges {
                    device.note_pinned(id, run.start.max(range.start)..run.end.min(range.end));
                }
                continue;
            }
            device.note_unpinned(id, run.clone());
            if state == PageState::Purged {
                device.note_purged(id, run);
            }
        }
    }

    /// Nothing of it is unpinned any more.
    pub(crate) fn pin_all(&mut self) {
        if let Some(region) = &self.region {
            let _ = region.pin(..);
        }
    }

    /// WRITE is taken away. From then on the kernel gives nobody write access any more; whoever has it keeps it.
    pub(crate) fn close_to_writers(&mut self, files: &Files, is_mapped: bool) {
        if self.closed.is_some() {
            return;
        }
        // Before the first mapping nobody has written anything, and nobody will. What is too large to be mapped here, with all
        // others, keeps its contents when it is purged.
        let writable = if is_mapped { Writable::new(files.contents(), files.length()).ok() } else { None };
        if files.seal_against_writing().is_ok() {
            self.pin_all();
            self.closed = Some(writable);
        }
    }

    /// The file with the page states, for a holder that knows nothing of the device.
    pub(crate) fn state(&mut self, files: &Files, reclaimer: &Reclaimer) -> Option<std::os::fd::OwnedFd> {
        if self.region.is_none() && self.closed.is_none() {
            self.region = with_states(files, reclaimer);
        }
        let state = self.region.as_ref()?.state_fd()?.try_clone_to_owned().ok()?;
        self.is_shared = true;
        Some(state)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// What can be reclaimed from, if there is anything.
    pub(crate) fn region(&self) -> Option<&Region> {
        self.region.as_ref().filter(|_| self.closed.is_none())
    }

    /// Whether who reclaims is to be told that there is something now.
    pub(crate) fn list(&mut self) -> bool {
        self.region().is_some() && !std::mem::replace(&mut self.is_listed, true)
    }

    /// There is nothing any more.
    pub(crate) fn unlist(&mut self) {
        self.is_listed = false;
    }

    /// The region, and a range of pages in bytes.
    fn bytes(&self, pages: &Range<u64>) -> Option<(&Region, Range<u64>)> {
        if self.closed.is_some() {
            return None;
        }
        let region = self.region.as_ref()?;
        let page = ashmem::page_size();
        let start = pages.start.checked_mul(page)?;
        let end = pages.end.saturating_mul(page).min(region.size());
        (start < end).then_some((region, start..end))
    }
}

/// Page states for an area's contents; none for what is too large to have any.
fn with_states(files: &Files, reclaimer: &Reclaimer) -> Option<Region> {
    let contents = files.contents().try_clone_to_owned().ok()?;
    Region::options().reclaimer(reclaimer).with_state_apart(contents).ok()
}

/// Writes zeros over what is in memory of some pages.
fn overwrite(files: &Files, writable: &Writable, pages: &Range<u64>) {
    let page = ashmem::page_size();
    let end = pages.end.saturating_mul(page);
    let mut from = pages.start.saturating_mul(page);
    while from < end {
        let Ok(start) = files.seek(from, true) else { return };
        let stop = files.seek(start, false).unwrap_or(end).next_multiple_of(page).min(end);
        if start >= stop {
            return;
        }
        writable.clear(start..stop);
        from = stop;
    }
}
