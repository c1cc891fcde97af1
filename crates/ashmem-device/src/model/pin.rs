//! What a pin request names.

use std::ops::Range;

use rustix::io::Errno;

/// `struct ashmem_pin`, the argument of PIN, UNPIN and GET_PIN_STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin {
    /// Where the pages begin, in bytes from the start of the area.
    pub offset: u32,
    /// How many bytes; 0 means "to the end".
    pub len: u32,
}

/// What PIN answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// ASHMEM_WAS_PURGED: a range that the request touched was purged. True also for pages that were not lost
    /// themselves, because a range has one flag for all its pages.
    pub purged: bool,
    /// The pages that the request named, clipped to the area.
    pub pages: Range<u64>,
}

/// The pages of a request as the driver has them: the first and the last one, as `size_t`.
///
/// Two values are special. `first == last + 1` names no page: "to the end" at the end. `0..=u64::MAX` names every page:
/// "to the end" from 0 in an area whose length is a multiple of 4 GiB, where the 32-bit length comes out as 0 and the
/// last page as -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub first: u64,
    pub last: u64,
}

impl Request {
    /// The driver's checks, in its 32-bit arithmetic. `aligned` is the page-aligned size of the area in bytes.
    ///
    /// # Errors
    ///
    /// EINVAL: not page-aligned, or not inside the area or the first 4 GiB.
    pub fn new(pin: Pin, aligned: u64, page_size: u64) -> Result<Request, Errno> {
        let offset = pin.offset;
        let len = if pin.len == 0 { aligned.wrapping_sub(u64::from(offset)) as u32 } else { pin.len };
        if u64::from(offset | len) & (page_size - 1) != 0 {
            return Err(Errno::INVAL);
        }
        let end = offset.checked_add(len).ok_or(Errno::INVAL)?;
        if aligned < u64::from(end) {
            return Err(Errno::INVAL);
        }
        let first = u64::from(offset) / page_size;
        let last = (first + u64::from(len) / page_size).wrapping_sub(1);
        Ok(Request { first, last })
    }

    /// The request for `pages` of an area of `area_pages` pages; `None` if there are none.
    pub fn from_pages(pages: &Range<u64>, area_pages: u64) -> Option<Request> {
        let end = pages.end.min(area_pages);
        (pages.start < end).then(|| Request { first: pages.start, last: end - 1 })
    }

    /// Whether it names no page.
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// The pages, clipped to an area of `area_pages` pages.
    pub fn pages(self, area_pages: u64) -> Range<u64> {
        clip(self.first, self.last, area_pages)
    }
}

/// `first..=last` as a half-open range within an area of `area_pages` pages.
pub(super) fn clip(first: u64, last: u64, area_pages: u64) -> Range<u64> {
    let first = first.min(area_pages);
    if first > last {
        return first..first;
    }
    first..last.saturating_add(1).min(area_pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const GIB4: u64 = 1 << 32;

    fn request(offset: u32, len: u32, aligned: u64) -> Option<(u64, u64)> {
        Request::new(Pin { offset, len }, aligned, PAGE).ok().map(|request| (request.first, request.last))
    }

    #[test]
    fn plain_requests() {
        assert_eq!(request(0x1000, 0x2000, 4 * PAGE), Some((1, 2)));
        assert_eq!(request(0x2000, 0, 4 * PAGE), Some((2, 3)));
        assert_eq!(request(0x1000, 0x4000, 4 * PAGE), None);
        assert_eq!(request(1, 0x1000, 4 * PAGE), None);
        assert_eq!(request(0x5000, 0, 4 * PAGE), None);
        assert_eq!(request(0xffff_f000, 0x2000, 4 * PAGE), None);
    }

    #[test]
    fn the_end_to_the_end_is_empty() {
        assert_eq!(request(0x4000, 0, 4 * PAGE), Some((4, 3)));
        assert_eq!(request(0x3000, 0, GIB4 + 3 * PAGE), Some((3, 2)));
        assert_eq!(Request { first: 4, last: 3 }.pages(4), 4..4);
    }

    #[test]
    fn lengths_are_32_bits_wide() {
        assert_eq!(request(0, 0, GIB4), Some((0, u64::MAX)));
        assert_eq!(request(0, 0, GIB4 + 3 * PAGE), Some((0, 2)));
        assert_eq!(request(0x4000, 0, GIB4 + 3 * PAGE), None);
        assert_eq!(request(0xffff_f000, 0, GIB4), None);
        assert_eq!(request(0, 0, 1 << 63), Some((0, u64::MAX)));
        assert_eq!(Request { first: 0, last: u64::MAX }.pages(1 << 20), 0..1 << 20);
    }

    #[test]
    fn pages_clip_to_the_area() {
        assert_eq!(Request::from_pages(&(2..9), 4), Some(Request { first: 2, last: 3 }));
        assert_eq!(Request::from_pages(&(2..3), 4), Some(Request { first: 2, last: 2 }));
        assert_eq!(Request::from_pages(&(4..9), 4), None);
        assert_eq!(Request::from_pages(&(3..3), 4), None);
    }
}
