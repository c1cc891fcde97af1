//! The area word: what holds for all pages of a region.

use super::States;
use crate::sync::{AtomicU64, Ordering};

const UNPINNED: u32 = 1;
const DIRTY: u32 = 1 << 1;
const PURGING: u32 = 1 << 2;
const ANY_PURGED: u32 = 1 << 3;
const TAKING: u32 = 1 << 4;
const EPOCH_UNIT: u32 = 1 << 5;

/// Generation in the upper half; base state, four flags and a count of purges in the lower, which is also
/// the futex that pins wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AreaWord(pub(crate) u64);

/// How to bring all pages into one base state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flip {
    /// They are in it.
    Already,
    /// One compare-and-swap to this word does it.
    To(AreaWord),
    /// The page words have to be looked at one by one.
    Walk,
}

impl AreaWord {
    fn with(generation: u32, flags: u32) -> AreaWord {
        AreaWord(u64::from(generation) << 32 | u64::from(flags))
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The half that changes with every begin and end of a purge.
    #[inline]
    pub(crate) fn futex(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn base(self) -> States {
        // Generation 0 is that of untouched page words, which say PINNED: only a forged word says otherwise.
        if self.futex() & UNPINNED != 0 && self.generation() != 0 { States::UNPINNED } else { States::PINNED }
    }

    #[inline]
    pub(crate) fn is_dirty(self) -> bool {
        self.futex() & DIRTY != 0
    }

    /// Whether all pages are unpinned, by the area word alone.
    #[inline]
    pub(crate) fn is_all_unpinned(self) -> bool {
        !self.is_dirty() && self.base() == States::UNPINNED
    }

    /// Whether all pages are pinned, by the area word alone.
    pub(crate) fn is_all_pinned(self) -> bool {
        !self.may_have_purged() && !self.is_dirty() && self.base() == States::PINNED
    }

    pub(crate) fn is_purging(self) -> bool {
        self.futex() & PURGING != 0
    }

    /// Whether the purger has looked for holds, and takes away what it claimed.
    pub(crate) fn is_taking(self) -> bool {
        self.futex() & TAKING != 0
    }

    pub(crate) fn dirty(self) -> AreaWord {
        AreaWord(self.0 | u64::from(DIRTY))
    }

    /// What a whole-region pin (`base` PINNED) or unpin (UNPINNED) has to do.
    #[inline]
    pub(crate) fn flip(self, base: States) -> Flip {
        let flags = self.futex();
        if flags & (PURGING | ANY_PURGED) != 0 {
            return Flip::Walk;
        }
        if flags & DIRTY == 0 && self.base() == base {
            return Flip::Already;
        }
        let target = if base == States::UNPINNED { UNPINNED } else { 0 };
        let flags = flags & !(UNPINNED | DIRTY) | target;
        // Untouched page words are all zeros, which is generation 0: it may be in force only while all is pinned.
        if self.is_dirty() || self.generation() == 0 {
            match self.generation().checked_add(1) {
                Some(next) => Flip::To(AreaWord::with(next, flags)),
                None => Flip::Walk,
            }
        } else {
            Flip::To(AreaWord::with(self.generation(), flags))
        }
    }

    /// The word after a walk that pinned every page, if nothing was purged since `self` was read.
    pub(crate) fn all_pinned(self) -> Option<AreaWord> {
        if self.is_purging() {
            return None;
        }
        let flags = self.futex() & !(UNPINNED | DIRTY | ANY_PURGED);
        Some(AreaWord::with(self.generation().checked_add(1)?, flags))
    }

    /// Whether a page may be purged, or is being purged.
    #[inline]
    pub(crate) fn may_have_purged(self) -> bool {
        self.futex() & (PURGING | ANY_PURGED) != 0
    }

    /// The word after a walk that left no page purged, if nothing was purged since `self` was read.
    pub(crate) fn none_purged(self) -> Option<AreaWord> {
        (!self.is_purging()).then_some(AreaWord(self.0 & !u64::from(ANY_PURGED)))
    }

    /// The word of a region that nobody purged so far, and whose page words say that everything is.
    pub(crate) fn all_lost(self) -> Option<AreaWord> {
        Some(AreaWord::with(self.generation().checked_add(1)?, DIRTY | ANY_PURGED))
    }

    /// The word while pages become purged that nobody takes away.
    pub(crate) fn some_lost(self) -> AreaWord {
        AreaWord::with(self.generation(), (self.futex() | DIRTY | ANY_PURGED).wrapping_add(EPOCH_UNIT))
    }

    pub(crate) fn purge_begun(self) -> AreaWord {
        let flags = (self.futex() & !TAKING | DIRTY | PURGING).wrapping_add(EPOCH_UNIT);
        AreaWord::with(self.generation(), flags)
    }

    pub(crate) fn purge_taking(self) -> AreaWord {
        AreaWord(self.0 | u64::from(TAKING))
    }

    pub(crate) fn purge_ended(self, any: bool) -> AreaWord {
        let any = if any { ANY_PURGED } else { 0 };
        let flags = (self.futex() & !(PURGING | TAKING) | any).wrapping_add(EPOCH_UNIT);
        AreaWord::with(self.generation(), flags)
    }
}

/// The area word of a region, and when the whole region was last unpinned.
#[derive(Clone, Copy)]
pub(crate) struct Area<'a> {
    pub(crate) word: &'a AtomicU64,
    pub(crate) stamp: &'a AtomicU64,
}

impl Area<'_> {
    #[inline]
    pub(crate) fn load(&self) -> AreaWord {
        AreaWord(self.word.load(Ordering::SeqCst))
    }

