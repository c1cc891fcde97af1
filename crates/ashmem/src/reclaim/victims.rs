//! Whose turn it is: the runs of unpinned pages of all watched regions, oldest unpin first.

use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::Result;
use crate::held::Held;
use crate::page::page_size;
use crate::presence::{self, Presence};
use crate::region::Inner;
use crate::state::{PAGES_PER_WORD, Span, States};
use crate::sync::Ordering;

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
    for (region, inner) in regions.iter().enumerate().filter(|(_, inner)| !is_held(inner)) {
        unpinned_runs(inner, |pages, stamp| {
            scan.pages += pages.end - pages.start;
            oldest.push(Victim { stamp, region, first: pages.start, end: pages.end });
            if oldest.len() > MOST {
                oldest.pop();
                scan.truncated = true;
            }
            ControlFlow::Continue(())
        });
    }
    scan.oldest = oldest.into_sorted_vec();
    scan
}

/// Whether somebody holds all of a region just now.
fn is_held(inner: &Inner) -> bool {
    inner.known_control().is_some_and(|control| Held::of(inner.fd(), control).all())
}

/// Whether a region has an unpinned page, be it held or not: nobody says when a lease ends.
pub(crate) fn any_unpinned(inner: &Inner) -> bool {
    let mut any = false;
    unpinned_runs(inner, |_, _| {
        any = true;
        ControlFlow::Break(())
    });
    any
}

/// Bytes of a region's unpinned pages that are in memory or swap.
pub(crate) fn resident(inner: &Inner) -> Result<u64> {
    let Some(control) = inner.known_control().filter(|_| !is_held(inner)) else { return Ok(0) };
    let mut runs: Vec<Range<u64>> = Vec::new();
    unpinned_runs(inner, |pages, _| {
        match runs.last_mut() {
            Some(run) if run.end == pages.start => run.end = pages.end,
            _ => runs.push(pages),
        }
        ControlFlow::Continue(())
    });
    let unpinned: u64 = runs.iter().map(|run| run.end - run.start).sum();
    let (all, present) = (control.layout().pages() * page_size(), inner.resident()?);
    if unpinned * page_size() == all || present == 0 {
        Ok(present)
    } else if present == all {
        Ok(unpinned * page_size())
    } else {
        presence::resident(inner, &runs)
    }
}

/// Calls `each` with the runs of unpinned pages that have one stamp, in order, until it breaks off.
fn unpinned_runs(inner: &Inner, mut each: impl FnMut(Range<u64>, u64) -> ControlFlow<()>) {
    let Some(control) = inner.known_control().filter(|_| !inner.is_unpurgeable()) else { return };
    let table = control.table();
    let area = table.area.load();
    let area_stamp = table.area.stamp.load(Ordering::Relaxed);
    if !area.is_dirty() {
        if area.base() == States::UNPINNED {
            let _ = each(0..table.pages, area_stamp);
        }
        return;
    }
    let present = Presence::of(inner, control);
    let mut run: Option<(Range<u64>, u64)> = None;
    let mut add = |pages: Range<u64>, stamp| match &mut run {
        Some((before, of)) if before.end == pages.start && *of == stamp => {
            before.end = pages.end;
            ControlFlow::Continue(())
        }
        _ => match run.replace((pages, stamp)) {
            Some((pages, stamp)) => each(pages, stamp),
            None => ControlFlow::Continue(()),
        },
    };
    for span in table.spans(0..table.pages, &|word| present.absent_words(word)) {
        let (index, unpinned) = match span {
            Span::Untouched(pages) => {
                if area.base() == States::UNPINNED && add(pages, area_stamp).is_break() {
                    return;
                }
                continue;
            }
            Span::Word(index, select) => match table.read_word(index) {
                Ok((_, _, states)) => (index, states.unpinned().and(select)),
                Err(_) => return,
            },
        };
        let base = index as u64 * PAGES_PER_WORD;
        let has_page_stamps = !unpinned.is_empty() && present.has_page_stamps(index);
        for page in unpinned.iter() {
            let stamp = table.stamp_of(index, page, has_page_stamps);
            let page = base + u64::from(page);
            if add(page..page + 1, stamp).is_break() {
                return;
            }
        }
    }
    if let Some((pages, stamp)) = run {
        let _ = each(pages, stamp);
    }
}
