//! What is free in a heap: a value that knows no heap and no locks.

use std::collections::{BTreeMap, BTreeSet};

/// All that is handed out starts at a multiple of it and takes up one. AOSP: `kMemoryAlign`.
pub(super) const GRANULE: u64 = 32;

/// A part of the heap, in bytes; offset and length are multiples of [`GRANULE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Run {
    /// What is left of it from its first multiple of `align` on; 0 when there is none.
    fn room(self, align: u64) -> u64 {
        let start = self.offset.checked_next_multiple_of(align);
        start.map_or(0, |start| (self.offset + self.len).saturating_sub(start))
    }
}

/// The free runs of a heap. No two of them touch: neighbours are one run.
///
/// Taking and giving back are a handful of operations on maps of the free runs, so O(log n). There is one map more for each
/// alignment that was ever asked for, at most one for each power of two up to the heap's size; the first time, that map is
/// made of all free runs. AOSP's `SimpleBestFitAllocator` walks through a list of all runs.
#[derive(Clone, Debug)]
pub(super) struct FreeRuns {
    /// Lengths by offset.
    by_offset: BTreeMap<u64, u64>,
    /// For each alignment the room of every run that has any, with the run's offset. That of [`GRANULE`] has all runs.
    by_room: BTreeMap<u64, BTreeSet<(u64, u64)>>,
    /// Sum of all lengths.
    free: u64,
    #[cfg(test)]
    operations: u64,
}

impl FreeRuns {
    /// All of a heap of `size` bytes. What is behind its last whole granule is never handed out.
    pub(super) fn new(size: u64) -> FreeRuns {
        let mut runs = FreeRuns {
            by_offset: BTreeMap::new(),
            by_room: BTreeMap::from([(GRANULE, BTreeSet::new())]),
            free: 0,
            #[cfg(test)]
            operations: 0,
        };
        runs.insert(Run { offset: 0, len: size - size % GRANULE });
        runs
    }

    /// Takes `size` bytes, rounded up to whole granules, from the first multiple of `align` in the run that has the least room
    /// for them, and of several the one with the lowest offset. `align` is a power of two of at least [`GRANULE`].
    ///
    /// The error is the largest size that could be had with this alignment.
    pub(super) fn take(&mut self, size: u64, align: u64) -> Result<Run, u64> {
        self.count(1);
        let by_offset = &self.by_offset;
        let rooms = self.by_room.entry(align).or_insert_with(|| {
            let room = |(&offset, &len): (&u64, &u64)| (Run { offset, len }.room(align), offset);
            by_offset.iter().map(room).filter(|(room, _)| *room > 0).collect()
        });
        let largest = rooms.last().map_or(0, |(room, _)| *room);
        let Some(len) = size.checked_next_multiple_of(GRANULE) else { return Err(largest) };
        let Some(&(room, offset)) = rooms.range((len, 0)..).next() else { return Err(largest) };
        let free = self.remove(offset);
        let end = free.offset + free.len;
        let taken = Run { offset: end - room, len };
        self.insert(Run { offset, len: taken.offset - offset });
        self.insert(Run { offset: taken.offset + len, len: room - len });
        Ok(taken)
    }

    /// Gives back what was taken, and joins it with its neighbours.
    pub(super) fn give_back(&mut self, Run { offset, len }: Run) {
        self.count(2);
        let (mut start, mut end) = (offset, offset + len);
        if let Some((&before, &len)) = self.by_offset.range(..offset).next_back() {
            if before + len == start {
                start = self.remove(before).offset;
            }
        }
        if self.by_offset.contains_key(&end) {
            end += self.remove(end).len;
        }
        self.insert(Run { offset: start, len: end - start });
    }

    /// Sum of all free runs, in bytes.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// The largest size that could be taken, in bytes.
    pub(super) fn largest(&self) -> u64 {
        let all = self.by_room.get(&GRANULE);
        all.and_then(BTreeSet::last).map_or(0, |(len, _)| *len)
    }

