//! Building what was purged.

use std::ops::Range;

use crate::control::Control;
use crate::mapping::View;
use crate::page::page_size;
use crate::purger::{self, PinWait};
use crate::region::Inner;
use crate::state;
use crate::{Error, Mapping, Result};

/// Why contents are not there.
#[derive(Debug, thiserror::Error)]
pub enum BuildError<E> {
    /// The region did not allow it.
    #[error(transparent)]
    Region(#[from] Error),
    /// The builder failed.
    #[error("the builder failed: {0}")]
    Builder(#[source] E),
}

/// Builds the purged ones among `pages` in parts of `part` bytes, counted from the first page, and says how many bytes that were. They end
/// unpinned.
///
/// The caller holds the pages, so that none of them goes, and has the claim to build them, so that nobody else does. While a page is
/// built it stays PURGED: nobody takes it for built, nobody purges it, and if this process dies, it is as it was. What a builder
/// that fails has written is the caller's to take away.
pub(crate) fn build_purged<E>(
    inner: &Inner,
    control: &Control,
    mapping: &Mapping,
    pages: Range<u64>,
    part: u64,
    build: &mut dyn FnMut(&View<'_>) -> Result<(), BuildError<E>>,
) -> Result<u64, BuildError<E>> {
    let table = control.table();
    let mut wait = PinWait::new(inner, control);
    let mut wait = |futex, purged| wait.wait(futex, purged);
    let mut built = 0;
    let mut done = pages.start;
    for run in table.purged_runs(pages.clone(), &mut wait)? {
        for part in parts(&run, &pages, part.div_ceil(page_size())) {
            if part.end <= done {
                // Two runs in one part.
                continue;
            }
            done = part.end;
            let bytes = part.start * page_size()..(part.end * page_size()).min(mapping.len());
            let view = mapping.view(bytes.clone())?;
            table.lose(part.clone()).map_err(Error::from)?;
            build(&view)?;
            table.accept(part, state::now(), &mut wait)?;
            built += bytes.end - bytes.start;
        }
    }
    if pages.end - pages.start == table.pages {
        // There is nothing purged any more, and this says so to all who look.
        table.accept(pages, state::now(), &mut wait)?;
    }
    Ok(built)
}

/// The parts of `pages`, each of `length` pages, that `run` touches.
fn parts(run: &Range<u64>, pages: &Range<u64>, length: u64) -> impl Iterator<Item = Range<u64>> + use<> {
    let length = length.max(1);
    let (origin, end) = (pages.start, pages.end);
    let first = (run.start - origin) / length;
    let last = (run.end - origin).div_ceil(length);
    (first..last).map(move |part| origin + part * length..(origin + (part + 1) * length).min(end))
}

/// Takes away what a builder has written that did not come to an end, unless somebody holds it: pages of the part may have been
/// there before, and be leased. Those count as purged, too, but keep what is in them until nobody holds them.
///
/// Made before the builder's own hold and claim, and so dropped after those, when it panics.
pub(crate) struct Unbuilt<'a> {
    inner: &'a Inner,
    control: &'a Control,
}

impl<'a> Unbuilt<'a> {
    pub(crate) fn new(inner: &'a Inner, control: &'a Control) -> Unbuilt<'a> {
        Unbuilt { inner, control }
    }

    /// All was built.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unbuilt<'_> {
    fn drop(&mut self) {
        purger::sweep(self.inner, self.control);
    }
}
