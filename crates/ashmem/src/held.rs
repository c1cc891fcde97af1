//! Which pages somebody holds just now: counted in the control block, or read-locked in the file.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use crate::control::Control;
use crate::page::page_size;
use crate::region::live_slots;
use crate::state::{CHUNK_PAGES, Holds, PAGES_PER_WORD, Select};
use crate::sys::lock::{self, Kind};

/// Questions to the kernel about the locks on one chunk. Where there are more locks than that, the rest counts as locked.
const QUESTIONS: u64 = 64;

/// Pages that are counted as held by processes that lived a moment ago.
pub(crate) struct Held<'a> {
    holds: Holds<'a>,
    live: Vec<usize>,
}

impl<'a> Held<'a> {
    pub(crate) fn of(file: BorrowedFd<'_>, control: &'a Control) -> Held<'a> {
        Held { holds: control.holds(), live: live_slots(file, control) }
    }

    /// Whether somebody holds the whole region.
    pub(crate) fn all(&self) -> bool {
        self.live.iter().any(|slot| self.holds.holds_all(*slot))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.live.is_empty()
    }

    /// The pages of page word `index` that are held.
    pub(crate) fn word(&self, index: usize) -> Select {
        self.word_where(index, |_| true)
    }

    /// As [`word`](Self::word), without a look at the slots whose counts for that word were never written.
    pub(crate) fn word_where(&self, index: usize, is_written: impl Fn(usize) -> bool) -> Select {
        let written = self.live.iter().filter(|slot| is_written(**slot));
        written.fold(Select::NONE, |held, slot| held.or(self.holds.held(*slot, index)))
    }
}

/// Pages with bytes that somebody has locked.
pub(crate) struct Locked {
    /// In order, and apart.
    runs: Vec<Range<u64>>,
}

impl Locked {
    /// Those among `pages`, as seen through `file`.
    pub(crate) fn of(file: BorrowedFd<'_>, pages: Range<u64>) -> Locked {
        let questions = QUESTIONS * (pages.end - pages.start).div_ceil(CHUNK_PAGES);
        Locked::with_questions(file, pages, questions)
    }

    /// As `of`, with so many questions to the kernel. It looks through all locks of the file for each.
    pub(crate) fn with_questions(file: BorrowedFd<'_>, pages: Range<u64>, mut questions: u64) -> Locked {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut unknown = vec![pages];
        while let Some(pages) = unknown.pop() {
            let bytes = pages.start * page_size()..pages.end * page_size();
            questions = questions.saturating_sub(1);
            let answer = match questions {
                0 => Ok(Some(bytes.clone())),
                _ => lock::held_by_others(file, Kind::Write, bytes.start, bytes.end),
            };
            // When in doubt they are held.
            let Some(found) = answer.unwrap_or(Some(bytes)) else { continue };
            let first = found.start / page_size();
            let found = first..found.end.div_ceil(page_size()).max(first + 1);
            if pages.start < found.start {
                unknown.push(pages.start..found.start);
            }
            if found.end < pages.end {
                unknown.push(found.end..pages.end);
            }
            runs.push(found);
        }
        runs.sort_unstable_by_key(|run| run.start);
        Locked { runs }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.runs.is_empty()
    }

    /// The pages of page word `index` that are locked.
    pub(crate) fn word(&self, index: usize) -> Select {
        let base = index as u64 * PAGES_PER_WORD;
        let within = |page: u64| page.saturating_sub(base).min(PAGES_PER_WORD) as u32;
        let first = self.runs.partition_point(|run| run.end <= base);
        let here = self.runs[first..].iter().take_while(|run| run.start < base + PAGES_PER_WORD);
        here.fold(Select::NONE, |locked, run| locked.or(Select::pages(within(run.start), within(run.end))))
    }
}

/// Takes the held pages out of `claimed`, the claimed pages of the words from `first` on.
pub(crate) fn spare(file: BorrowedFd<'_>, control: &Control, first: usize, claimed: &mut [Select]) {
    let held = Held::of(file, control);
    if !held.is_none() {
        for (index, select) in (first..).zip(claimed.iter_mut()) {
            *select = select.minus(held.word(index));
        }
    }
    let mut words =
        claimed.iter().enumerate().filter(|(_, select)| !select.is_empty()).map(|(place, _)| place);
    let Some(from) = words.next() else { return };
    let to = words.next_back().unwrap_or(from) + 1;
    let page_of = |word: usize| (first + word) as u64 * PAGES_PER_WORD;
    // The claims come before the questions, as a lock comes before the look at the states.
    fence(Ordering::SeqCst);
    let locked = Locked::of(file, page_of(from)..page_of(to));
    if !locked.is_none() {
        for (index, select) in (first..).zip(claimed.iter_mut()) {
            *select = select.minus(locked.word(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_locked_runs() {
        let locked = Locked { runs: vec![3..5, 5..6, 14..33, 63..64] };
        let pages = |index| locked.word(index).iter().collect::<Vec<_>>();
        assert_eq!(pages(0), [3, 4, 5, 14, 15]);
        assert_eq!(locked.word(1), Select::ALL);
        assert_eq!((pages(2), pages(3), pages(4)), (vec![0], vec![15], vec![]));
    }
}
