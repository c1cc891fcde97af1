//! Ranges of bytes to ranges of pages, against arithmetic that cannot overflow.
#![no_main]

use std::ops::Bound;

use ashmem::{Error, PageRange, page_size};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// The largest region in bytes.
const SIZE_MAX: u64 = 1 << 56;

/// Numbers near those where something changes, and any others.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Pages { count: u16, off_by: i8 },
    BesideSize(i16),
    FromTheTop(u16),
    Any(u64),
}

impl Number {
    fn value(self, size: u64) -> u64 {
        match self {
            Number::Pages { count, off_by } => {
                (u64::from(count) * page_size()).saturating_add_signed(i64::from(off_by))
            }
            Number::BesideSize(off_by) => size.saturating_add_signed(i64::from(off_by)),
            Number::FromTheTop(below) => u64::MAX - u64::from(below),
            Number::Any(value) => value,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    size: Number,
    start: Bound<Number>,
    end: Bound<Number>,
    offset: Number,
    len: Number,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Pages { first: u128, end: u128, whole: bool },
    Empty,
    OutOfBounds,
    Misaligned,
}

/// What both constructors have to answer for the bytes `start..end`, `None` for both ends open.
fn reference(range: Option<(u128, u128)>, size: u64) -> Answer {
    let (page, size) = (u128::from(page_size()), u128::from(size));
    let limit = size.div_ceil(page) * page;
    let (start, end) = range.unwrap_or((0, size));
    let end = if end == size { limit } else { end };
    if start > limit || end > limit {
        Answer::OutOfBounds
    } else if start % page != 0 || end % page != 0 {
        Answer::Misaligned
    } else if start >= end {
        Answer::Empty
    } else {
        Answer::Pages { first: start / page, end: end / page, whole: start == 0 && end == limit }
    }
}

fn answer(parsed: ashmem::Result<PageRange>) -> Answer {
    match parsed {
        Ok(pages) => {
            let (first, end) = (u128::from(pages.first()), u128::from(pages.end()));
            assert_eq!(u128::from(pages.len()), end - first);
            Answer::Pages { first, end, whole: pages.is_whole() }
        }
        Err(Error::RangeEmpty { .. }) => Answer::Empty,
        Err(Error::RangeOutOfBounds { .. }) => Answer::OutOfBounds,
        Err(Error::RangeMisaligned { .. }) => Answer::Misaligned,
        Err(other) => panic!("an error that the documentation does not name: {other}"),
    }
}

fuzz_target!(|input: Input| {
    let size = input.size.value(0);
    let bound = |bound: Bound<Number>| bound.map(|number| number.value(size));
    let (start, end) = (bound(input.start), bound(input.end));
    let (offset, len) = (input.offset.value(size), input.len.value(size));

    let by_bounds = PageRange::new((start, end), size);
    let by_length = PageRange::from_offset_len(offset, len, size);
    if size == 0 || size > SIZE_MAX {
        // No region has this size: any error will do.
        assert!(by_bounds.is_err() && by_length.is_err(), "pages of a region of {size} bytes");
        return;
    }

    let first = match start {
        Bound::Included(first) => u128::from(first),
        Bound::Excluded(before) => u128::from(before) + 1,
        Bound::Unbounded => 0,
    };
    let last = match end {
        Bound::Included(last) => u128::from(last) + 1,
        Bound::Excluded(end) => u128::from(end),
        Bound::Unbounded => u128::from(size),
    };
    let open = start == Bound::Unbounded && end == Bound::Unbounded;
    assert_eq!(answer(by_bounds), reference((!open).then_some((first, last)), size));

    let end = if len == 0 { u128::from(size) } else { u128::from(offset) + u128::from(len) };
    assert_eq!(answer(by_length), reference(Some((u128::from(offset), end)), size));
});
