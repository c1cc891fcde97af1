//! The driver's lists as the driver keeps them: a list of ranges per area that is walked from the top, and one LRU.
//!
//! Slow and simple on purpose, and without a line of the model: page numbers are `size_t` and wrap, and every walk and
//! every `break` is the driver's.

use std::ops::Range;

use ashmem_device::model::Pin;

const PAGE: u64 = 4096;

#[derive(Clone, Debug)]
struct Listed {
    name: u64,
    start: u64,
    end: u64,
    purged: bool,
}

impl Listed {
    fn size(&self) -> u64 {
        self.end.wrapping_sub(self.start).wrapping_add(1)
    }

    fn has(&self, page: u64) -> bool {
        self.start <= page && self.end >= page
    }

    fn is_subsumed(&self, start: u64, end: u64) -> bool {
        self.start >= start && self.end <= end
    }

    fn is_touched(&self, start: u64, end: u64) -> bool {
        self.has(start) || self.has(end) || self.is_subsumed(start, end)
    }
}

/// An area: its size in bytes and its list, highest range first.
#[derive(Debug)]
pub struct RefArea {
    pub size: u64,
    list: Vec<Listed>,
}

impl RefArea {
    pub fn aligned(&self) -> u64 {
        self.size.wrapping_add(PAGE - 1) & !(PAGE - 1)
    }

    pub fn pages(&self) -> u64 {
        self.aligned() / PAGE
    }

    fn clip(&self, range: &Listed) -> Range<u64> {
        let start = range.start.min(self.pages());
        start..range.end.saturating_add(1).clamp(start, self.pages())
    }

    /// The pages of a request, first and last.
    pub fn parse(&self, pin: Pin) -> Option<(u64, u64)> {
        let mut len = pin.len;
        if len == 0 {
            len = self.aligned().wrapping_sub(u64::from(pin.offset)) as u32;
        }
        let outside = u32::MAX - pin.offset < len || self.aligned() < u64::from(pin.offset.wrapping_add(len));
        if u64::from(pin.offset | len) % PAGE != 0 || outside {
            return None;
        }
        let start = u64::from(pin.offset) / PAGE;
        Some((start, start.wrapping_add(u64::from(len) / PAGE).wrapping_sub(1)))
    }

    /// For each of the first `count` pages, whether a range has it, and whether that is purged.
    pub fn flags(&self, count: u64) -> Vec<(bool, bool)> {
        let flag = |page| self.list.iter().find(|range| range.has(page));
        (0..count.min(self.pages()))
            .map(|page| (flag(page).is_some(), flag(page).is_some_and(|r| r.purged)))
            .collect()
    }

    pub fn unpinned(&self) -> Vec<(Range<u64>, bool)> {
        let ranges = self.list.iter().rev().map(|range| (self.clip(range), range.purged));
        ranges.filter(|(pages, _)| !pages.is_empty()).collect()
    }

    pub fn has_wrapped(&self) -> bool {
        self.list.iter().any(|range| range.end >= self.pages() && range.start <= range.end)
    }
}

#[derive(Debug, Default)]
pub struct Reference {
    pub areas: Vec<Option<RefArea>>,
    /// Area and name of a range.
    lru: Vec<(usize, u64)>,
    pub lru_count: u64,
    names: u64,
    deferred: i64,
}

impl Reference {
    pub fn open(&mut self, size: u64) {
        self.areas.push(Some(RefArea { size, list: Vec::new() }));
    }

    fn area(&mut self, area: usize) -> &mut RefArea {
        self.areas[area].as_mut().unwrap()
    }

    fn lru_del(&mut self, area: usize, range: &Listed) {
        self.lru.retain(|entry| *entry != (area, range.name));
        self.lru_count = self.lru_count.wrapping_sub(range.size());
    }

    fn range_del(&mut self, area: usize, index: usize) {
        let range = self.area(area).list.remove(index);
        if !range.purged {
            self.lru_del(area, &range);
        }
    }

    /// Puts a range before the one at `index`.
    fn range_alloc(&mut self, area: usize, index: usize, purged: bool, start: u64, end: u64) {
        let range = Listed { name: self.names, start, end, purged };
        self.names += 1;
        if !purged {
            self.lru.push((area, range.name));
            self.lru_count = self.lru_count.wrapping_add(range.size());
        }
        self.area(area).list.insert(index, range);
    }

    fn range_shrink(&mut self, area: usize, index: usize, start: u64, end: u64) {
        let range = &mut self.area(area).list[index];
        let before = range.size();
        (range.start, range.end) = (start, end);
        let (after, purged) = (range.size(), range.purged);
        if !purged {
            self.lru_count = self.lru_count.wrapping_sub(before.wrapping_sub(after));
        }
    }

    pub fn pin(&mut self, area: usize, (start, end): (u64, u64)) -> bool {
        let mut purged = false;
        let mut index = 0;
        while let Some(range) = self.area(area).list.get(index).cloned() {
            if range.end < start {
                break;
            }
            if !range.is_touched(start, end) {
                index += 1;
                continue;
            }
            purged |= range.purged;
            if range.is_subsumed(start, end) {
                self.range_del(area, index);
            } else if range.start >= start {
                self.range_shrink(area, index, end.wrapping_add(1), range.end);
                index += 1;
            } else if range.end <= end {
                self.range_shrink(area, index, range.start, start - 1);
                index += 1;
            } else {
                self.range_alloc(area, index, range.purged, end.wrapping_add(1), range.end);
                self.range_shrink(area, index + 1, range.start, start - 1);
                break;
            }
        }
        purged
    }

