//! Whose turn it is: the runs of unpinned pages of all watched regions, oldest unpin first.

use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::vec::IntoIter;

use crate::Result;
use crate::held::Held;
use crate::page::page_size;
use crate::presence::{self, Presence};
use crate::region::Inner;
use crate::state::{PAGES_PER_WORD, Span, States};
use crate::sync::Ordering;
use crate::sys::fork;

/// Runs kept in one scan. More are found by scanning again, so that memory stays bounded when it is short.
const MOST: usize = 16 * 1024;

/// Runs of one region from which on it is asked which of them are in memory: anybody can make any number of those that are not.
const FEW: usize = 4;

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
    /// Most runs that are not in memory were left out.
    pub(crate) is_of_present: bool,
}

/// Looks at every region. Regions whose control block is corrupt are left out.
pub(crate) fn scan(regions: &[Arc<Inner>]) -> Scan {
    look(regions, false)
}

/// As [`scan`], for who wants memory: runs that are not in memory are left out, but for a few of each region.
pub(crate) fn scan_present(regions: &[Arc<Inner>]) -> Scan {
    look(regions, true)
}

impl Scan {
    /// Looks again, at some of the regions.
    pub(crate) fn again(&self, regions: &[Arc<Inner>]) -> Scan {
        look(regions, self.is_of_present)
    }
}

fn look(regions: &[Arc<Inner>], is_of_present: bool) -> Scan {
    let mut oldest = BinaryHeap::new();
    let mut scan = Scan { is_of_present, ..Scan::default() };
    for (region, inner) in regions.iter().enumerate().filter(|(_, inner)| !is_held(inner)) {
        let mut runs = 0;
        let mut present: Option<Present> = None;
        unpinned_runs(inner, |pages, stamp| {
            scan.pages += pages.end - pages.start;
            runs += 1;
            if is_of_present && runs > FEW && !present.get_or_insert_with(|| Present::of(inner)).has(&pages) {
                return ControlFlow::Continue(());
            }
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

/// Which of a region's data was in memory or swap a moment ago.
struct Present {
    /// In bytes, in order; `None` when nobody can tell. Those before the last question are gone.
    extents: Option<Peekable<IntoIter<Range<u64>>>>,
}

impl Present {
    fn of(inner: &Inner) -> Present {
        let _section = fork::section();
        let extents = presence::extents(inner, 0..inner.layout().control_start());
        Present { extents: extents.ok().map(|extents| extents.into_iter().peekable()) }
    }

    /// Whether any of these pages was; to be asked in order.
    fn has(&mut self, pages: &Range<u64>) -> bool {
        let Some(extents) = &mut self.extents else { return true };
        let (start, end) = (pages.start * page_size(), pages.end * page_size());
        while extents.next_if(|extent| extent.end <= start).is_some() {}
        extents.peek().is_some_and(|extent| extent.start < end)
    }
}

/// Whether somebody holds all of a region just now.
fn is_held(inner: &Inner) -> bool {
    inner.known_control().is_some_and(|control| Held::of(inner.state_fd(), control).all())
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
