//! A look at every page of a region, which changes nothing.

use std::cell::LazyCell;
use std::ops::{ControlFlow, Range, RangeBounds};
use std::time::Duration;

use super::Region;
use crate::control::Control;
use crate::held::{Held, Locked};
use crate::page::{page_align, page_size};
use crate::presence::{self, Presence};
use crate::state::{self, CHUNK_PAGES, PAGES_PER_WORD, Select, Span, States};
use crate::sync::Ordering;
use crate::{Error, PageRange, Result, reclaim};

/// Questions to the kernel about locks. Where more are locked apart, the rest counts as held: the holder may be hostile.
const QUESTIONS: u64 = 1024;

/// The state of so many pages is cheaper to read than to ask about.
const FEW_PAGES: u64 = 4 * CHUNK_PAGES;

/// What may become of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageState {
    /// Nobody may take it away.
    Pinned,
    /// It is unpinned, and kept by somebody's lease or guard for as long as that lasts.
    Held,
    /// It may be taken away.
    Unpinned,
    /// It was taken away, and has not been pinned since.
    Purged,
}

/// Consecutive pages in one state, of which those that may be taken away were unpinned at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRun {
    /// Where they are, in bytes. The last one ends with the region.
    pub range: Range<u64>,
    /// Their state.
    pub state: PageState,
    /// How long ago they were unpinned, for those that are unpinned. As exact as the kernel's coarse clock.
    pub unpinned_for: Option<Duration>,
}

impl Region {
    /// Calls `each` with what the pages of the region are, in order, until it breaks off.
    ///
    /// Changes nothing: not the pin state, not the file, and no page of it comes into being by being looked at. It needs no
    /// permission to write. Holders go on meanwhile, so the whole is not what was at any one moment.
    ///
    /// # Errors
    /// [`Error::ControlBlockCorrupt`], [`Error::System`].
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use ashmem::{PageState, Region, page_size};
    ///
    /// let region = Region::create("tiles", 3 * page_size())?;
    /// region.unpin(page_size()..)?;
    /// let mut states = Vec::new();
    /// region.each_run(|run| {
    ///     states.push((run.range, run.state));
    ///     ControlFlow::Continue(())
    /// })?;
    /// let page = page_size();
    /// assert_eq!(states, [(0..page, PageState::Pinned), (page..3 * page, PageState::Unpinned)]);
    /// # Ok::<(), ashmem::Error>(())
    /// ```
    pub fn each_run(&self, each: impl FnMut(PageRun) -> ControlFlow<()>) -> Result<()> {
        let present = |control: &Control| Presence::of(&self.inner, control);
        self.each_run_among(0..self.size().div_ceil(page_size()), present, each)
    }

    /// [`each_run`](Self::each_run), of the pages of a range that is as for [`pin`](Self::pin). For a few thousand pages it asks the kernel
    /// nothing unless some are unpinned, and takes the memory of those parts of the pin state that it looks at.
    ///
    /// # Errors
    /// As [`pin`](Self::pin) for the range, and as [`each_run`](Self::each_run).
    #[doc(hidden)]
    pub fn each_run_in(
        &self,
        range: impl RangeBounds<u64>,
        each: impl FnMut(PageRun) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = PageRange::new(range, self.size())?;
        let is_small = range.len() <= FEW_PAGES;
        let present = |control: &Control| {
            if is_small { Presence::assumed(control) } else { Presence::of(&self.inner, control) }
        };
        self.each_run_among(range.first()..range.end(), present, each)
    }

    fn each_run_among(
        &self,
        pages: Range<u64>,
        present: impl FnOnce(&Control) -> Presence,
        each: impl FnMut(PageRun) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut runs = Runs { size: self.size(), now: state::now(), last: None, each };
        let walked = match self.inner.control()? {
            Some(control) => self.walk(control, pages, &present(control), &mut runs)?,
            None => runs.add(pages, PageState::Pinned, 0),
        };
        if walked.is_continue() {
            // Nobody is left to be told to stop.
            let _ = runs.end();
        }
        Ok(())
    }

    /// The stretches of the region's data, in bytes and in order, that take up memory or swap.
    ///
    /// # Errors
    /// [`Error::System`]: no `/proc`, no free descriptor, no permission.
    pub fn resident_ranges(&self) -> Result<Vec<Range<u64>>> {
        presence::extents(&self.inner, 0..page_align(self.size()))
            .map_err(Error::system("look for resident pages"))
    }

