//! The unpinned ranges of one area, and the driver's rules for them.
//!
//! The driver keeps a list in descending order and walks it from the top; here the ranges are in a map, so that a
//! request costs its own ranges and not those above it. Ranges with pages never overlap, so the order of the walk shows
//! in the LRU only, and beside the *empty* range, `[n, n-1]`, which UNPIN of the area's end makes. Where that lies is
//! fixed by the area's size. It is unpinned as seen from page n-1 (and counts for PIN, UNPIN and GET_PIN_STATUS of that
//! page), though it has no page itself.
//!
//! The driver makes one more empty range with every such request. Here there is at most one that waits and one that is
//! purged, so that a client cannot fill the memory with them; all answers are the same, only a scan of the shrinker
//! counts fewer ranges.

use std::collections::BTreeMap;

use super::AreaId;
use super::lru::{Lru, Spot};
use super::pin::Request;

/// An unpinned range; its first page is its key in the map.
#[derive(Clone, Copy, Debug)]
struct Unpinned {
    /// The last page, which may be `u64::MAX`.
    last: u64,
    /// Its place in the LRU; `None` once it is purged.
    place: Option<u64>,
}

/// The empty ranges of an area.
#[derive(Debug, Default)]
struct Empty {
    /// The page that they lie before.
    at: u64,
    waiting: Option<u64>,
    purged: bool,
}

/// The unpinned ranges of the area `id`.
#[derive(Debug)]
pub(super) struct Ranges {
    id: AreaId,
    by_start: BTreeMap<u64, Unpinned>,
    empty: Empty,
}

/// Pages of `first..=last`; 0 for all of them, as in the driver.
fn size(first: u64, last: u64) -> u64 {
    last.wrapping_sub(first).wrapping_add(1)
}

impl Ranges {
    pub fn new(id: AreaId) -> Ranges {
        Ranges { id, by_start: BTreeMap::new(), empty: Empty::default() }
    }

    /// PIN: removes, trims or splits every range that the request touches. Whether one of them was purged.
    pub fn pin(&mut self, request: Request, lru: &mut Lru) -> bool {
        let Request { first, last } = request;
        let mut purged = !request.is_empty() && self.take_empty(request, lru);
        // A request without pages is cut into a range that goes across it.
        let mut bound = first.max(last);
        while let Some((start, range)) = self.highest(bound, first) {
            purged |= range.place.is_none();
            if start >= first {
                if range.last <= last {
                    self.remove(start, range, lru);
                } else {
                    self.trim_start(start, range, last + 1, lru);
                }
            } else {
                if range.last > last {
                    let place = self.place(range.place.is_none(), last + 1, range.last, lru);
                    self.by_start.insert(last + 1, Unpinned { last: range.last, place });
                }
                self.trim_end(start, range, first - 1, lru);
                break;
            }
            match start.checked_sub(1) {
                Some(below) => bound = below,
                None => break,
            }
        }
        purged
    }

    /// UNPIN: nothing if a range holds the whole request; otherwise one new range of it and all that it touches, last in
    /// the LRU, purged if one of those was.
    pub fn unpin(&mut self, request: Request, lru: &mut Lru) {
        let Request { mut first, mut last } = request;
        if request.is_empty() {
            if self.highest(first, first).is_none() {
                self.add_empty(first, lru);
            }
            return;
        }
        let mut purged = false;
        loop {
            // Before the ranges: the driver takes it away even where a range below then holds the whole request.
            purged |= self.take_empty(Request { first, last }, lru);
            let Some((start, range)) = self.highest(last, first) else { break };
            if start <= first && range.last >= last {
                return;
            }
            first = first.min(start);
            last = last.max(range.last);
            purged |= range.place.is_none();
            self.remove(start, range, lru);
        }
        let place = self.place(purged, first, last, lru);
        self.by_start.insert(first, Unpinned { last, place });
    }

    /// Whether the request touches no range.
    pub fn is_pinned(&self, request: Request) -> bool {
        let Request { first, last } = request;
        if request.is_empty() {
            return self.highest(first, first).is_none();
        }
        self.highest(last, first).is_none() && !self.has_empty(request)
    }