    /// How many parts what is free is in.
    pub(super) fn count_runs(&self) -> usize {
        self.by_offset.len()
    }

    /// An empty run is none.
    fn insert(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        self.free += run.len;
        self.by_offset.insert(run.offset, run.len);
        for (&align, rooms) in &mut self.by_room {
            let room = run.room(align);
            if room > 0 {
                rooms.insert((room, run.offset));
            }
        }
        self.count(1 + self.by_room.len() as u64);
    }

    fn remove(&mut self, offset: u64) -> Run {
        let run = Run { offset, len: self.by_offset.remove(&offset).unwrap_or(0) };
        self.free -= run.len;
        for (&align, rooms) in &mut self.by_room {
            rooms.remove(&(run.room(align), offset));
        }
        self.count(1 + self.by_room.len() as u64);
        run
    }

    /// How many operations on maps there were.
    #[cfg(test)]
    fn count(&mut self, operations: u64) {
        self.operations += operations;
    }

    #[cfg(not(test))]
    #[inline]
    fn count(&mut self, _operations: u64) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;

    #[test]
    fn the_run_with_the_least_room_is_taken() {
        let mut runs = FreeRuns::new(10 * PAGE + 31);
        let taken: Vec<_> = (0..10).map(|_| runs.take(PAGE, GRANULE).unwrap()).collect();
        assert_eq!((runs.free(), runs.largest(), runs.take(1, GRANULE)), (0, 0, Err(0)));
        for n in [1, 2, 5, 7, 8, 9] {
            runs.give_back(taken[n]);
        }
        assert_eq!((runs.free(), runs.largest(), runs.count_runs()), (6 * PAGE, 3 * PAGE, 3));
        assert_eq!(runs.take(2 * PAGE, GRANULE).unwrap().offset, PAGE);
        assert_eq!(runs.take(1, GRANULE), Ok(Run { offset: 5 * PAGE, len: GRANULE }));
        // There the room is less now, but not at a page.
        assert_eq!(runs.take(33, PAGE), Ok(Run { offset: 7 * PAGE, len: 64 }));
        assert_eq!(runs.take(2 * PAGE + 1, PAGE), Err(2 * PAGE));
        assert_eq!(runs.take(3 * PAGE, GRANULE), Err(3 * PAGE - 64));
    }

    #[test]
    fn sizes_beyond_everything_are_refused() {
        let mut runs = FreeRuns::new(u64::MAX >> 1);
        let largest = runs.largest();
        assert_eq!(runs.take(u64::MAX, GRANULE), Err(largest));
        assert_eq!(runs.take(u64::MAX - 31, 1 << 62), Err(largest), "all of it starts at 0");
        assert_eq!(runs.take(GRANULE, 1 << 62).unwrap().offset, 0);
        assert_eq!(runs.take(GRANULE, 1 << 62).unwrap().offset, 1 << 62);
        assert_eq!(runs.take(GRANULE, 1 << 62), Err(0));
        assert_eq!(FreeRuns::new(31).take(1, GRANULE), Err(0));
    }

    /// Numbers that look random, always the same.
    fn shuffle(runs: &mut [Run]) {
        let mut state = 1_u64;
        for n in (1..runs.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            runs.swap(n, (state >> 33) as usize % (n + 1));
        }
    }

    #[test]
    fn each_of_100_000_is_taken_and_given_back_in_a_few_operations() {
        const COUNT: u64 = 100_000;
        let mut runs = FreeRuns::new(2 * COUNT * 96);
        runs.take(1, PAGE).map(|run| runs.give_back(run)).unwrap();
        // Two maps of rooms: one run to find, one to remove, and at most two to insert, or the other way round.
        let most = 2 + 3 * (1 + 2);
        let check = |runs: &mut FreeRuns| assert!(std::mem::take(&mut runs.operations) <= most);
        runs.operations = 0;
        let mut taken = Vec::new();
        for round in 0..3 {
            while taken.len() < COUNT as usize {
                let size = 1 + (taken.len() as u64 + round) % 96;
                taken.push(runs.take(size, GRANULE).unwrap());
                check(&mut runs);
            }
            shuffle(&mut taken);
            for run in taken.drain(COUNT as usize / 10..) {
                runs.give_back(run);
                check(&mut runs);
            }
            assert!(runs.count_runs() > 1000);
        }
        for run in taken {
            runs.give_back(run);
        }
        assert_eq!((runs.count_runs(), runs.free()), (1, runs.largest()));
    }