    /// Bytes that taking all unpinned pages away would free now: those in memory or swap, of a region that nobody holds as a whole.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn reclaimable(&self) -> Result<u64> {
        // Also where this process has not met the control block yet.
        self.inner.control()?;
        reclaim::reclaimable(&self.inner)
    }

    /// Gives up the memory that looking at the pin state takes in this process, for who has many regions and looks at them rarely.
    #[doc(hidden)]
    pub fn forget_pin_state(&self) {
        if let Some(control) = self.inner.known_control() {
            control.forget();
        }
    }

    fn walk<F>(
        &self,
        control: &Control,
        pages: Range<u64>,
        present: &Presence,
        runs: &mut Runs<F>,
    ) -> Result<ControlFlow<()>>
    where
        F: FnMut(PageRun) -> ControlFlow<()>,
    {
        let table = control.table();
        let area = table.area.load();
        let area_stamp = table.area.stamp.load(Ordering::Relaxed);
        // Not asked for where nothing is unpinned: the kernel may have many locks to look through.
        let holds = LazyCell::new(|| Holds::of(self, control, present));
        // Without `dirty` no page word counts.
        let absent = |word| if area.is_dirty() { present.absent_words(word) } else { Some(usize::MAX) };
        for span in table.spans(pages, &absent) {
            let walked = match span {
                Span::Untouched(pages) if area.base() != States::UNPINNED => {
                    runs.add(pages, PageState::Pinned, 0)
                }
                Span::Untouched(pages) if holds.is_none() => runs.add(pages, PageState::Unpinned, area_stamp),
                Span::Untouched(pages) => table.select(pages).try_for_each(|(index, select)| {
                    let held = holds.word(index).and(select);
                    if held.is_empty() || held == select {
                        let state = if held.is_empty() { PageState::Unpinned } else { PageState::Held };
                        return runs.add_word(index, select, state, area_stamp);
                    }
                    select
                        .iter()
                        .try_for_each(|page| runs.add_page(index, page, unpinned(held, page), area_stamp))
                }),
                Span::Word(index, select) => {
                    let (_, _, states) = table.read_word(index)?;
                    let (pinned, purged) = (states.pinned().and(select), states.purged().and(select));
                    if pinned == select {
                        runs.add_word(index, select, PageState::Pinned, 0)
                    } else if purged == select {
                        runs.add_word(index, select, PageState::Purged, 0)
                    } else {
                        let held = holds.word(index);
                        let has_page_stamps = present.has_page_stamps(index);
                        select.iter().try_for_each(|page| {
                            let (state, stamp) = if has(pinned, page) {
                                (PageState::Pinned, 0)
                            } else if has(purged, page) {
                                (PageState::Purged, 0)
                            } else {
                                (unpinned(held, page), table.stamp_of(index, page, has_page_stamps))
                            };
                            runs.add_page(index, page, state, stamp)
                        })
                    }
                }
            };
            if walked.is_break() {
                return Ok(walked);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn has(select: Select, page: u32) -> bool {
    select.with(page) == select
}

fn unpinned(held: Select, page: u32) -> PageState {
    if has(held, page) { PageState::Held } else { PageState::Unpinned }
}

/// Who holds pages, as it was when the first unpinned page was found.
struct Holds<'a> {
    control: &'a Control,
    present: &'a Presence,
    counted: Held<'a>,
    all: bool,
    locked: Locked,
}

impl<'a> Holds<'a> {
    fn of(region: &Region, control: &'a Control, present: &'a Presence) -> Holds<'a> {
        let file = region.inner.state_fd();
        let counted = Held::of(file, control);
        let pages = 0..control.layout().pages();
        let locked = Locked::with_questions(file, pages, QUESTIONS);
        Holds { control, present, all: counted.all(), counted, locked }
    }

    fn is_none(&self) -> bool {
        self.counted.is_none() && self.locked.is_none()
    }

    fn word(&self, index: usize) -> Select {
        if self.all {
            return Select::ALL;
        }
        let start = self.control.layout().control_start();
        let counted = self.counted.word_where(index, |slot| {
            let row = self.control.row_bytes(slot);
            self.present.is_written(row.start - start + index as u64 * PAGES_PER_WORD)
        });
        counted.or(self.locked.word(index))
    }
}

/// Puts runs together.
struct Runs<F> {
    size: u64,
    now: u64,
    last: Option<(Range<u64>, PageState, u64)>,
    each: F,
}

impl<F: FnMut(PageRun) -> ControlFlow<()>> Runs<F> {
    /// Adds consecutive pages of a word, of which there is at least one.
    fn add_word(&mut self, index: usize, select: Select, state: PageState, stamp: u64) -> ControlFlow<()> {
        let first = index as u64 * PAGES_PER_WORD + select.iter().next().map_or(0, u64::from);
        self.add(first..first + u64::from(select.len()), state, stamp)
    }

    fn add_page(&mut self, index: usize, page: u32, state: PageState, stamp: u64) -> ControlFlow<()> {
        let page = index as u64 * PAGES_PER_WORD + u64::from(page);
        self.add(page..page + 1, state, stamp)
    }

    fn add(&mut self, pages: Range<u64>, state: PageState, stamp: u64) -> ControlFlow<()> {
        match &mut self.last {
            Some((before, of, at)) if before.end == pages.start && *of == state && *at == stamp => {
                before.end = pages.end;
                ControlFlow::Continue(())
            }
            _ => {
                let ended = self.end();
                self.last = Some((pages, state, stamp));
                ended
            }
        }
    }

    fn end(&mut self) -> ControlFlow<()> {
        let Some((pages, state, stamp)) = self.last.take() else { return ControlFlow::Continue(()) };
        let is_unpinned = matches!(state, PageState::Held | PageState::Unpinned);
        // Stamps come from shared memory, and may be in the future.
        let unpinned_for = is_unpinned.then(|| Duration::from_nanos(self.now.saturating_sub(stamp)));
        let range = pages.start * page_size()..(pages.end * page_size()).min(self.size);
        (self.each)(PageRun { range, state, unpinned_for })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contents, PinStatus, Reclaimer};

    fn states(region: &Region) -> Vec<(Range<u64>, PageState)> {
        let mut states: Vec<(Range<u64>, PageState)> = Vec::new();
        let page = page_size();
        region
            .each_run(|run| {
                let pages = run.range.start / page..run.range.end.div_ceil(page);
                assert_eq!(run.unpinned_for.is_some(), states_have_ages(run.state));
                match states.last_mut() {
                    Some((before, state)) if *state == run.state => before.end = pages.end,
                    _ => states.push((pages, run.state)),
                }
                ControlFlow::Continue(())
            })
            .expect("looked at");
        states
    }

    fn states_have_ages(state: PageState) -> bool {
        matches!(state, PageState::Held | PageState::Unpinned)
    }

    fn region(pages: u64) -> Region {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let options = Region::options().reclaimer(&reclaimer);
        options.create("looked at", pages * page_size() - 7).expect("a region")
    }

    #[test]
    fn every_state_in_its_place() {
        use PageState::{Held, Pinned, Purged, Unpinned};
        let page = page_size();
        let region = region(100);
        assert_eq!(states(&region), [(0..100, Pinned)]);
        region.unpin(10 * page..50 * page).expect("unpinned");
        assert_eq!(region.purge().expect("purged"), 40 * page);
        region.unpin(..).expect("unpinned");
        let _lease = region.lease(60 * page..64 * page).expect("leased");
        let _guard = region.pin_guard(70 * page..71 * page).expect("held");
        assert_eq!(region.pin(90 * page..).expect("pinned"), Contents::Intact);
        let expected = [
            (0..10, Unpinned),
            (10..50, Purged),
            (50..60, Unpinned),
            (60..64, Held),
            (64..70, Unpinned),
            (70..71, Held),
            (71..90, Unpinned),
            (90..100, Pinned),
        ];
        assert_eq!(states(&region), expected);
        let other = Region::from_fd(region.share_read_only().expect("reopened")).expect("a region");
        assert_eq!(states(&other), expected);
        let mut end = 0;
        region
            .each_run(|run| {
                end = run.range.end;
                ControlFlow::Continue(())
            })
            .expect("looked at");
        assert_eq!(end, 100 * page - 7);
    }

    #[test]
    fn whole_regions_and_their_holds() {
        let region = region(40);
        region.unpin(..).expect("unpinned");
        assert_eq!(states(&region), [(0..40, PageState::Unpinned)]);
        let guard = region.pin_guard(..).expect("held");
        assert_eq!(states(&region), [(0..40, PageState::Held)]);
        drop(guard);
        assert_eq!(states(&region), [(0..40, PageState::Unpinned)]);
        assert_eq!(region.pin_status(..).expect("looked at"), PinStatus::Unpinned);
    }

    #[test]
    fn counts_as_statistics_do() {
        let pages = 300;
        let region = region(pages);
        let page = page_size();
        let mut seed = 7_u64;
        let mut below = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for step in 0..500 {
            let first = below(pages);
            let end = (first + 1 + below(40)).min(pages);
            let range = if below(10) == 0 { 0..region.size() } else { first * page..end * page };
            match below(8) {
                0..4 => region.unpin(range).expect("unpinned"),
                4..7 => drop(region.pin(range).expect("pinned")),
                _ => drop(region.purge().expect("purged")),
            }
            let _lease = (below(3) == 0).then(|| region.lease(first * page..end * page).expect("leased"));
            let mut counted = [0; 3];
            for (run, state) in states(&region) {
                let place = match state {
                    PageState::Pinned | PageState::Held => 0,
                    PageState::Unpinned => 1,
                    PageState::Purged => 2,
                };
                counted[place] += run.end - run.start;
            }
            let stats = region.stats().expect("counted");
            assert_eq!(counted, [stats.pinned_pages, stats.unpinned_pages, stats.purged_pages], "{step}");
        }
    }

    #[test]
    fn the_last_unpin_is_the_youngest() {
        let region = region(40);
        let page = page_size();
        for first in [30, 3, 20] {
            region.unpin(first * page..(first + 2) * page).expect("unpinned");
        }
        let mut ages = Vec::new();
        region
            .each_run(|run| {
                ages.extend(run.unpinned_for);
                ControlFlow::Continue(())
            })
            .expect("looked at");
        assert_eq!(ages.len(), 3);
        // In the order of their pages: the second, the third, the first.
        assert!(ages[2] > ages[0] && ages[0] > ages[1], "{ages:?}");
    }

    #[test]
    fn reclaimable_is_what_a_purge_frees() {
        let region = region(64);
        let page = page_size();
        assert_eq!(region.reclaimable().expect("looked at"), 0);
        region.map().expect("mapped").fill(8 * page, 16 * page, 1).expect("inside");
        region.unpin(16 * page..).expect("unpinned");
        region.forget_pin_state();
        assert_eq!(region.reclaimable().expect("looked at"), 8 * page);
        assert_eq!(region.purge_counted().expect("purged").bytes, 8 * page);
        assert_eq!(region.reclaimable().expect("looked at"), 0);
    }

    #[test]
    fn stops_when_it_is_told_to() {
        let region = region(40);
        let page = page_size();
        for first in (0..40).step_by(2) {
            region.unpin(first * page..(first + 1) * page).expect("unpinned");
        }
        let mut runs = 0;
        region
            .each_run(|_| {
                runs += 1;
                if runs == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect("looked at");
        assert_eq!(runs, 3);
    }

    #[test]
    fn looking_makes_no_page() {
        let pages = 1 << 20;
        let region = region(pages);
        let page = page_size();
        region.unpin(..).expect("unpinned");
        assert_eq!(region.pin(0..page).expect("pinned"), Contents::Intact);
        let _lease = region.pin_guard(5 * page..6 * page).expect("held");
        let own = Region::from_fd(region.share_read_only().expect("reopened")).expect("a region");
        let allocated = || own.inner.status().expect("a status").allocated;
        let before = allocated();
        assert_eq!(states(&own).len(), 4);
        assert_eq!((allocated(), own.resident_ranges().expect("looked at")), (before, vec![]));
        assert!(!own.inner.is_looked_after());
    }

    #[test]
    fn resident_stretches() {
        let region = region(10);
        let page = page_size();
        let mapping = region.map().expect("mapped");
        mapping.fill(page, 2 * page, 1).expect("written");
        mapping.fill(9 * page, 10, 1).expect("written");
        region.unpin(..).expect("unpinned");
        assert_eq!(region.resident_ranges().expect("looked at"), [page..3 * page, 9 * page..10 * page]);
    }
}
