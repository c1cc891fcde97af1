//! The one list of ranges that wait to be purged, over all areas, oldest unpinned first.

use std::collections::BTreeMap;

use super::AreaId;

/// Which range of an area an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// The range that starts at this page.
    Start(u64),
    /// The range without pages.
    Empty,
}

/// The list. Places are numbers that only grow: a range keeps its place when it is trimmed, and a new one goes last.
///
/// The count of pages is the driver's `lru_count`: it wraps where that does, namely for a range up to page -1.
#[derive(Debug, Default)]
pub(super) struct Lru {
    entries: BTreeMap<u64, (AreaId, Spot)>,
    next: u64,
    pages: u64,
}

impl Lru {
    /// Pages of all ranges in the list, as the driver counts them.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Whether no range waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a range of `size` pages last; the answer is its place.
    pub fn push(&mut self, area: AreaId, spot: Spot, size: u64) -> u64 {
        let place = self.next;
        self.next += 1;
        self.entries.insert(place, (area, spot));
        self.pages = self.pages.wrapping_add(size);
        place
    }

    /// Takes the range of `size` pages at `place` out.
    pub fn remove(&mut self, place: u64, size: u64) {
        if self.entries.remove(&place).is_some() {
            self.pages = self.pages.wrapping_sub(size);
        }
    }

    /// The range at `place` has another size and perhaps another start, and keeps its place.
    pub fn change(&mut self, place: u64, spot: Spot, before: u64, after: u64) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.1 = spot;
            self.pages = self.pages.wrapping_sub(before).wrapping_add(after);
        }
    }

    /// The oldest range.
    pub fn oldest(&self) -> Option<(u64, AreaId, Spot)> {
        self.entries.first_key_value().map(|(&place, &(area, spot))| (place, area, spot))
    }
}