    /// The pages of the request that are in no range become ranges, each gap one.
    pub fn fill(&mut self, request: Request, lru: &mut Lru) {
        let mut gaps = Vec::new();
        let mut next = Some(request.first);
        if let Some((_, range)) = self.by_start.range(..=request.first).next_back() {
            if range.last >= request.first {
                next = range.last.checked_add(1);
            }
        }
        for (&start, range) in self.by_start.range(request.first..=request.last) {
            if let Some(first) = next.filter(|&first| first < start) {
                gaps.push(Request { first, last: start - 1 });
            }
            next = range.last.checked_add(1);
        }
        if let Some(first) = next.filter(|&first| first <= request.last) {
            gaps.push(Request { first, last: request.last });
        }
        for gap in gaps {
            self.unpin(gap, lru);
        }
    }

    /// Every range that the request touches is purged from now on.
    pub fn purge(&mut self, request: Request, lru: &mut Lru) {
        let mut bound = request.last;
        while let Some((start, range)) = self.highest(bound, request.first) {
            if let Some(place) = range.place {
                lru.remove(place, size(start, range.last));
                self.by_start.insert(start, Unpinned { last: range.last, place: None });
            }
            match start.checked_sub(1) {
                Some(below) => bound = below,
                None => break,
            }
        }
    }

    /// The shrinker takes the range at `spot`, which is at `place` in the LRU: its first and last page.
    pub fn purge_at(&mut self, spot: Spot, place: u64, lru: &mut Lru) -> Option<(u64, u64)> {
        match spot {
            Spot::Empty => {
                self.empty.waiting = None;
                self.empty.purged = true;
                lru.remove(place, 0);
                None
            }
            Spot::Start(start) => {
                let Some(range) = self.by_start.get_mut(&start) else {
                    lru.remove(place, 0);
                    return None;
                };
                range.place = None;
                lru.remove(place, size(start, range.last));
                Some((start, range.last))
            }
        }
    }

    /// Forgets all ranges.
    pub fn clear(&mut self, lru: &mut Lru) {
        for (start, range) in std::mem::take(&mut self.by_start) {
            if let Some(place) = range.place {
                lru.remove(place, size(start, range.last));
            }
        }
        if let Some(place) = self.empty.waiting {
            lru.remove(place, 0);
        }
        self.empty = Empty::default();
    }

