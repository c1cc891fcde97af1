//! Which parts of a region's file were ever written: of its control block, and of its data.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::control::Control;
use crate::page::page_size;
use crate::region::Inner;
use crate::state::{PAGES_PER_WORD, slot, word_at};
use crate::sys::{fork, memfd};
use crate::{Error, Result};

/// The parts of a control block that took up memory or swap a moment ago. The rest is zeros, and reading it would allocate
/// it: for a large region that is hardly used, that takes longer and more memory than it is worth, just when memory is short.
pub(crate) struct Presence {
    /// In bytes from the start of the block, in order; `None` when nobody can tell.
    extents: Option<Vec<Range<u64>>>,
    slots: usize,
}

impl Presence {
    /// Looks; without `/proc`, and for a block of one page, everything counts as written.
    pub(crate) fn of(region: &Inner, control: &Control) -> Presence {
        if control.layout().control_len() <= page_size() {
            return Presence::assumed(control);
        }
        let _section = fork::section();
        Presence::within_section(region, control)
    }

    /// Everything counts as written, for who looks at so little that it is cheaper to read than to ask about.
    pub(crate) fn assumed(control: &Control) -> Presence {
        Presence { extents: None, slots: control.table().slots.len() }
    }

    /// As `of`, for who has a section open.
    pub(crate) fn within_section(region: &Inner, control: &Control) -> Presence {
        Presence {
            extents: block_extents(region, control.layout().control_len()),
            slots: control.table().slots.len(),
        }
    }

    /// The end of the stretch of unwritten bytes at `byte`, or `None` when it was written.
    fn absent_until(&self, byte: u64) -> Option<u64> {
        let extents = self.extents.as_ref()?;
        let next = extents.partition_point(|extent| extent.end <= byte);
        match extents.get(next) {
            Some(extent) if extent.start <= byte => None,
            Some(extent) => Some(extent.start),
            None => Some(u64::MAX),
        }
    }

    /// Whether the byte at this place of the block may have been written.
    pub(crate) fn is_written(&self, byte: u64) -> bool {
        self.absent_until(byte).is_none()
    }

    /// For a word that was never written, the index of the first one behind it that may have been.
    pub(crate) fn absent_words(&self, index: usize) -> Option<usize> {
        let end = self.absent_until(Control::place(slot(index)) as u64)?;
        let slots = (end - Control::place(0) as u64) / size_of::<u64>() as u64;
        Some(usize::try_from(word_at(slots)).unwrap_or(usize::MAX).max(index + 1))
    }

    /// Whether the page stamps of a word may have been written.
    pub(crate) fn has_page_stamps(&self, index: usize) -> bool {
        let first = self.slots + index * PAGES_PER_WORD as usize;
        let last = first + PAGES_PER_WORD as usize - 1;
        [first, last].iter().any(|stamp| self.absent_until(Control::place(*stamp) as u64).is_none())
    }

    /// Bytes of the block in memory or swap; `None` when nobody can tell.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.extents.as_ref().map(|extents| extents.iter().map(|extent| extent.end - extent.start).sum())
    }
}

fn block_extents(region: &Inner, length: u64) -> Option<Vec<Range<u64>>> {
    let start = region.layout().control_start();
    let mut found = extents_of(region.state_fd(), start..start + length).ok()?;
    for extent in &mut found {
        *extent = extent.start - start..extent.end - start;
    }
    Some(found)
}

/// The stretches of a region's data, in bytes, that are in memory or swap; for who has a section open, or locks nothing.
pub(crate) fn extents(region: &Inner, bytes: Range<u64>) -> Result<Vec<Range<u64>>, Errno> {
    extents_of(region.fd(), bytes)
}

fn extents_of(fd: BorrowedFd<'_>, bytes: Range<u64>) -> Result<Vec<Range<u64>>, Errno> {
    // Seeking moves the position, which a shared description would show to others.
    let own = memfd::reopen(fd, false)?;
    let mut found = Vec::new();
    memfd::each_extent(own.as_fd(), bytes.start, bytes.end, |extent| found.push(extent))?;
    Ok(found)
}

/// Bytes of a region's `runs` (in pages, in order) that are in memory or swap.
pub(crate) fn resident(region: &Inner, runs: &[Range<u64>]) -> Result<u64> {
    let mut sum = 0;
    each_resident(region, runs, |_, bytes| sum += bytes)?;
    Ok(sum)
}

/// Calls `found` with the index of a run (in pages, in order) and how many of its bytes are in memory or swap, for every piece of it.
pub(crate) fn each_resident(
    region: &Inner,
    runs: &[Range<u64>],
    mut found: impl FnMut(usize, u64),
) -> Result<()> {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
    let _section = fork::section();
    // Seeking moves the position, which a shared description would show to others.
    let own = memfd::reopen(region.fd(), false).map_err(Error::system("reopen region to look at it"))?;
    let page = page_size();
    let mut next = 0;
    memfd::each_extent(own.as_fd(), first.start * page, last.end * page, |extent| {
        while let Some(run) = runs.get(next) {
            let (start, end) = (run.start * page, run.end * page);
            let bytes = end.min(extent.end).saturating_sub(start.max(extent.start));
            if bytes > 0 {
                found(next, bytes);
            }
            if end > extent.end {
                break;
            }
            next += 1;
        }
    })
    .map_err(Error::system("look for resident pages"))
}
