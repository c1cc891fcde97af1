//! The page word: a generation and the states of sixteen pages.

/// Pages in one word.
pub(crate) const PAGES_PER_WORD: u64 = 16;

const LOW: u32 = 0x5555_5555;

/// Some of the sixteen pages of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Select(u32);

impl Select {
    pub(crate) const ALL: Select = Select(LOW);
    pub(crate) const NONE: Select = Select(0);

    /// Pages `first..end` of the word, `end` at most 16.
    #[inline]
    pub(crate) fn pages(first: u32, end: u32) -> Select {
        let below = |page: u32| if page >= 16 { LOW } else { LOW & ((1 << (2 * page)) - 1) };
        Select(below(end) & !below(first))
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    #[inline]
    pub(crate) fn without(self, page: u32) -> Select {
        Select(self.0 & !(1 << (2 * page)))
    }

    #[inline]
    pub(crate) fn with(self, page: u32) -> Select {
        Select(self.0 | 1 << (2 * page))
    }

    #[inline]
    pub(crate) fn or(self, other: Select) -> Select {
        Select(self.0 | other.0)
    }

    /// Those of these pages that are not among the others.
    #[inline]
    pub(crate) fn minus(self, other: Select) -> Select {
        Select(self.0 & !other.0)
    }

    #[inline]
    pub(crate) fn and(self, other: Select) -> Select {
        Select(self.0 & other.0)
    }

    /// The indices of the pages, lowest first.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(bit / 2)
        })
    }
}

/// The states of sixteen pages: PINNED 0, UNPINNED 1, PURGING 2, PURGED 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States(u32);

/// A page that was to be pinned is being purged right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BeingPurged;

impl States {
    pub(crate) const PINNED: States = States(0);
    pub(crate) const UNPINNED: States = States(LOW);

    #[inline]
    fn low(self) -> u32 {
        self.0 & LOW
    }

    #[inline]
    fn high(self) -> u32 {
        (self.0 >> 1) & LOW
    }

    #[inline]
    pub(crate) fn pinned(self) -> Select {
        Select(LOW & !(self.low() | self.high()))
    }

    #[inline]
    pub(crate) fn unpinned(self) -> Select {
        Select(self.low() & !self.high())
    }

    #[inline]
    pub(crate) fn purging(self) -> Select {
        Select(self.high() & !self.low())
    }

    #[inline]
    pub(crate) fn purged(self) -> Select {
        Select(self.high() & self.low())
    }

    /// The selected pages pinned, and whether one of them was purged.
    #[inline]
    pub(crate) fn pin(self, select: Select) -> Result<(States, bool), BeingPurged> {
        if !self.purging().and(select).is_empty() {
            return Err(BeingPurged);
        }
        let purged = !self.purged().and(select).is_empty();
        Ok((States(self.0 & !(select.0 | select.0 << 1)), purged))
    }

    /// The selected pages unpinned as far as they were pinned, and which those were.
    #[inline]
    pub(crate) fn unpin(self, select: Select) -> (States, Select) {
        let changed = self.pinned().and(select);
        (States(self.0 | changed.0), changed)
    }

    /// Those of the selected pages that are PURGED made UNPINNED, and which those are.
    #[inline]
    pub(crate) fn accept(self, select: Select) -> Result<(States, Select), BeingPurged> {
        if !self.purging().and(select).is_empty() {
            return Err(BeingPurged);
        }
        let purged = self.purged().and(select);
        Ok((States(self.0 & !(purged.0 << 1)), purged))
    }

    /// The selected pages PURGED, whatever they were.
    #[inline]
    pub(crate) fn lose(self, select: Select) -> States {
        States(self.0 | select.0 | select.0 << 1)
    }

    /// The selected pages, which must be UNPINNED, made PURGING.
    #[inline]
    pub(crate) fn claim(self, select: Select) -> States {
        debug_assert_eq!(self.unpinned().and(select), select);
        States(self.0 ^ (select.0 | select.0 << 1))
    }

    /// Those of the selected pages that are PURGING made PURGED.
    #[inline]
    pub(crate) fn commit(self, select: Select) -> States {
        States(self.0 | self.purging().and(select).0)
    }

    /// Those of the selected pages that are PURGING made UNPINNED again.
    #[inline]
    pub(crate) fn release(self, select: Select) -> States {
        let back = self.purging().and(select).0;
        States(self.0 ^ (back | back << 1))
    }
}

/// One word of the control block: generation in the upper half, [`States`] in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageWord(pub(crate) u64);

impl PageWord {
    #[inline]
    pub(crate) fn new(generation: u32, states: States) -> PageWord {
        PageWord(u64::from(generation) << 32 | u64::from(states.0))
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn states(self) -> States {
        States(self.0 as u32)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        assert_eq!(Select::pages(0, 16), Select::ALL);
        assert_eq!(Select::pages(3, 3), Select::NONE);
        assert_eq!(Select::pages(14, 16).iter().collect::<Vec<_>>(), [14, 15]);
        assert_eq!(Select::pages(1, 4).without(2).iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(Select::pages(1, 4).len(), 3);
    }

    #[test]
    fn a_page_goes_round_the_states() {
        let page = Select::pages(5, 6);
        let (unpinned, changed) = States::PINNED.unpin(page);
        assert_eq!((changed, unpinned.unpinned()), (page, page));
        let purging = unpinned.claim(page);
        assert_eq!(purging.purging(), page);
        assert_eq!(purging.pin(page), Err(BeingPurged));
        assert!(purging.pin(Select::pages(0, 5)).is_ok());
        assert_eq!(purging.release(Select::ALL), unpinned);
        let purged = purging.commit(Select::ALL);
        assert_eq!(purged.purged(), page);
        assert_eq!(purged.unpin(Select::ALL).0.purged(), page, "unpinning does not forget a purge");
        assert_eq!(purged.pin(Select::ALL), Ok((States::PINNED, true)));
        assert_eq!(unpinned.pin(Select::ALL), Ok((States::PINNED, false)));
    }

    #[test]
    fn words_keep_their_parts() {
        let word = PageWord::new(u32::MAX, States::UNPINNED);
        assert_eq!((word.generation(), word.states()), (u32::MAX, States::UNPINNED));
        assert_eq!(PageWord(0).states(), States::PINNED);
    }
}