    pub fn unpin(&mut self, area: usize, (mut start, mut end): (u64, u64)) {
        let mut purged = false;
        let mut index = 0;
        while let Some(range) = self.area(area).list.get(index).cloned() {
            if range.end < start {
                break;
            }
            if range.start <= start && range.end >= end {
                return;
            }
            if range.is_touched(start, end) {
                start = start.min(range.start);
                end = end.max(range.end);
                purged |= range.purged;
                self.range_del(area, index);
                index = 0;
            } else {
                index += 1;
            }
        }
        self.range_alloc(area, index, purged, start, end);
    }

    pub fn is_pinned(&mut self, area: usize, (start, end): (u64, u64)) -> bool {
        for range in &self.area(area).list {
            if range.end < start {
                break;
            }
            if range.is_touched(start, end) {
                return false;
            }
        }
        true
    }

    pub fn clear(&mut self, area: usize) {
        while !self.area(area).list.is_empty() {
            self.range_del(area, 0);
        }
    }

    /// One range of the shrinker's scan: its area, its pages in the area, and the driver's count of them.
    fn scan_one(&mut self) -> Option<(usize, Range<u64>, u64)> {
        let (area, name) = *self.lru.first()?;
        let owner = self.area(area);
        let range = owner.list.iter_mut().find(|range| range.name == name).unwrap();
        range.purged = true;
        let range = range.clone();
        let pages = owner.clip(&range);
        self.lru_del(area, &range);
        Some((area, pages, range.size()))
    }

    pub fn purge_all(&mut self, taken: &mut Vec<(usize, Range<u64>)>) -> u64 {
        let count = self.lru_count;
        while let Some((area, pages, _)) = self.scan_one() {
            taken.push((area, pages));
        }
        count
    }

    pub fn shrink(&mut self, wanted: u64, taken: &mut Vec<(usize, Range<u64>)>) -> u64 {
        let mut purged = 0;
        while purged < wanted {
            let Some((area, pages, _)) = self.scan_one() else { break };
            purged += pages.end - pages.start;
            taken.push((area, pages));
        }
        purged
    }

    pub fn drop_caches(&mut self, taken: &mut Vec<(usize, Range<u64>)>) -> u64 {
        // The model has only one empty range of an area wait: the oldest.
        for area in 0..self.areas.len() {
            let Some(owner) = &self.areas[area] else { continue };
            let empty = |name: u64| {
                owner.list.iter().any(|range| range.name == name && range.size() == 0 && range.start > 0)
            };
            let more: Vec<u64> = self
                .lru
                .iter()
                .filter(|entry| entry.0 == area && empty(entry.1))
                .skip(1)
                .map(|entry| entry.1)
                .collect();
            for name in more {
                let index = self.area(area).list.iter().position(|range| range.name == name).unwrap();
                self.range_del(area, index);
            }
        }
        let mut purged = 0_u64;
        loop {
            let round = self.drop_round(taken);
            purged = purged.wrapping_add(round);
            if round <= 10 {
                return purged;
            }
        }
    }

    fn drop_round(&mut self, taken: &mut Vec<(usize, Range<u64>)>) -> u64 {
        let freeable = self.lru_count as i64;
        if freeable <= 0 {
            return 0;
        }
        let mut total = std::mem::take(&mut self.deferred);
        let delta = freeable * 4 / 8;
        total += delta;
        let next = total;
        if delta < freeable / 4 {
            total = total.min(freeable / 2);
        }
        total = total.min(freeable * 2);
        let (mut freed, mut scanned) = (0_u64, 0);
        while total >= 128 || total >= freeable {
            let batch = total.min(128);
            for _ in 0..batch {
                let Some((area, pages, size)) = self.scan_one() else { break };
                freed = freed.wrapping_add(size);
                taken.push((area, pages));
            }
            total -= batch;
            scanned += batch;
        }
        self.deferred = (next - scanned).max(0);
        freed
    }

    pub fn note_pinned(&mut self, area: usize, pages: Range<u64>) {
        let all = self.area(area).pages();
        if pages.start < pages.end.min(all) {
            let last = if pages.end >= all { u64::MAX } else { pages.end - 1 };
            self.pin(area, (pages.start, last));
        }
    }

    pub fn note_unpinned(&mut self, area: usize, pages: Range<u64>) {
        let flags = self.area(area).flags(pages.end);
        let mut start = None;
        for page in pages.start..=pages.end {
            let gap = page < pages.end && flags.get(page as usize).is_some_and(|flag| !flag.0);
            match start {
                None if gap => start = Some(page),
                Some(first) if !gap => {
                    self.unpin(area, (first, page - 1));
                    start = None;
                }
                _ => {}
            }
        }
    }

    pub fn note_purged(&mut self, area: usize, pages: Range<u64>) {
        let touched = |range: &Listed| pages.clone().any(|page| range.has(page));
        let touched: Vec<usize> =
            (0..self.area(area).list.len()).filter(|&index| touched(&self.area(area).list[index])).collect();
        for index in touched {
            let range = self.area(area).list[index].clone();
            if !range.purged {
                self.lru_del(area, &range);
                self.area(area).list[index].purged = true;
            }
        }
    }
}
