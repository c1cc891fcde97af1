//! The device: all areas, and the pins, which share one LRU.

use std::collections::BTreeMap;
use std::ops::Range;

use rustix::io::Errno;

use super::lru::Lru;
use super::pin::{Request, clip};
use super::shrinker::Shrinker;
use super::{Access, Area, AreaId, Flavour, Pin, Pinned};

/// The driver's whole state.
///
/// Calls for an area that is not open answer EBADF, or do nothing.
#[derive(Debug)]
pub struct Device {
    page_size: u64,
    flavour: Flavour,
    next: u64,
    pub(super) areas: BTreeMap<AreaId, Area>,
    pub(super) lru: Lru,
    pub(super) shrinker: Shrinker,
}

impl Device {
    /// A device without areas. `page_size` in bytes; one that is not a power of two counts as the next that is.
    #[must_use]
    pub fn new(page_size: u64, flavour: Flavour) -> Device {
        Device {
            page_size: page_size.checked_next_power_of_two().unwrap_or(1 << 63),
            flavour,
            next: 0,
            areas: BTreeMap::new(),
            lru: Lru::default(),
            shrinker: Shrinker::default(),
        }
    }

    /// `open`: a new area of size 0, without a name, with the mask 7.
    pub fn open(&mut self, access: Access) -> AreaId {
        let id = AreaId(self.next);
        self.next += 1;
        self.areas.insert(id, Area::new(id, access, self.flavour, self.page_size));
        id
    }

    /// The last descriptor is gone: the area is forgotten, and its ranges leave the LRU. (Mappings live on, and nothing
    /// takes their pages.)
    pub fn close(&mut self, id: AreaId) {
        self.drop_ranges(id);
        self.areas.remove(&id);
    }

    /// Forgets the ranges of an area, purged ones too: everything counts as pinned. The area stays.
    pub fn drop_ranges(&mut self, id: AreaId) {
        if let Some(area) = self.areas.get_mut(&id) {
            area.ranges.clear(&mut self.lru);
        }
    }

    /// An area.
    #[must_use]
    pub fn area(&self, id: AreaId) -> Option<&Area> {
        self.areas.get(&id)
    }

    /// An area, to change what does not concern its pins.
    pub fn area_mut(&mut self, id: AreaId) -> Option<&mut Area> {
        self.areas.get_mut(&id)
    }

    /// All areas, oldest first.
    pub fn areas(&self) -> impl Iterator<Item = AreaId> + '_ {
        self.areas.keys().copied()
    }

    /// PIN: takes pages back.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Device::request).
    pub fn pin(&mut self, id: AreaId, pin: Pin) -> Result<Pinned, Errno> {
        let (area, request) = named_mut(&mut self.areas, id, pin)?;
        let purged = area.ranges.pin(request, &mut self.lru);
        Ok(Pinned { purged, pages: request.pages(area.pages()) })
    }

    /// UNPIN: pages may be taken from now on. The answer is the pages that the request named, clipped to the area.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Device::request).
    pub fn unpin(&mut self, id: AreaId, pin: Pin) -> Result<Range<u64>, Errno> {
        let (area, request) = named_mut(&mut self.areas, id, pin)?;
        area.ranges.unpin(request, &mut self.lru);
        Ok(request.pages(area.pages()))
    }

    /// GET_PIN_STATUS: whether all pages are pinned.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Device::request).
    pub fn pin_status(&self, id: AreaId, pin: Pin) -> Result<bool, Errno> {
        let area = self.areas.get(&id).ok_or(Errno::BADF)?;
        Ok(area.ranges.is_pinned(named(area, pin)?))
    }

    /// Only the checks of a pin request: the pages that it names, clipped to the area.
    ///
    /// # Errors
    ///
    /// EINVAL: the area was never mapped, or the request is not page-aligned, or not inside the area or the first 4 GiB.
    /// (EFAULT for memory that cannot be read goes before it and is the caller's.)
    pub fn request(&self, id: AreaId, pin: Pin) -> Result<Range<u64>, Errno> {
        let area = self.areas.get(&id).ok_or(Errno::BADF)?;
        Ok(named(area, pin)?.pages(area.pages()))
    }

    /// Somebody else pinned these pages: as PIN of them.
    pub fn note_pinned(&mut self, id: AreaId, pages: Range<u64>) {
        self.note(id, &pages, |area, mut request, lru| {
            // A range may go past the area's end, to page -1.
            if pages.end >= area.pages() {
                request.last = u64::MAX;
            }
            area.ranges.pin(request, lru);
        });
    }

    /// Somebody else unpinned these pages: those in no range become one, each gap its own, lowest first, last in the
    /// LRU. Ranges that were there stay as they are.
    pub fn note_unpinned(&mut self, id: AreaId, pages: Range<u64>) {
        self.note(id, &pages, |area, request, lru| area.ranges.fill(request, lru));
    }

    /// Somebody else purged some of these pages: every range that overlaps them is purged, whole, and leaves the LRU.
    pub fn note_purged(&mut self, id: AreaId, pages: Range<u64>) {
        self.note(id, &pages, |area, request, lru| area.ranges.purge(request, lru));
    }

    /// The unpinned ranges of an area in ascending order, clipped to it, and whether each is purged.
    pub fn unpinned(&self, id: AreaId) -> impl Iterator<Item = (Range<u64>, bool)> + '_ {
        self.areas.get(&id).into_iter().flat_map(|area| {
            let pages = area.pages();
            area.ranges.iter().map(move |(first, last, purged)| (clip(first, last, pages), purged))
        })
    }

    /// Those of them that have one of these pages.
    pub fn unpinned_in(
        &self,
        id: AreaId,
        pages: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, bool)> + '_ {
        let last = pages.end.checked_sub(1).filter(|&last| pages.start <= last);
        self.areas.get(&id).zip(last).into_iter().flat_map(move |(area, last)| {
            let all = area.pages();
            let ranges = area.ranges.overlapping(pages.start, last);
            ranges.map(move |(first, last, purged)| (clip(first, last, all), purged))
        })
    }

    /// The driver's count of pages that are unpinned and not purged: all pages of such ranges, touched or not. The range
    /// of everything in an area whose length is a multiple of 4 GiB counts as 0, and what PIN leaves of it makes the
    /// count wrap.
    #[must_use]
    pub fn lru_pages(&self) -> u64 {
        self.lru.pages()
    }

    fn note(&mut self, id: AreaId, pages: &Range<u64>, change: impl FnOnce(&mut Area, Request, &mut Lru)) {
        let Some(area) = self.areas.get_mut(&id).filter(|area| area.is_mapped()) else { return };
        if let Some(request) = Request::from_pages(pages, area.pages()) {
            change(area, request, &mut self.lru);
        }
    }
}

