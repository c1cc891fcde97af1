//! What client and mixer agree on: two positions, and who sleeps.
//!
//! Knows no files and no system calls, so loom runs it as it is. `ashmem::Ring` works alike; a track has more in its control block
//! than a ring, and static tracks have no ring at all.

use super::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What a bell says while its owner is awake.
pub(crate) const AWAKE: u32 = 0;
/// What it says while its owner sleeps, or is about to: who moves a position has to ring it.
pub(crate) const ASLEEP: u32 = 1;

/// Who of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Writes sound.
    Client,
    /// Reads it.
    Mixer,
}

/// The words of one side: the position is its own, the bell is written by both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// Frames written or read since the track was made.
    pub(crate) position: &'a AtomicU64,
    pub(crate) bell: &'a AtomicU32,
}

/// The words of both, from the side of one.
///
/// Behind the store of a position, and behind that of a bell, is a full fence, and then the load of the other's word. So of two that
/// store at once, one at least sees what the other stored: the sleeper sees the position and does not sleep, or the other sees that it
/// sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) mine: Words<'a>,
    pub(crate) theirs: Words<'a>,
}

impl Pair<'_> {
    /// Moves this side's position. True when the peer sleeps, and is to be woken.
    #[must_use]
    pub(crate) fn commit(&self, position: u64) -> bool {
        // Release: what was written before, the peer sees with the position.
        self.mine.position.store(position, Ordering::Release);
        self.wake()
    }

    /// Takes the peer's bell down, after something was stored that the peer looks at. True when it was up, so that the peer is to be
    /// woken.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.theirs.bell.load(Ordering::Relaxed) == ASLEEP
            && self.theirs.bell.swap(AWAKE, Ordering::AcqRel) == ASLEEP
    }

    /// Where the peer is. What it wrote before that is seen.
    pub(crate) fn their_position(&self) -> u64 {
        self.theirs.position.load(Ordering::Acquire)
    }

    /// Sleeps while `is_idle` says so of the peer's position, until woken or until `sleep` returns for another reason.
    ///
    /// `sleep` is given this side's bell, and must not sleep when that is not [`ASLEEP`].
    pub(crate) fn nap(&self, is_idle: impl FnOnce(u64) -> bool, sleep: impl FnOnce(&AtomicU32)) {
        self.mine.bell.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Only now: a position that was moved before the bell was up did not ring it.
        if is_idle(self.their_position()) {
            sleep(self.mine.bell);
        }
        self.mine.bell.store(AWAKE, Ordering::Relaxed);
    }
}

/// What is wrong with a peer's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// More frames between the two than there is room for, or fewer than none.
    OutOfRange,
    /// It was further once.
    WentBack,
}

/// One side's own record of both positions. The peer cannot move this side's, and of the peer's nothing gets in that was not
/// checked: the frames between the two are never more than the capacity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    side: Side,
    /// Frames.
    capacity: u64,
    mine: u64,
    /// As it was when last looked at; the peer may have moved on.
    theirs: u64,
}

impl Cursor {
    /// At the start of a new track.
    pub(crate) fn new(side: Side, capacity: u64) -> Cursor {
        Cursor { side, capacity, mine: 0, theirs: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.mine
    }

    /// Frames that the peer left to this side, as far as it knows: to write for a client, to read for a mixer.
    pub(crate) fn available(&self) -> u64 {
        match self.side {
            Side::Client => self.capacity - self.mine.wrapping_sub(self.theirs),
            Side::Mixer => self.theirs.wrapping_sub(self.mine),
        }
    }

    /// Takes note of the peer's position, which may be anything. After an error everything is as it was.
    pub(crate) fn see(&mut self, theirs: u64) -> Result<u64, Lie> {
        let between = match self.side {
            Side::Client => self.mine.wrapping_sub(theirs),
            Side::Mixer => theirs.wrapping_sub(self.mine),
        };
        if between > self.capacity {
            return Err(Lie::OutOfRange);
        }
        // Both are in range, so they are less than half of all values apart.
        if (theirs.wrapping_sub(self.theirs) as i64) < 0 {
            return Err(Lie::WentBack);
        }
        self.theirs = theirs;
        Ok(self.available())
    }

    /// Moves this side's position by `frames`, at most those available, and returns it.
    pub(crate) fn advance(&mut self, frames: u64) -> u64 {
        self.mine = self.mine.wrapping_add(frames.min(self.available()));
        self.mine
    }

    /// The place of this side's next frame, and how many follow before the ring's end.
    pub(crate) fn place(&self) -> (u64, u64) {
        let place = self.mine % self.capacity;
        (place, self.capacity - place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_out_of_range_or_backwards_change_nothing() {
        for side in [Side::Client, Side::Mixer] {
            let mut cursor = Cursor::new(side, 48);
            // The mixer has seen 10 frames; the client has written 48 of which 10 were read.
            if side == Side::Client {
                cursor.advance(48);
            }
            cursor.see(10).unwrap();
            let available = cursor.available();
            for (lie, error) in [
                (9, Lie::WentBack),
                (49, Lie::OutOfRange),
                (u64::MAX, Lie::OutOfRange),
                (1 << 63, Lie::OutOfRange),
            ] {
                assert_eq!(cursor.see(lie), Err(error), "{side:?} {lie}");
                assert_eq!(cursor.available(), available);
            }
            assert!(cursor.see(48).is_ok());
        }
    }

    proptest! {
        /// Against a queue: what one has the other has not, and frames come out in the order in which they went in.
        #[test]
        fn a_ring_is_a_queue(capacity in 1u64..50, steps in prop::collection::vec((any::<bool>(), 0u64..60), 1..200)) {
            let (mut client, mut mixer) = (Cursor::new(Side::Client, capacity), Cursor::new(Side::Mixer, capacity));
            let mut ring = vec![0u64; capacity as usize];
            let (mut written, mut read) = (0, 0);
            for (writes, frames) in steps {
                if writes {
                    client.see(mixer.position()).unwrap();
                    for _ in 0..frames.min(client.available()) {
                        ring[client.place().0 as usize] = written;
                        client.advance(1);
                        written += 1;
                    }
                } else {
                    mixer.see(client.position()).unwrap();
                    for _ in 0..frames.min(mixer.available()) {
                        prop_assert_eq!(ring[mixer.place().0 as usize], read);
                        mixer.advance(1);
                        read += 1;
                    }
                }
                prop_assert_eq!((client.position(), mixer.position()), (written, read));
                prop_assert!(written - read <= capacity);
            }
        }

        /// Whatever words come, in whatever order: an answer or a typed error, and never more than the capacity.
        #[test]
        fn random_positions_do_no_harm(capacity in 1u64..1000, words in prop::collection::vec(any::<u64>(), 1..50)) {
            for side in [Side::Client, Side::Mixer] {
                let mut cursor = Cursor::new(side, capacity);
                for word in &words {
                    for theirs in [*word, cursor.position().wrapping_add(word % (2 * capacity))] {
                        let _ = cursor.see(theirs);
                        prop_assert!(cursor.available() <= capacity);
                        cursor.advance(word % capacity);
                        let (place, left) = cursor.place();
                        prop_assert!(place < capacity && left == capacity - place);
                    }
                }
            }
        }
    }
}
