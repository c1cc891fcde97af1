//! Pages, and the one place where ranges of bytes become ranges of pages.

use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Bytes in a page of this system.
#[must_use]
#[inline]
pub fn page_size() -> u64 {
    if cfg!(target_arch = "x86_64") {
        return 4096;
    }
    static CACHED: AtomicU64 = AtomicU64::new(0);
    match CACHED.load(Ordering::Relaxed) {
        0 => {
            let size = rustix::param::page_size() as u64;
            CACHED.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// The largest region in bytes: far below the largest file offset, so that no sum in this crate overflows.
pub(crate) const SIZE_MAX: u64 = 1 << 56;

/// `size` bytes rounded up to whole pages. `size` is at most [`SIZE_MAX`].
#[inline]
pub(crate) fn page_align(size: u64) -> u64 {
    let page = page_size();
    size.next_multiple_of(page)
}

/// Whole pages `first..end` of one region, never empty, always inside it.
///
/// Made from a range of bytes by [`PageRange::new`] or [`PageRange::from_offset_len`], which do all the
/// checking; nothing behind them sees a loose offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    first: u64,
    end: u64,
    whole: bool,
}

impl PageRange {
    /// Parses a range of bytes of a region of `size` bytes.
    ///
    /// Both ends must be multiples of the page size; the end may also be the exact size of the region. `..`
    /// is the whole region.
    ///
    /// # Errors
    /// [`Error::RangeEmpty`], [`Error::RangeOutOfBounds`] or [`Error::RangeMisaligned`]; [`Error::InvalidSize`] for a size that
    /// no region has.
    #[inline]
    pub fn new(range: impl RangeBounds<u64>, size: u64) -> Result<PageRange> {
        PageRange::parse(bytes(&range, size)?, size)
    }

    /// All pages of a region of `size` bytes, which is a size that a region has.
    #[inline]
    pub(crate) fn all(size: u64) -> PageRange {
        PageRange { first: 0, end: size.div_ceil(page_size()), whole: true }
    }

    /// Whether a range of bytes is written as `..`, which needs no parsing.
    #[inline]
    pub(crate) fn is_written_whole(range: &impl RangeBounds<u64>) -> bool {
        matches!((range.start_bound(), range.end_bound()), (Bound::Unbounded, Bound::Unbounded))
    }

    /// Parses the driver's `struct ashmem_pin`: `len` 0 means "to the end of the region".
    ///
    /// # Errors
    /// As [`PageRange::new`]; an offset at the very end with `len` 0 is an empty range.
    pub fn from_offset_len(offset: u64, len: u64, size: u64) -> Result<PageRange> {
        let end = if len == 0 {
            size
        } else {
            offset.checked_add(len).ok_or(Error::RangeOutOfBounds { start: offset, end: u64::MAX, size })?
        };
        PageRange::parse((offset, end), size)
    }

    #[inline]
    fn parse((start, end): (u64, u64), size: u64) -> Result<PageRange> {
        if size == 0 || size > SIZE_MAX {
            return Err(Error::InvalidSize { size, max: SIZE_MAX });
        }
        let page = page_size();
        let limit = page_align(size);
        let end_page = if end == size { limit } else { end };
        if start > limit || end_page > limit {
            return Err(Error::RangeOutOfBounds { start, end, size });
        }
        if start % page != 0 || end_page % page != 0 {
            return Err(Error::RangeMisaligned { start, end, page_size: page });
        }
        if start >= end_page {
            return Err(Error::RangeEmpty { start, end });
        }
        Ok(PageRange { first: start / page, end: end_page / page, whole: start == 0 && end_page == limit })
    }

    /// Index of the first page.
    #[must_use]
    #[inline]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Index one past the last page.
    #[must_use]
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many pages; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    #[inline]
    pub fn len(&self) -> u64 {
        self.end - self.first
    }

    /// Whether this is every page of the region.
    #[must_use]
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

/// The byte range as (start, end), with open ends filled in.
#[inline]
pub(crate) fn bytes(range: &impl RangeBounds<u64>, size: u64) -> Result<(u64, u64)> {
    let overflow = || Error::RangeOutOfBounds { start: u64::MAX, end: u64::MAX, size };
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.checked_add(1).ok_or_else(overflow)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1).ok_or_else(overflow)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => size,
    };
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_region_in_every_spelling() {
        let p = page_size();
        let size = 3 * p + 1;
        for range in [
            PageRange::new(.., size),
            PageRange::new(0..size, size),
            PageRange::new(0..4 * p, size),
            PageRange::new(0..=size - 1, size),
            PageRange::from_offset_len(0, 0, size),
            PageRange::from_offset_len(0, 4 * p, size),
        ] {
            let range = range.expect("a valid spelling");
            assert!(range.is_whole());
            assert_eq!((range.first(), range.end(), range.len()), (0, 4, 4));
        }
    }

    #[test]
    fn bad_ranges_are_told_apart() {
        let p = page_size();
        let size = 4 * p;
        assert!(matches!(PageRange::new(p..p, size), Err(Error::RangeEmpty { .. })));
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = PageRange::new(2 * p..p, size);
        assert!(matches!(reversed, Err(Error::RangeEmpty { .. })));
        assert!(matches!(PageRange::new(1..p, size), Err(Error::RangeMisaligned { .. })));
        assert!(matches!(PageRange::new(0..p + 1, size), Err(Error::RangeMisaligned { .. })));
        assert!(matches!(PageRange::new(0..5 * p, size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(PageRange::new(0..=u64::MAX, size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(PageRange::from_offset_len(p, u64::MAX, size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(PageRange::from_offset_len(4 * p, 0, size), Err(Error::RangeEmpty { .. })));
    }

    #[test]
    fn sizes_that_no_region_has() {
        for size in [0, SIZE_MAX + 1, u64::MAX] {
            assert!(matches!(PageRange::new(.., size), Err(Error::InvalidSize { .. })));
            assert!(matches!(PageRange::new(0..4096, size), Err(Error::InvalidSize { .. })));
            assert!(matches!(PageRange::from_offset_len(0, 0, size), Err(Error::InvalidSize { .. })));
        }
    }

    #[test]
    fn a_part_is_not_the_whole() {
        let p = page_size();
        let range = PageRange::new(p.., 4 * p).expect("a valid range");
        assert_eq!((range.first(), range.end(), range.is_whole()), (1, 4, false));
    }
}
