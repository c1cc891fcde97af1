//! Whether the oldest went first.

use super::member::Piece;

/// Bytes that were purged, and those of them that were not among the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Order {
    pub purged: u64,
    /// With P bytes purged: how many of those were not among the P bytes that were unpinned first.
    pub not_oldest: u64,
}

impl Order {
    /// Over all of some regions.
    pub fn of(regions: impl IntoIterator<Item = Piece>) -> Order {
        let mut regions: Vec<Piece> = regions.into_iter().collect();
        regions.sort_by_key(|piece| piece.unpinned);
        let purged = regions.iter().map(|piece| piece.purged).sum();
        let (mut left, mut oldest) = (purged, 0);
        for piece in &regions {
            // Of a region that is only in part among the oldest, what went counts as that part.
            oldest += piece.purged.min(left);
            left = left.saturating_sub(piece.size);
        }
        Order { purged, not_oldest: purged - oldest }
    }

    /// Of several, each by itself.
    pub fn sum(orders: impl IntoIterator<Item = Order>) -> Order {
        orders.into_iter().fold(Order::default(), |sum, one| Order {
            purged: sum.purged + one.purged,
            not_oldest: sum.not_oldest + one.not_oldest,
        })
    }

    /// The share of what was purged that was not among the oldest.
    pub fn fraction(self) -> f64 {
        if self.purged == 0 { 0.0 } else { self.not_oldest as f64 / self.purged as f64 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn piece(unpinned: u64, size: u64, purged: u64) -> Piece {
        Piece { unpinned: Duration::from_nanos(unpinned), size, purged, wrong: 0 }
    }

    fn order(regions: &[(u64, u64, u64)]) -> (u64, u64) {
        let order = Order::of(regions.iter().map(|&(unpinned, size, purged)| piece(unpinned, size, purged)));
        (order.purged, order.not_oldest)
    }

    #[test]
    fn younger_bytes_are_counted() {
        assert_eq!(order(&[]), (0, 0));
        assert_eq!(order(&[(1, 4, 4), (2, 4, 4), (3, 4, 0)]), (8, 0));
        assert_eq!(order(&[(3, 4, 0), (2, 4, 4), (1, 4, 4)]), (8, 0));
        assert_eq!(order(&[(1, 4, 0), (2, 4, 4), (3, 4, 0)]), (4, 4));
        assert_eq!(order(&[(1, 4, 4), (2, 4, 0), (3, 4, 4)]), (8, 4));
        assert_eq!(order(&[(1, 4, 4), (2, 4, 2), (3, 4, 1)]), (7, 1));
    }

    #[test]
    fn fractions() {
        assert!((Order { purged: 8, not_oldest: 2 }.fraction() - 0.25).abs() < 1e-12);
        assert!(Order::default().fraction().abs() < 1e-12);
        let sum = Order::sum([Order { purged: 1, not_oldest: 0 }, Order { purged: 3, not_oldest: 2 }]);
        assert_eq!(sum, Order { purged: 4, not_oldest: 2 });
    }

    /// Byte by byte: those of one region are ordered so that what went comes first.
    fn naive(regions: &[(u64, u64, u64)]) -> u64 {
        let mut bytes = Vec::new();
        for &(unpinned, size, purged) in regions {
            bytes.extend((0..size).map(|byte| (unpinned, byte >= purged)));
        }
        bytes.sort_unstable();
        let purged: u64 = regions.iter().map(|region| region.2).sum();
        bytes.iter().skip(purged as usize).filter(|(_, is_there)| !is_there).count() as u64
    }

    proptest! {
        #[test]
        fn it_is_what_counting_bytes_gives(
            sizes in proptest::collection::vec((0u64..20, 0u64..20), 0..12),
            seed in any::<u64>(),
        ) {
            // Unpin times are distinct: of equal ones nobody says which is older.
            let count = sizes.len() as u64;
            let regions: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(index, &(a, b))| ((index as u64 + seed % 97) * 7919 % 12_007 + count, a.max(b), a.min(b)))
                .collect();
            prop_assert_eq!(order(&regions).1, naive(&regions));
        }
    }
}
