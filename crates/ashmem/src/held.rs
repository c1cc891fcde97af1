//! Which pages somebody holds just now: counted in the control block, or read-locked in the file.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use crate::control::Control;
use crate::page::page_size;
use crate::region::live_slots;
use crate::state::{Holds, PAGES_PER_WORD, Select};
use crate::sys::lock::{self, Kind};

/// Questions to the kernel about the locks on one chunk. Where there are more locks than that, the rest counts as locked.
const QUESTIONS: u32 = 64;

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
        self.live.iter().fold(Select::NONE, |held, slot| held.or(self.holds.held(*slot, index)))
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
    let mut locked = |pages: Range<u64>| {
        for (index, select) in (first..).zip(claimed.iter_mut()) {
            let base = index as u64 * PAGES_PER_WORD;
            let within = |page: u64| page.saturating_sub(base).min(PAGES_PER_WORD) as u32;
            *select = select.minus(Select::pages(within(pages.start), within(pages.end)));
        }
    };
    // The claims come before the questions, as a lock comes before the look at the states.
    fence(Ordering::SeqCst);
    let mut questions = QUESTIONS;
    let mut unknown = Vec::new();
    unknown.push(page_of(from)..page_of(to));
    while let Some(pages) = unknown.pop() {
        let bytes = pages.start * page_size()..pages.end * page_size();
        questions = questions.saturating_sub(1);
        let answer = match questions {
            0 => Ok(Some(bytes.clone())),
            _ => lock::held_by_others(file, Kind::Write, bytes.start, bytes.end),
        };
        // When in doubt they are held.
        let Some(found) = answer.unwrap_or(Some(bytes)) else { continue };
        let found =
            found.start / page_size()..found.end.div_ceil(page_size()).max(found.start / page_size() + 1);
        if pages.start < found.start {
            unknown.push(pages.start..found.start);
        }
        if found.end < pages.end {
            unknown.push(found.end..pages.end);
        }
        locked(found);
    }
}