    /// Sequentially consistent, so that who unpins and then asks whether a reclaimer watches, and a reclaimer that stops
    /// watching and then looks once more, cannot miss each other.
    #[inline]
    pub(crate) fn swap(&self, old: AreaWord, new: AreaWord) -> bool {
        self.word.compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Pins the whole region, if that takes one step and nobody interferes.
    #[inline]
    pub(crate) fn pin_at_once(&self) -> bool {
        let area = self.load();
        match area.flip(States::PINNED) {
            Flip::Already => true,
            Flip::To(next) => self.swap(area, next),
            Flip::Walk => false,
        }
    }

    /// Unpins the whole region at the time `stamp`, if that takes one step and nobody interferes.
    #[inline]
    pub(crate) fn unpin_at_once(&self, stamp: u64) -> bool {
        let area = self.load();
        match area.flip(States::UNPINNED) {
            Flip::Already => true,
            Flip::To(next) => {
                // Before the state: a stamp that is too new does no harm, one that is too old gets fresh pages purged.
                self.stamp.store(stamp, Ordering::Relaxed);
                self.swap(area, next)
            }
            Flip::Walk => false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn zeros_mean_all_pinned_and_clean() {
        let zero = AreaWord(0);
        assert_eq!(zero.base(), States::PINNED);
        assert!(!zero.is_dirty() && !zero.is_purging());
        assert_eq!(zero.flip(States::PINNED), Flip::Already);
    }

    #[test]
    fn generation_grows_only_when_page_words_were_used() {
        let Flip::To(first) = AreaWord(0).flip(States::UNPINNED) else { panic!("one step") };
        assert_eq!((first.generation(), first.base()), (1, States::UNPINNED));
        let Flip::To(second) = first.flip(States::PINNED) else { panic!("one step") };
        assert_eq!(second.generation(), 1);
        let Flip::To(third) = second.dirty().flip(States::PINNED) else { panic!("one step") };
        assert_eq!((third.generation(), third.is_dirty()), (2, false));
    }

    #[test]
    fn generations_never_wrap() {
        let last = AreaWord::with(u32::MAX, 0);
        assert!(matches!(last.flip(States::UNPINNED), Flip::To(_)), "no page word counts yet");
        assert_eq!(last.dirty().flip(States::UNPINNED), Flip::Walk);
        assert_eq!(last.dirty().all_pinned(), None);
    }

    #[test]
    fn purging_freezes_generation_and_base() {
        let begun = AreaWord(7 << 32).purge_begun();
        assert!(begun.is_purging() && begun.is_dirty());
        assert_eq!(begun.flip(States::PINNED), Flip::Walk);
        assert_eq!(begun.all_pinned(), None);
        assert!(!begun.is_taking() && begun.purge_taking().is_taking());
        assert!(!begun.purge_taking().purge_begun().is_taking(), "another purge");
        let ended = begun.purge_taking().purge_ended(true);
        assert!(!ended.is_purging() && !ended.is_taking());
        assert_eq!(ended.flip(States::PINNED), Flip::Walk);
        assert_ne!(ended.futex(), begun.futex());
        let clean = ended.all_pinned().expect("not purging");
        assert_eq!((clean.generation(), clean.flip(States::PINNED)), (8, Flip::Already));
        assert_eq!(begun.purge_ended(false).generation(), 7);
    }

    #[test]
    fn the_epoch_wraps_inside_its_bits() {
        let full = AreaWord::with(3, u32::MAX);
        assert_eq!(full.purge_begun().generation(), 3);
        assert_eq!(full.purge_ended(false).generation(), 3);
        assert!(full.purge_begun().is_purging());
    }
}
