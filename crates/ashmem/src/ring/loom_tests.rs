//! Committing, sleeping and waking under every interleaving that matters, by loom: `ci/loom`.

use loom::sync::atomic::AtomicU64 as Plain;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::positions::{ASLEEP, Cursor, Pair, Side, Words};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A ring in ordinary memory, of units instead of bytes, with futexes made of condition variables. Nobody wakes by itself:
/// a wake that is lost is a deadlock, which loom reports.
struct Ring {
    positions: [AtomicU64; 2],
    wanted: [AtomicU64; 2],
    bells: [AtomicU32; 2],
    sleepers: [(Mutex<()>, Condvar); 2],
    /// Accessed in no order of its own, as data is.
    data: Vec<Plain>,
}

impl Ring {
    fn new(capacity: usize) -> Arc<Ring> {
        Arc::new(Ring {
            positions: [AtomicU64::new(0), AtomicU64::new(0)],
            wanted: [AtomicU64::new(0), AtomicU64::new(0)],
            bells: [AtomicU32::new(0), AtomicU32::new(0)],
            sleepers: std::array::from_fn(|_| (Mutex::new(()), Condvar::new())),
            data: (0..capacity).map(|_| Plain::new(0)).collect(),
        })
    }

    fn end(ring: &Arc<Ring>, side: Side) -> End {
        let position = |side: Side| ring.positions[side as usize].load(Ordering::SeqCst);
        let cursor = Cursor::new(side, ring.data.len() as u64, position(side), position(side.peer()));
        End { ring: ring.clone(), side, cursor: cursor.expect("in range") }
    }

    fn pair(&self, side: Side) -> Pair<'_> {
        let words = |side: Side| Words {
            position: &self.positions[side as usize],
            wanted: &self.wanted[side as usize],
            bell: &self.bells[side as usize],
        };
        Pair { mine: words(side), theirs: words(side.peer()) }
    }

    fn sleep(&self, side: Side, bell: &AtomicU32) -> bool {
        let (lock, woken) = &self.sleepers[side as usize];
        let guard = lock.lock().expect("no panic");
        // The kernel compares and queues in one step.
        if bell.load(Ordering::SeqCst) != ASLEEP {
            return false;
        }
        drop(woken.wait(guard).expect("no panic"));
        true
    }
}

struct End {
    ring: Arc<Ring>,
    side: Side,
    cursor: Cursor,
}

impl End {
    fn wait(&mut self, len: u64) {
        let (side, ring) = (self.side, self.ring.clone());
        while self.cursor.available() < len {
            ring.pair(side).nap(&mut self.cursor, len, |bell| ring.sleep(side, bell)).expect("in range");
            let theirs = ring.pair(side).theirs.position.load(Ordering::SeqCst);
            self.cursor.see(theirs).expect("in range");
        }
    }

    fn commit(&mut self, len: u64) {
        let pair = self.ring.pair(self.side);
        if pair.commit(self.cursor.advance(len)) {
            self.wake();
        }
    }

    fn wake(&self) {
        let (lock, bell) = &self.ring.sleepers[self.side.peer() as usize];
        let _guard = lock.lock().expect("no panic");
        bell.notify_one();
    }

    fn unit(&self, offset: u64) -> &Plain {
        &self.ring.data[self.cursor.place(offset).0 as usize]
    }

    /// Writes `len` numbers from `first` on, and commits them at once.
    fn put(&mut self, first: u64, len: u64) {
        self.wait(len);
        for i in 0..len {
            self.unit(i).store(first + i, Ordering::Relaxed);
        }
        self.commit(len);
    }

    fn take(&mut self, first: u64, len: u64) {
        self.wait(len);
        for i in 0..len {
            assert_eq!(self.unit(i).load(Ordering::Relaxed), first + i, "old data, or new data too early");
        }
        self.commit(len);
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(test);
}

/// Each waits for the other, in turns: no wake is lost, and data is seen as it was committed.
#[test]
fn one_at_a_time() {
    check(|| {
        let ring = Ring::new(1);
        let (mut producer, mut consumer) =
            (Ring::end(&ring, Side::Producer), Ring::end(&ring, Side::Consumer));
        let writes = thread::spawn(move || (1..=3).for_each(|n| producer.put(n, 1)));
        (1..=3).for_each(|n| consumer.take(n, 1));
        writes.join().expect("no panic");
    });
}

/// A producer that waits for more than one commit of the consumer, and the other way round.
#[test]
fn several_at_a_time() {
    check(|| {
        let ring = Ring::new(2);
        let (mut producer, mut consumer) =
            (Ring::end(&ring, Side::Producer), Ring::end(&ring, Side::Consumer));
        let writes = thread::spawn(move || {
            producer.put(1, 2);
            producer.put(3, 2);
        });
        consumer.take(1, 1);
        consumer.take(2, 1);
        consumer.take(3, 2);
        writes.join().expect("no panic");
    });
}

/// A sleeper whose peer goes away is woken by it, as by [`Pair::wake`] when an end is dropped: or has seen that it is gone.
#[test]
fn a_sleeper_is_told_of_the_end() {
    check(|| {
        let ring = Ring::new(1);
        let gone = Arc::new(AtomicU32::new(0));
        let producer = Ring::end(&ring, Side::Producer);
        let goes = thread::spawn({
            let gone = gone.clone();
            move || {
                gone.store(1, Ordering::SeqCst);
                if producer.ring.pair(Side::Producer).wake() {
                    producer.wake();
                }
            }
        });
        let mut consumer = Ring::end(&ring, Side::Consumer);
        let sleep = |bell: &AtomicU32| {
            // Looks, as a sleeper does after its nap at the latest.
            gone.load(Ordering::SeqCst) == 0 && ring.sleep(Side::Consumer, bell)
        };
        ring.pair(Side::Consumer).nap(&mut consumer.cursor, 1, sleep).expect("in range");
        goes.join().expect("no panic");
        assert_eq!(gone.load(Ordering::SeqCst), 1);
    });
}

/// A producer dies between writing and committing; its successor goes on where the commits ended.
#[test]
fn a_successor_goes_on_from_the_last_commit() {
    check(|| {
        let ring = Ring::new(2);
        let (mut first, mut consumer) = (Ring::end(&ring, Side::Producer), Ring::end(&ring, Side::Consumer));
        let writes = thread::spawn({
            let ring = ring.clone();
            move || {
                first.put(1, 1);
                first.unit(0).store(99, Ordering::Relaxed);
                drop(first);
                Ring::end(&ring, Side::Producer).put(2, 2);
            }
        });
        consumer.take(1, 1);
        consumer.take(2, 2);
        writes.join().expect("no panic");
    });
}
