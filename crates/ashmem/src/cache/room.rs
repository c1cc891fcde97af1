//! Which pages no entry has.

use std::ops::Range;

/// The first page of a gap of at least `pages` pages between the ranges `taken` inside of `data`. The ranges are in any order,
/// and may overlap each other.
///
/// Of all gaps the smallest that will do, and of those the lowest. Entries of a cache come in few sizes, so mostly this is
/// the gap that one of the same size left, and large gaps stay whole for large entries. First fit would save nothing: all ranges
/// have to be sorted for it, too.
pub(super) fn best_fit(mut taken: Vec<Range<u64>>, data: Range<u64>, pages: u64) -> Option<u64> {
    taken.sort_unstable_by_key(|range| range.start);
    let mut best: Option<Range<u64>> = None;
    let mut free = data.start;
    let end = std::iter::once(data.end..data.end);
    for range in taken.into_iter().chain(end) {
        let gap = free..range.start.min(data.end);
        let len = gap.end.saturating_sub(gap.start);
        let better = best.as_ref().is_none_or(|best| len < best.end - best.start);
        if len >= pages && len > 0 && better {
            best = Some(gap);
        }
        free = free.max(range.end);
    }
    best.map(|gap| gap.start)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    fn fit(taken: &[Range<u64>], pages: u64) -> Option<u64> {
        best_fit(taken.to_vec(), 10..30, pages)
    }

    #[test]
    fn the_smallest_gap_that_will_do() {
        assert_eq!(fit(&[], 20), Some(10));
        assert_eq!(fit(&[], 21), None);
        // Gaps of 5, 2, 3 and 2.
        let taken = [20..22, 15..18, 25..28];
        assert_eq!(fit(&taken, 1), Some(18));
        assert_eq!(fit(&taken, 2), Some(18));
        assert_eq!(fit(&taken, 3), Some(22));
        assert_eq!(fit(&taken, 4), Some(10));
        assert_eq!(fit(&taken, 6), None);
        assert_eq!(fit(&[10..28], 2), Some(28));
        assert_eq!(fit(&[12..30], 2), Some(10));
        assert_eq!(fit(&[10..20, 20..30], 1), None);
    }

    #[test]
    fn overlaps_and_ranges_outside_do_no_harm() {
        assert_eq!(fit(&[12..25, 13..14, 12..20], 5), Some(25));
        assert_eq!(fit(&[12..25, 13..14, 12..20], 6), None);
        assert_eq!(fit(&[0..5, 40..50], 20), Some(10));
        assert_eq!(fit(&[0..u64::MAX], 1), None);
        assert_eq!(fit(&[u64::MAX..u64::MAX, 28..u64::MAX], 18), Some(10));
        assert_eq!(fit(&[], u64::MAX), None);
        assert_eq!(best_fit(Vec::new(), 5..5, 0), None);
    }
}
