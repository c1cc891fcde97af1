//! What the two ends agree on: two positions, and who sleeps.
//!
//! Knows no files and no system calls, so loom runs it as it is.

use crate::sync::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// What an end's bell says while its owner is awake.
pub(crate) const AWAKE: u32 = 0;
/// What it says while its owner sleeps, or is about to: who commits something has to ring it.
pub(crate) const ASLEEP: u32 = 1;

/// Which end of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Producer,
    Consumer,
}

impl Side {
    pub(crate) fn peer(self) -> Side {
        match self {
            Side::Producer => Side::Consumer,
            Side::Consumer => Side::Producer,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Producer => "producer",
            Side::Consumer => "consumer",
        }
    }
}

/// The words that one end writes, and the other reads. Its bell is written by both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// Bytes committed since the ring was made.
    pub(crate) position: &'a AtomicU64,
    /// The peer's position that the sleeper waits for.
    pub(crate) wanted: &'a AtomicU64,
    pub(crate) bell: &'a AtomicU32,
}

/// The words of both ends, from the side of one.
///
/// The store of a position and the load of the bell behind it, and the store of a bell and the load of the position behind
/// it, are sequentially consistent: of two ends that do so at once, one at least sees what the other stored. So either the
/// sleeper sees the position and does not sleep, or the other sees that it sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) mine: Words<'a>,
    pub(crate) theirs: Words<'a>,
}

impl Pair<'_> {
    /// Moves this end's position. True when the peer's bell is to be rung: it slept, and waited for no more than this.
    #[must_use]
    #[inline]
    pub(crate) fn commit(&self, position: u64) -> bool {
        self.mine.position.store(position, SeqCst);
        self.theirs.bell.load(SeqCst) == ASLEEP && self.rings(position)
    }

    #[cold]
    fn rings(&self, position: u64) -> bool {
        reached(position, self.theirs.wanted.load(SeqCst)) && self.wake()
    }

    /// Takes the peer's bell down. True when it was up, so that the peer is to be woken.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.theirs.bell.swap(AWAKE, SeqCst) == ASLEEP
    }

    /// Sleeps until `len` bytes are available, or until `sleep` returns for another reason, unless they are already.
    ///
    /// `sleep` is given this end's bell, and must not sleep when that is not [`ASLEEP`]. It says whether the peer woke it, having
    /// taken the bell down.
    pub(crate) fn nap(
        &self,
        cursor: &mut Cursor,
        len: u64,
        sleep: impl FnOnce(&AtomicU32) -> bool,
    ) -> Result<(), OutOfRange> {
        self.mine.wanted.store(cursor.wanted(len), SeqCst);
        self.mine.bell.store(ASLEEP, SeqCst);
        // Only now: what was committed before the bell was up did not ring it.
        let seen = cursor.see(self.theirs.position.load(SeqCst));
        let woken = seen.is_ok() && cursor.available() < len && sleep(self.mine.bell);
        if !woken {
            self.mine.bell.store(AWAKE, SeqCst);
        }
        seen
    }
}

/// Whether a position is `wanted`, or behind it. Positions wrap, and are never half of all values apart.
fn reached(position: u64, wanted: u64) -> bool {
    position.wrapping_sub(wanted) as i64 >= 0
}

/// A peer's position that no honest peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// One end's own record of both positions. The peer cannot move this end's, and of the peer's nothing gets in that was not
/// checked: the bytes between the two are never more than the capacity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    side: Side,
    capacity: u64,
    mine: u64,
    /// As it was when last looked at; the peer may have moved on.
    theirs: u64,
}

impl Cursor {
    /// `capacity` in bytes is a power of two.
    pub(crate) fn new(side: Side, capacity: u64, mine: u64, theirs: u64) -> Result<Cursor, OutOfRange> {
        // With the peer's position at this end's, either side is in range.
        let mut cursor = Cursor { side, capacity, mine, theirs: mine };
        cursor.see(theirs)?;
        Ok(cursor)
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.mine
    }

    /// Bytes that the peer left to this end, as far as it knows: to write for a producer, to read for a consumer.
    #[inline]
    pub(crate) fn available(&self) -> u64 {
        match self.side {
            Side::Producer => self.capacity - self.mine.wrapping_sub(self.theirs),
            Side::Consumer => self.theirs.wrapping_sub(self.mine),
        }
    }

