//! Which pages of a control block are in memory.

use crate::control::Control;
use crate::page::page_size;
use crate::state::{PAGES_PER_WORD, slot};

/// Which pages of a control block were in memory a moment ago. Reading one that is not would allocate it: words and stamps that
/// were never written would then cost memory when it is short. A page in swap counts as absent, which can only change
/// the order in which pages go.
pub(crate) struct Presence {
    pages: Option<Vec<u8>>,
    slots: usize,
}

impl Presence {
    pub(crate) fn of(control: &Control) -> Presence {
        let count = control.map().len() / page_size() as usize;
        let mut pages = vec![0; count];
        let known = count > 1 && control.map().residency(0, &mut pages).is_some();
        Presence { pages: known.then_some(pages), slots: control.table().slots.len() }
    }

    fn at(&self, byte: usize) -> bool {
        let page = byte / page_size() as usize;
        self.pages.as_ref().is_none_or(|pages| pages.get(page).is_some_and(|page| page & 1 != 0))
    }

    /// A word and its stamp, which are in one cache line.
    pub(crate) fn word(&self, index: usize) -> bool {
        self.at(Control::place(slot(index)))
    }

    pub(crate) fn page_stamps(&self, index: usize) -> bool {
        let first = self.slots + index * PAGES_PER_WORD as usize;
        let last = first + PAGES_PER_WORD as usize - 1;
        self.at(Control::place(first)) && self.at(Control::place(last))
    }
}