    /// The same, granule by granule.
    struct Model {
        is_free: Vec<bool>,
    }

    impl Model {
        fn runs(&self) -> Vec<Run> {
            let mut runs: Vec<Run> = Vec::new();
            for (n, _) in self.is_free.iter().enumerate().filter(|(_, is_free)| **is_free) {
                let offset = n as u64 * GRANULE;
                match runs.last_mut() {
                    Some(last) if last.offset + last.len == offset => last.len += GRANULE,
                    _ => runs.push(Run { offset, len: GRANULE }),
                }
            }
            runs
        }

        /// Where the best fit is, or how large the largest is.
        fn find(&self, size: u64, align: u64) -> Result<Run, u64> {
            let len = size.div_ceil(GRANULE) * GRANULE;
            let rooms = self.runs().into_iter().map(|run| {
                let start = run.offset.div_ceil(align) * align;
                ((run.offset + run.len).saturating_sub(start), start)
            });
            let rooms: Vec<_> = rooms.collect();
            let best = rooms.iter().filter(|(room, _)| *room >= len).min();
            let largest = rooms.iter().map(|(room, _)| *room).max().unwrap_or(0);
            best.map(|&(_, offset)| Run { offset, len }).ok_or(largest)
        }

        fn set(&mut self, Run { offset, len }: Run, is_free: bool) {
            let granules = (offset / GRANULE) as usize..((offset + len) / GRANULE) as usize;
            for granule in &mut self.is_free[granules] {
                assert_ne!(*granule, is_free, "handed out twice, or never");
                *granule = is_free;
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u64, u32),
        GiveBack(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_u64..700, 0_u32..6).prop_map(|(size, power)| Step::Take(size, power)),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        ]
    }

    proptest! {
        #[test]
        fn as_a_naive_map(granules in 1_u64..200, steps in prop::collection::vec(step(), 1..120)) {
            let mut runs = FreeRuns::new(granules * GRANULE + granules % GRANULE);
            let mut model = Model { is_free: vec![true; granules as usize] };
            let mut taken = Vec::new();
            for step in steps {
                match step {
                    Step::Take(size, power) => {
                        let align = GRANULE << power;
                        let answer = runs.take(size, align);
                        prop_assert_eq!(answer, model.find(size, align));
                        if let Ok(run) = answer {
                            prop_assert!(run.offset % align == 0 && run.len - size < GRANULE);
                            model.set(run, false);
                            taken.push(run);
                        }
                    }
                    Step::GiveBack(index) if !taken.is_empty() => {
                        let run = taken.swap_remove(index.index(taken.len()));
                        runs.give_back(run);
                        model.set(run, true);
                    }
                    Step::GiveBack(_) => {}
                }
                let expected = model.runs();
                let present: Vec<_> =
                    runs.by_offset.iter().map(|(&offset, &len)| Run { offset, len }).collect();
                prop_assert_eq!(&present, &expected, "neighbours are one run");
                prop_assert_eq!(runs.free(), expected.iter().map(|run| run.len).sum::<u64>());
                prop_assert_eq!(runs.largest(), expected.iter().map(|run| run.len).max().unwrap_or(0));
            }
            for run in taken {
                runs.give_back(run);
            }
            prop_assert_eq!(runs.take(granules * GRANULE, GRANULE), Ok(Run { offset: 0, len: granules * GRANULE }));
            prop_assert_eq!(runs.count_runs(), 0);
            prop_assert!(runs.by_room.values().all(BTreeSet::is_empty));
        }
    }
}