    /// Takes note of the peer's position, which may be anything.
    #[inline]
    pub(crate) fn see(&mut self, theirs: u64) -> Result<(), OutOfRange> {
        let used = match self.side {
            Side::Producer => self.mine.wrapping_sub(theirs),
            Side::Consumer => theirs.wrapping_sub(self.mine),
        };
        if used > self.capacity {
            return Err(OutOfRange);
        }
        self.theirs = theirs;
        Ok(())
    }

    /// Moves this end's position by `len` bytes, at most those available, and returns it.
    #[inline]
    pub(crate) fn advance(&mut self, len: u64) -> u64 {
        self.mine = self.mine.wrapping_add(len.min(self.available()));
        self.mine
    }

    /// The peer's position from which on `len` bytes are available; `len` is at most the capacity.
    pub(crate) fn wanted(&self, len: u64) -> u64 {
        let end = self.mine.wrapping_add(len);
        match self.side {
            Side::Producer => end.wrapping_sub(self.capacity),
            Side::Consumer => end,
        }
    }

    /// The place in the data of the byte `offset` bytes behind this end's position, and how many follow before the data's end.
    #[inline]
    pub(crate) fn place(&self, offset: u64) -> (u64, u64) {
        let place = self.mine.wrapping_add(offset) & (self.capacity - 1);
        (place, self.capacity - place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_the_other_has_not() {
        for (written, read) in
            [(0, 0), (5, 0), (64, 0), (70, 64), (u64::MAX, u64::MAX - 9), (3, u64::MAX - 2)]
        {
            let producer = Cursor::new(Side::Producer, 64, written, read).unwrap();
            let consumer = Cursor::new(Side::Consumer, 64, read, written).unwrap();
            assert_eq!(producer.available() + consumer.available(), 64, "{written} {read}");
        }
    }

    #[test]
    fn positions_out_of_range_change_nothing() {
        for (side, ahead, behind) in [(Side::Producer, 0, 65), (Side::Consumer, 65, 0)] {
            for mine in [0, 1000, u64::MAX - 3] {
                let mut cursor = Cursor::new(side, 64, mine, mine).unwrap();
                let before = cursor.available();
                let beyond = mine.wrapping_add(ahead).wrapping_sub(behind);
                let wrong_way = mine.wrapping_add(behind.min(1)).wrapping_sub(ahead.min(1));
                for theirs in [beyond, wrong_way, mine.wrapping_add(1 << 63), mine ^ 1 << 62] {
                    assert_eq!(cursor.see(theirs), Err(OutOfRange));
                    assert!(Cursor::new(side, 64, mine, theirs).is_err());
                }
                assert_eq!(cursor.available(), before);
            }
        }
    }

    #[test]
    fn what_is_wanted_is_enough_and_not_more() {
        for mine in [0, 100, u64::MAX - 3] {
            let mut producer = Cursor::new(Side::Producer, 64, mine, mine.wrapping_sub(60)).unwrap();
            let wanted = producer.wanted(10);
            producer.see(wanted.wrapping_sub(1)).unwrap();
            assert_eq!(producer.available(), 9);
            producer.see(wanted).unwrap();
            assert_eq!(producer.available(), 10);
            let mut consumer = Cursor::new(Side::Consumer, 64, mine, mine).unwrap();
            consumer.see(consumer.wanted(10)).unwrap();
            assert_eq!(consumer.available(), 10);
        }
    }

    #[test]
    fn the_peer_is_woken_when_it_sleeps_and_has_enough() {
        let words = [const { AtomicU64::new(0) }; 4];
        let bells = [const { AtomicU32::new(0) }; 2];
        let end = |i: usize| Words { position: &words[i], wanted: &words[2 + i], bell: &bells[i] };
        let producer = Pair { mine: end(0), theirs: end(1) };
        let consumer = Pair { mine: end(1), theirs: end(0) };
        assert!(!producer.commit(10), "it does not sleep");
        let mut cursor = Cursor::new(Side::Consumer, 64, 0, 10).unwrap();
        let asleep = |bell: &AtomicU32| {
            assert_eq!(bell.load(SeqCst), ASLEEP);
            assert!(!producer.commit(29), "it waits for more");
            assert!(producer.commit(30));
            assert!(!producer.commit(40), "it was woken");
            true
        };
        consumer.nap(&mut cursor, 30, asleep).unwrap();
        assert!(!producer.commit(60), "it is awake");
        consumer.nap(&mut cursor, 60, |_| panic!("there is enough")).unwrap();
        let nobody = |_: &AtomicU32| false;
        consumer.nap(&mut cursor, 64, nobody).unwrap();
        assert!(!producer.commit(64), "it went on by itself");
    }
}