fn named(area: &Area, pin: Pin) -> Result<Request, Errno> {
    if !area.is_mapped() {
        return Err(Errno::INVAL);
    }
    Request::new(pin, area.aligned_size(), area.page_size())
}

fn named_mut(
    areas: &mut BTreeMap<AreaId, Area>,
    id: AreaId,
    pin: Pin,
) -> Result<(&mut Area, Request), Errno> {
    let area = areas.get_mut(&id).ok_or(Errno::BADF)?;
    let request = named(area, pin)?;
    Ok((area, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(device: &mut Device, pages: u64) -> AreaId {
        let id = device.open(Access::ReadWrite);
        let area = device.area_mut(id).unwrap();
        area.set_size(pages << 12).unwrap();
        area.mapped();
        id
    }

    const ALL: Pin = Pin { offset: 0, len: 0 };

    #[test]
    fn pins_want_a_mapping_and_an_open_area() {
        let mut device = Device::new(4096, Flavour::Mainline);
        let id = device.open(Access::Read);
        device.area_mut(id).unwrap().set_size(4096).unwrap();
        assert_eq!(device.unpin(id, ALL), Err(Errno::INVAL));
        device.note_unpinned(id, 0..1);
        device.area_mut(id).unwrap().mapped();
        assert_eq!(device.unpinned(id).count(), 0);
        assert_eq!(device.request(id, ALL), Ok(0..1));
        device.close(id);
        assert_eq!(device.pin_status(id, ALL), Err(Errno::BADF));
        assert_eq!(device.areas().count(), 0);
    }

    #[test]
    fn a_closed_area_leaves_the_lru() {
        let mut device = Device::new(4096, Flavour::Mainline);
        let (one, other) = (open(&mut device, 4), open(&mut device, 4));
        device.unpin(one, ALL).unwrap();
        device.unpin(other, Pin { offset: 0, len: 4096 }).unwrap();
        assert_eq!(device.lru_pages(), 5);
        device.close(one);
        assert_eq!(device.purge_all(&mut |id, pages| assert_eq!((id, pages), (other, 0..1))), 1);
        device.drop_ranges(other);
        assert!(!device.pin(other, ALL).unwrap().purged);
    }

    #[test]
    fn notes_fill_gaps_and_purge_whole_ranges() {
        let mut device = Device::new(4096, Flavour::Mainline);
        let id = open(&mut device, 16);
        device.unpin(id, Pin { offset: 4 << 12, len: 4 << 12 }).unwrap();
        device.note_unpinned(id, 2..20);
        device.note_unpinned(id, 2..20);
        device.note_purged(id, 7..8);
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(2..4, false), (4..8, true), (8..16, false)]);
        assert_eq!(device.lru_pages(), 10);
        device.note_pinned(id, 3..5);
        assert_eq!(device.unpinned(id).collect::<Vec<_>>(), [(2..3, false), (5..8, true), (8..16, false)]);
        device.note_pinned(id, 9..9);
        device.note_pinned(id, 16..99);
        assert_eq!(device.lru_pages(), 9);
    }
}
