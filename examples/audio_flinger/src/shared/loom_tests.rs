//! Moving positions, sleeping and waking, and reading timestamps under every interleaving that matters: `ci/loom`.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::positions::{ASLEEP, Cursor, Pair, Side, Words};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::timestamp::{Timestamp, TimestampWords};

/// A track in ordinary memory, with futexes made of condition variables. Nobody wakes by itself: a wake that is lost is a deadlock,
/// which loom reports.
struct Track {
    positions: [AtomicU64; 2],
    bells: [AtomicU32; 2],
    sleepers: [(Mutex<()>, Condvar); 2],
    frames: Vec<AtomicU64>,
}

impl Track {
    fn new(capacity: usize) -> Arc<Track> {
        Arc::new(Track {
            positions: [AtomicU64::new(0), AtomicU64::new(0)],
            bells: [AtomicU32::new(0), AtomicU32::new(0)],
            sleepers: std::array::from_fn(|_| (Mutex::new(()), Condvar::new())),
            frames: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn pair(&self, side: Side) -> Pair<'_> {
        let words = |i: usize| Words { position: &self.positions[i], bell: &self.bells[i] };
        let mine = side as usize;
        Pair { mine: words(mine), theirs: words(1 - mine) }
    }

    fn sleep(&self, side: Side, bell: &AtomicU32) {
        let (lock, woken) = &self.sleepers[side as usize];
        let guard = lock.lock().expect("no panic");
        // The kernel compares and queues in one step.
        if bell.load(Ordering::SeqCst) == ASLEEP {
            drop(woken.wait(guard).expect("no panic"));
        }
    }

    fn wake_peer_of(&self, side: Side) {
        let (lock, bell) = &self.sleepers[1 - side as usize];
        let _guard = lock.lock().expect("no panic");
        bell.notify_one();
    }

    /// Waits for a frame or for room for one, gives its place to `access`, and commits it.
    fn step(&self, side: Side, cursor: &mut Cursor, access: impl FnOnce(&AtomicU64)) {
        let pair = self.pair(side);
        while cursor.see(pair.their_position()).expect("in range") == 0 {
            let mut seen = *cursor;
            pair.nap(|theirs| seen.see(theirs) == Ok(0), |bell| self.sleep(side, bell));
        }
        access(&self.frames[cursor.place().0 as usize]);
        if pair.commit(cursor.advance(1)) {
            self.wake_peer_of(side);
        }
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// No wake is lost, and frames are seen as they were committed.
#[test]
fn frames_go_through_and_nobody_sleeps_for_ever() {
    check(|| {
        let track = Track::new(1);
        let client = thread::spawn({
            let track = track.clone();
            move || {
                let mut cursor = Cursor::new(Side::Client, 1);
                for value in 1..=2 {
                    track.step(Side::Client, &mut cursor, |frame| frame.store(value, Ordering::Relaxed));
                }
            }
        });
        let mut cursor = Cursor::new(Side::Mixer, 1);
        for value in 1..=2 {
            track.step(Side::Mixer, &mut cursor, |frame| {
                assert_eq!(frame.load(Ordering::Relaxed), value, "old sound, or new sound too early");
            });
        }
        client.join().expect("no panic");
    });
}

/// Both halves of a timestamp are of one write.
#[test]
fn timestamps_are_whole() {
    check(|| {
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
        let of = |words: &[AtomicU64; 3], use_them: &mut dyn FnMut(TimestampWords<'_>)| {
            use_them(TimestampWords { sequence: &words[0], position: &words[1], nanoseconds: &words[2] });
        };
        let writer = thread::spawn({
            let words = words.clone();
            move || {
                for write in 0..2 {
                    let timestamp = Timestamp { position: write + 1, nanoseconds: (write + 1) * 10 };
                    of(&words, &mut |words| words.write(write, timestamp));
                }
            }
        });
        of(&words, &mut |words| {
            if let Some(timestamp) = words.read() {
                assert_eq!(timestamp.nanoseconds, timestamp.position * 10);
            }
        });
        writer.join().expect("no panic");
    });
}