    /// First and last page of the ranges that have pages, and whether they are purged, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, bool)> + '_ {
        self.by_start.iter().map(|(&start, range)| (start, range.last, range.place.is_none()))
    }

    /// Those of them that have one of the pages `first..=last`.
    pub fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64, bool)> + '_ {
        let start = self.highest(first, first).map_or(first, |(start, _)| start);
        let ranges = (start <= last).then(|| self.by_start.range(start..=last));
        ranges.into_iter().flatten().map(|(&start, range)| (start, range.last, range.place.is_none()))
    }

    /// The highest range that starts at or below `bound` and does not end before `first`.
    fn highest(&self, bound: u64, first: u64) -> Option<(u64, Unpinned)> {
        let (&start, &range) = self.by_start.range(..=bound).next_back()?;
        (range.last >= first).then_some((start, range))
    }

    fn place(&self, purged: bool, first: u64, last: u64, lru: &mut Lru) -> Option<u64> {
        (!purged).then(|| lru.push(self.id, Spot::Start(first), size(first, last)))
    }

    fn remove(&mut self, start: u64, range: Unpinned, lru: &mut Lru) {
        self.by_start.remove(&start);
        if let Some(place) = range.place {
            lru.remove(place, size(start, range.last));
        }
    }

    fn trim_start(&mut self, start: u64, range: Unpinned, first: u64, lru: &mut Lru) {
        self.by_start.remove(&start);
        self.by_start.insert(first, range);
        if let Some(place) = range.place {
            lru.change(place, Spot::Start(first), size(start, range.last), size(first, range.last));
        }
    }

    fn trim_end(&mut self, start: u64, range: Unpinned, last: u64, lru: &mut Lru) {
        self.by_start.insert(start, Unpinned { last, place: range.place });
        if let Some(place) = range.place {
            lru.change(place, Spot::Start(start), size(start, range.last), size(start, last));
        }
    }

    fn has_empty(&self, request: Request) -> bool {
        let Some(before) = self.empty.at.checked_sub(1) else { return false };
        (self.empty.purged || self.empty.waiting.is_some())
            && (request.first..=request.last).contains(&before)
    }

    /// Removes the empty ranges if the request reaches them. Whether one of them was purged.
    fn take_empty(&mut self, request: Request, lru: &mut Lru) -> bool {
        if !self.has_empty(request) {
            return false;
        }
        if let Some(place) = self.empty.waiting {
            lru.remove(place, 0);
        }
        std::mem::take(&mut self.empty).purged
    }

    fn add_empty(&mut self, at: u64, lru: &mut Lru) {
        self.empty.at = at;
        if self.empty.waiting.is_none() {
            self.empty.waiting = Some(lru.push(self.id, Spot::Empty, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Device, Flavour, Pin};

    fn device(size: u64) -> (Device, super::AreaId) {
        let mut device = Device::new(4096, Flavour::Mainline);
        let id = device.open(Access::ReadWrite);
        let area = device.area_mut(id).unwrap();
        area.set_size(size).unwrap();
        area.mapped();
        (device, id)
    }

    fn pages(start: u32, count: u32) -> Pin {
        Pin { offset: start << 12, len: count << 12 }
    }

    #[test]
    fn overlapping_ranges_merge_and_adjacent_ones_do_not() {
        let (mut device, id) = device(16 << 12);
        device.unpin(id, pages(2, 2)).unwrap();
        device.purge_all(&mut |_, _| {});
        device.unpin(id, pages(4, 2)).unwrap();
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(2..4, true), (4..6, false)]);
        device.unpin(id, pages(3, 2)).unwrap();
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(2..6, true)]);
        assert_eq!(device.lru_pages(), 0);
    }

    #[test]
    fn pin_trims_and_splits() {
        let (mut device, id) = device(16 << 12);
        device.unpin(id, pages(0, 16)).unwrap();
        device.pin(id, pages(6, 2)).unwrap();
        device.pin(id, pages(0, 1)).unwrap();
        device.pin(id, pages(15, 1)).unwrap();
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(1..6, false), (8..15, false)]);
        assert_eq!(device.lru_pages(), 12);
        device.pin(id, pages(5, 4)).unwrap();
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(1..5, false), (9..15, false)]);
    }

    #[test]
    fn an_empty_range_counts_for_the_page_below_it() {
        let (mut device, id) = device(4 << 12);
        assert_eq!(device.unpin(id, pages(4, 0)), Ok(4..4));
        assert_eq!(device.pin_status(id, pages(4, 0)), Ok(true));
        assert_eq!(device.pin_status(id, pages(3, 1)), Ok(false));
        assert_eq!(device.pin_status(id, pages(0, 3)), Ok(true));
        assert_eq!(device.purge_all(&mut |_, _| panic!("it has no page")), 0);
        assert!(device.pin(id, pages(3, 1)).unwrap().purged);
        assert!(!device.pin(id, pages(3, 1)).unwrap().purged);
    }

    #[test]
    fn unpin_within_a_range_takes_the_empty_one_away() {
        let (mut device, id) = device(4 << 12);
        device.unpin(id, pages(3, 1)).unwrap();
        device.unpin(id, pages(4, 0)).unwrap();
        device.unpin(id, pages(3, 1)).unwrap();
        device.note_purged(id, 3..4);
        assert!(device.lru.is_empty());
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(3..4, true)]);
    }

    #[test]
    fn an_empty_request_inside_an_area_splits_a_range() {
        let (mut device, id) = device((4 << 30) + (3 << 12));
        device.unpin(id, pages(2, 4)).unwrap();
        assert_eq!(device.pin_status(id, pages(3, 0)), Ok(false));
        device.unpin(id, pages(3, 0)).unwrap();
        assert_eq!(device.unpinned(id).count(), 1);
        assert_eq!(device.pin(id, pages(3, 0)).unwrap().pages, 3..3);
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(2..3, false), (3..6, false)]);
        assert_eq!(device.lru_pages(), 4);
    }

    #[test]
    fn the_range_of_all_pages_counts_as_none() {
        let (mut device, id) = device(4 << 30);
        device.unpin(id, pages(0, 0)).unwrap();
        assert_eq!(device.lru_pages(), 0);
        device.pin(id, pages(1, 1)).unwrap();
        assert_eq!(device.lru_pages(), u64::MAX);
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(0..1, false), (2..1 << 20, false)]);
        let mut taken = Vec::new();
        device.purge_all(&mut |_, pages| taken.push(pages));
        assert_eq!(taken, [0..1, 2..1 << 20]);
        assert_eq!(device.lru_pages(), 0);
    }

    #[test]
    fn empty_ranges_do_not_pile_up() {
        let (mut device, id) = device(4 << 12);
        for _ in 0..1000 {
            device.unpin(id, pages(4, 0)).unwrap();
        }
        assert_eq!(device.lru.oldest().map(|(place, ..)| place), Some(0));
        device.pin(id, pages(3, 1)).unwrap();
        assert!(device.lru.is_empty());
    }
}
