//! Who purges: PURGE_ALL_CACHES, a need for pages, and the kernel's shrinker core.

use std::ops::Range;

use super::pin::clip;
use super::{AreaId, Device};

/// Told of every range that is purged: its area and its pages, clipped to the area, for a hole to be punched.
type Take<'a> = &'a mut dyn FnMut(AreaId, Range<u64>);

/// `SHRINK_BATCH`: how much the core asks of a shrinker at once.
const BATCH: u64 = 128;

/// The driver's `seeks`: `DEFAULT_SEEKS * 4`. Higher means that less is asked.
const SEEKS: u64 = 8;

/// The core asks all shrinkers again while one round of them freed more than this.
const ROUND: u64 = 10;

/// What the core keeps from one call to the next.
#[derive(Debug, Default)]
pub(super) struct Shrinker {
    /// `nr_deferred`: what it had wanted to scan and did not, because it was less than a batch.
    deferred: u64,
}

/// A range that was purged.
struct Purged {
    /// Its pages as the driver counts them, which is 0 for the range of all pages.
    counted: u64,
    /// Its pages inside the area.
    pages: u64,
}

impl Device {
    /// PURGE_ALL_CACHES by a process that has CAP_SYS_ADMIN (for others it is EPERM): purges everything unpinned. The
    /// answer is how many pages the driver counts for that; it goes through [`register`](super::register).
    pub fn purge_all(&mut self, take: Take<'_>) -> u64 {
        let pages = self.lru.pages();
        while self.purge_oldest(take).is_some() {}
        pages
    }

    /// Purges the oldest ranges, whole, until `pages` pages are purged or nothing is left. The answer is how many were.
    pub fn shrink(&mut self, pages: u64, take: Take<'_>) -> u64 {
        let mut purged: u64 = 0;
        while purged < pages {
            let Some(range) = self.purge_oldest(take) else { break };
            purged = purged.saturating_add(range.pages);
        }
        purged
    }

    /// What `echo 2 > /proc/sys/vm/drop_caches` does to ashmem on Linux 5.10, if no other cache frees much. How many
    /// pages that purged.
    pub fn drop_caches(&mut self, take: Take<'_>) -> u64 {
        let mut purged: u64 = 0;
        loop {
            let round = self.drop_once(take);
            purged = purged.wrapping_add(round);
            if round <= ROUND {
                return purged;
            }
        }
    }

    /// `do_shrink_slab` at priority 0.
    fn drop_once(&mut self, take: Take<'_>) -> u64 {
        let freeable = self.lru.pages();
        // The core has it as a signed number, and wrapped counts are negative.
        if freeable == 0 || freeable > i64::MAX as u64 {
            return 0;
        }
        let deferred = std::mem::take(&mut self.shrinker.deferred);
        let wanted = deferred.saturating_add((u128::from(freeable) * 4 / u128::from(SEEKS)) as u64);
        let mut left = wanted.min(freeable.saturating_mul(2));
        let (mut freed, mut scanned) = (0_u64, 0_u64);
        while left >= BATCH || left >= freeable {
            let count = left.min(BATCH);
            freed = freed.wrapping_add(self.scan(count, take));
            left -= count;
            scanned += count;
            if self.lru.is_empty() {
                // The core goes on to ask and gets nothing.
                let rest = if left % BATCH >= freeable { left } else { left - left % BATCH };
                scanned += rest;
                break;
            }
        }
        self.shrinker.deferred = wanted.saturating_sub(scanned);
        freed
    }

    /// The driver's scan: the `count` oldest ranges. The answer is their pages.
    fn scan(&mut self, count: u64, take: Take<'_>) -> u64 {
        let mut freed: u64 = 0;
        for _ in 0..count {
            let Some(range) = self.purge_oldest(take) else { break };
            freed = freed.wrapping_add(range.counted);
        }
        freed
    }

    fn purge_oldest(&mut self, take: Take<'_>) -> Option<Purged> {
        let (place, id, spot) = self.lru.oldest()?;
        let Some(area) = self.areas.get_mut(&id) else {
            self.lru.remove(place, 0);
            return Some(Purged { counted: 0, pages: 0 });
        };
        let Some((first, last)) = area.ranges.purge_at(spot, place, &mut self.lru) else {
            return Some(Purged { counted: 0, pages: 0 });
        };
        let pages = clip(first, last, area.pages());
        let purged =
            Purged { counted: last.wrapping_sub(first).wrapping_add(1), pages: pages.end - pages.start };
        if !pages.is_empty() {
            take(id, pages);
        }
        Some(purged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Flavour, Pin};
    use super::*;

    fn device(pages: u64) -> (Device, AreaId) {
        let mut device = Device::new(4096, Flavour::Mainline);
        let id = device.open(Access::ReadWrite);
        let area = device.area_mut(id).unwrap();
        area.set_size(pages << 12).unwrap();
        area.mapped();
        (device, id)
    }

    fn unpin(device: &mut Device, id: AreaId, start: u32, count: u32) {
        device.unpin(id, Pin { offset: start << 12, len: count << 12 }).unwrap();
    }

    #[test]
    fn the_oldest_ranges_go_first_and_whole() {
        let (mut device, id) = device(100);
        for start in [50, 10, 30] {
            unpin(&mut device, id, start, 5);
        }
        let mut taken = Vec::new();
        assert_eq!(device.shrink(6, &mut |_, pages| taken.push(pages)), 10);
        assert_eq!(taken, [50..55, 10..15]);
        assert_eq!(device.shrink(6, &mut |_, _| {}), 5);
        assert_eq!(device.shrink(6, &mut |_, _| {}), 0);
    }

    #[test]
    fn a_split_off_half_goes_last() {
        let (mut device, id) = device(100);
        unpin(&mut device, id, 0, 9);
        unpin(&mut device, id, 50, 1);
        device.pin(id, Pin { offset: 4 << 12, len: 1 << 12 }).unwrap();
        let mut taken = Vec::new();
        device.purge_all(&mut |_, pages| taken.push(pages));
        assert_eq!(taken, [0..4, 50..51, 5..9]);
    }

    #[test]
    fn drop_caches_keeps_what_it_deferred() {
        let (mut device, id) = device(2000);
        let purged: Vec<u64> = (0..6)
            .map(|_| {
                for page in 0..1000 {
                    unpin(&mut device, id, page * 2, 1);
                }
                let purged = device.drop_caches(&mut |_, _| {});
                device.drop_ranges(id);
                purged
            })
            .collect();
        assert_eq!(purged, [896, 896, 1000, 896, 896, 1000]);
    }
}
