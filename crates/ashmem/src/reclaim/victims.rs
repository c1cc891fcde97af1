//! Whose turn it is: the runs of unpinned pages of all watched regions, oldest unpin first.

use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use super::Presence;
use crate::control::Control;
use crate::page::page_size;
use crate::region::Inner;
use crate::state::{PAGES_PER_WORD, States};
use crate::sync::Ordering;
use crate::{Result, purger};

/// Runs kept in one scan. More are found by scanning again, so that memory stays bounded when it is short.
const MOST: usize = 16 * 1024;

/// Consecutive pages of one region that were unpinned by one call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Victim {
    /// When, and so in which order.
    pub(crate) stamp: u64,
    /// Index into the scanned regions.
    pub(crate) region: usize,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

/// All that can be reclaimed.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The oldest runs, oldest first.
    pub(crate) oldest: Vec<Victim>,
    /// Unpinned pages in all, whether they are in memory or not.
    pub(crate) pages: u64,
    /// There are more runs than [`MOST`].
    pub(crate) truncated: bool,
}

/// Looks at every region. Regions whose control block is corrupt are left out.
pub(crate) fn scan(regions: &[Arc<Inner>]) -> Scan {
    let mut oldest = BinaryHeap::new();
    let mut scan = Scan::default();
    for (region, inner) in regions.iter().enumerate() {
        if inner.is_unpurgeable() {
            continue;
        }
        let Some(control) = inner.known_control() else { continue };
        let each = |pages: Range<u64>, stamp| {
            scan.pages += pages.end - pages.start;
            oldest.push(Victim { stamp, region, first: pages.start, end: pages.end });
            if oldest.len() > MOST {
                oldest.pop();
                scan.truncated = true;
            }
        };
        unpinned_runs(control, each);
    }
    scan.oldest = oldest.into_sorted_vec();
    scan
}

/// Whether a region has an unpinned page.
pub(crate) fn any_unpinned(inner: &Inner) -> bool {
    let mut any = false;
    if let Some(control) = inner.known_control().filter(|_| !inner.is_unpurgeable()) {
        unpinned_runs(control, |_, _| any = true);
    }
    any
}

/// Bytes of a region's unpinned pages that are in memory or swap.
pub(crate) fn resident(inner: &Inner) -> Result<u64> {
    let Some(control) = inner.known_control() else { return Ok(0) };
    let mut runs: Vec<Range<u64>> = Vec::new();
    unpinned_runs(control, |pages, _| match runs.last_mut() {
        Some(run) if run.end == pages.start => run.end = pages.end,
        _ => runs.push(pages),
    });
    let unpinned: u64 = runs.iter().map(|run| run.end - run.start).sum();
    let (all, present) = (control.layout().pages() * page_size(), inner.resident()?);
    if unpinned * page_size() == all || present == 0 {
        Ok(present)
    } else if present == all {
        Ok(unpinned * page_size())
    } else {
        purger::present(inner, &runs)
    }
}

/// Calls `each` with every run of unpinned pages that have one stamp.
fn unpinned_runs(control: &Control, mut each: impl FnMut(Range<u64>, u64)) {
    let table = control.table();
    let area = table.area.load();
    if !area.is_dirty() {
        if area.base() == States::UNPINNED {
            each(0..table.pages, table.area.stamp.load(Ordering::Relaxed));
        }
        return;
    }
    let present = Presence::of(control);
    let mut run: Option<(Range<u64>, u64)> = None;
    for (index, select) in table.select(0..table.pages) {
        let here = present.word(index);
        let unpinned = if here {
            match table.read_word(index) {
                Ok((_, _, states)) => states.unpinned().and(select),
                Err(_) => return,
            }
        } else {
            area.base().unpinned().and(select)
        };
        let base = index as u64 * PAGES_PER_WORD;
        for page in unpinned.iter() {
            let stamp = match here {
                true => table.stamp_of(index, page, present.page_stamps(index)),
                false => table.area.stamp.load(Ordering::Relaxed),
            };
            let page = base + u64::from(page);
            match &mut run {
                Some((pages, of)) if pages.end == page && *of == stamp => pages.end += 1,
                _ => {
                    if let Some((pages, stamp)) = run.replace((page..page + 1, stamp)) {
                        each(pages, stamp);
                    }
                }
            }
        }
    }
    if let Some((pages, stamp)) = run {
        each(pages, stamp);
    }
}
