//! Claims, waiting, and peers that lie.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::end::NAP;
use super::positions::{ASLEEP, Side};
use super::{Consumer, PREFIX, Producer, Ring};
use crate::sys::fork;
use crate::sys::lock::{self, Kind};
use crate::sys::lock_file::LockFile;
use crate::{Error, Region, page_size};

impl Ring {
    /// Makes both ends start at a position, as after long use.
    pub(super) fn start_at(&self, position: u64) {
        let pair = self.memory().pair(Side::Producer).unwrap();
        pair.mine.position.store(position, Ordering::SeqCst);
        pair.theirs.position.store(position, Ordering::SeqCst);
    }

    fn again(&self) -> Ring {
        Ring::from_fd(self.as_fd().try_clone_to_owned().unwrap()).unwrap()
    }
}

const SOON: Option<Duration> = Some(Duration::from_secs(60));
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn ends(capacity: u64) -> (Ring, Producer, Consumer) {
    let ring = Ring::create("ring", capacity).unwrap();
    let (producer, consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    (ring, producer, consumer)
}

#[test]
fn ends_can_be_used_by_any_thread() {
    fn any_thread<T: Send + Sync>() {}
    any_thread::<Ring>();
    any_thread::<Producer>();
    any_thread::<Consumer>();
}

#[test]
fn capacities_are_rounded_up() {
    let page = page_size();
    for (asked, given) in [(1, page), (page, page), (page + 1, 2 * page), (100 * page, 128 * page)] {
        assert_eq!(Ring::create("ring", asked).unwrap().capacity(), given);
    }
    for size in [0, (1 << 39) + 1, u64::MAX] {
        assert!(matches!(Ring::create("ring", size), Err(Error::InvalidSize { .. })));
    }
}

#[test]
fn an_end_has_one_holder() {
    let (ring, producer, consumer) = ends(1);
    let other = ring.again();
    assert!(matches!(other.producer(), Err(Error::RingEndTaken { end: "producer" })));
    assert!(matches!(ring.consumer(), Err(Error::RingEndTaken { end: "consumer" })));
    drop(producer);
    let producer = other.producer().unwrap();
    assert!(matches!(ring.producer(), Err(Error::RingEndTaken { .. })));
    drop((producer, consumer));
    let _both = (ring.producer().unwrap(), ring.consumer().unwrap());
}

#[test]
fn anything_else_is_no_ring() {
    let page = page_size();
    for size in [1, page, 2 * page, 3 * page, 4 * page, 5 * page] {
        let region = Region::create("no ring", size).unwrap();
        assert!(matches!(Ring::from_fd(region.into_fd().unwrap()), Err(Error::RingCorrupt { .. })), "{size}");
    }
    let ring = Ring::create("ring", 1).unwrap();
    let reader = Region::from_fd(ring.into_fd().unwrap()).unwrap().share_read_only().unwrap();
    assert!(matches!(Ring::from_fd(reader), Err(Error::ReadOnly { .. })));
}

#[test]
fn waiting_ends_with_the_peer() {
    let (ring, mut producer, mut consumer) = ends(1);
    producer.send(b"last").unwrap();
    drop(producer);
    let mut message = Vec::new();
    consumer.receive(&mut message).unwrap();
    assert_eq!(message, b"last");
    assert!(matches!(consumer.receive(&mut message), Err(Error::RingPeerGone { .. })));
    assert_eq!(consumer.read(&mut [0]).unwrap(), 0);
    let mut producer = ring.producer().unwrap();
    producer.send(b"next").unwrap();
    consumer.receive(&mut message).unwrap();
    assert_eq!(message, b"next");
    drop(consumer);
    producer.send(&vec![1; page_size() as usize - 8]).unwrap();
    assert!(matches!(producer.send(b"no room"), Err(Error::RingPeerGone { .. })));
    assert_eq!(producer.write(b"no room").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

/// Runs `wait` in a thread, and `wake` once that sleeps. Fails when it slept until the nap was over.
fn asleep_and_woken<T: Send>(
    ring: &Ring,
    side: Side,
    wait: impl FnOnce() -> T + Send,
    wake: impl FnOnce(),
) -> T {
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    let answer = thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            wait()
        });
        let stat = format!("/proc/self/task/{}/stat", receiver.recv().unwrap());
        let bell = ring.memory().pair(side).unwrap().mine.bell;
        // Behind the name in parentheses is the state.
        let sleeps = || fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('S');
        while bell.load(Ordering::SeqCst) != ASLEEP || !sleeps() {
            assert!(!sleeper.is_finished(), "it does not wait");
            thread::yield_now();
        }
        wake();
        sleeper.join().unwrap()
    });
    assert!(start.elapsed() < NAP / 2, "it woke by itself");
    answer
}

#[test]
fn a_consumer_asleep_is_woken_by_a_commit() {
    let (ring, mut producer, mut consumer) = ends(1);
    let wake = || producer.send(b"hello").unwrap();
    assert!(asleep_and_woken(&ring, Side::Consumer, || consumer.wait(None), wake).unwrap());
    assert!(consumer.try_receive(&mut Vec::new()).unwrap());
}

#[test]
fn a_producer_asleep_is_woken_by_a_read() {
    let (ring, mut producer, mut consumer) = ends(1);
    let full = page_size();
    assert_eq!(producer.try_write(&vec![1; full as usize]).unwrap() as u64, full);
    let wake = || assert_eq!(consumer.try_read(&mut [0; 100]).unwrap(), 100);
    let wait = || producer.wait_for_room(100, None);
    assert!(asleep_and_woken(&ring, Side::Producer, wait, wake).unwrap());
    assert_eq!(producer.room().unwrap(), 100);
}

#[test]
fn who_sleeps_is_told_that_the_peer_goes() {
    let (ring, producer, mut consumer) = ends(1);
    let answer = asleep_and_woken(&ring, Side::Consumer, || consumer.wait(None), || drop(producer));
    assert!(matches!(answer, Err(Error::RingPeerGone { .. })));
    let mut producer = ring.producer().unwrap();
    producer.try_write(&[1]).unwrap();
    let wait = || producer.wait_for_room(page_size(), None);
    let answer = asleep_and_woken(&ring, Side::Producer, wait, || drop(consumer));
    assert!(matches!(answer, Err(Error::RingPeerGone { .. })));
}

/// A holder that is killed with the claim in its hands was there.
#[test]
fn a_claim_that_fails_leaves_word() {
    let ring = Ring::create("ring", 1).unwrap();
    let claimed = || ring.memory().claimed(Side::Producer).unwrap().load(Ordering::SeqCst);
    assert_eq!(claimed(), 0);
    let elsewhere = ring.as_fd().try_clone_to_owned().unwrap();
    let section = fork::section();
    let file = LockFile::open(elsewhere.as_fd(), true, &section).unwrap();
    let (start, end) = (Side::Producer.lock(), Side::Producer.lock() + 1);
    assert!(file.with(&section, |file| lock::try_set(file, Kind::Write, start, end)).unwrap());
    drop(section);
    assert!(matches!(ring.producer(), Err(Error::RingEndTaken { .. })));
    assert_ne!(claimed(), 0);
    drop(file);
    let mut consumer = ring.consumer().unwrap();
    // Nobody rings for the killed: its end is looked after when a nap is over.
    let answer = (0..1000).map(|_| consumer.wait(Some(Duration::from_millis(1)))).find(|wait| wait.is_err());
    assert!(matches!(answer, Some(Err(Error::RingPeerGone { .. }))), "it is not waited for: {answer:?}");
}

#[test]
fn a_peer_that_was_never_there_is_waited_for() {
    let ring = Ring::create("ring", 1).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert!(!consumer.wait(Some(Duration::from_millis(20))).unwrap());
    let mut producer = ring.producer().unwrap();
    let sleeper = thread::spawn(move || {
        let mut message = Vec::new();
        consumer.receive(&mut message).map(|()| message)
    });
    producer.send(b"hello").unwrap();
    assert_eq!(sleeper.join().unwrap().unwrap(), b"hello");
}

#[test]
fn streams_go_through_whole() {
    let (_ring, mut producer, mut consumer) = ends(1);
    let sent: Vec<u8> = (0..60_000u32).map(|i| ((i * i) >> 5) as u8).collect();
    let writer = thread::spawn({
        let sent = sent.clone();
        move || sent.chunks(1234).for_each(|chunk| producer.write_all(chunk).unwrap())
    });
    let mut received = Vec::new();
    consumer.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent);
}

#[test]
fn messages_of_all_lengths_go_through_whole() {
    let (_ring, mut producer, mut consumer) = ends(1);
    let longest = page_size() - PREFIX;
    let writer = thread::spawn(move || {
        for len in (0..=longest).step_by(7).chain([longest]) {
            producer.send(&vec![len as u8; len as usize]).unwrap();
        }
        assert!(matches!(
            producer.send(&vec![0; longest as usize + 1]),
            Err(Error::MessageTooLong { max, .. }) if max == longest
        ));
    });
    let mut message = Vec::new();
    for len in (0..=longest).step_by(7).chain([longest]) {
        consumer.receive(&mut message).unwrap();
        assert!(message == vec![len as u8; len as usize], "{len}");
    }
    writer.join().unwrap();
}

#[test]
fn positions_that_lie_are_errors() {
    let page = page_size();
    for lie in [page + 1, u64::MAX, 1 << 63, u64::MAX - page] {
        let (ring, mut producer, mut consumer) = ends(1);
        let pair = ring.memory().pair(Side::Producer).unwrap();
        let corrupt = |answer: Result<bool, Error>| {
            assert!(matches!(answer, Err(Error::RingCorrupt { .. })), "{lie}: {answer:?}");
        };
        pair.mine.position.store(lie, Ordering::SeqCst);
        corrupt(consumer.try_receive(&mut Vec::new()));
        corrupt(consumer.wait(SOON));
        corrupt(consumer.try_read(&mut [0]).map(|_| true));
        drop(consumer);
        corrupt(ring.consumer().map(|_| true));
        assert!(producer.try_send(b"16 bytes").unwrap());
        // A consumer that is ahead of the producer, or too far behind.
        for lie in [17, page + 1, 1 << 63, u64::MAX - page] {
            pair.theirs.position.store(lie, Ordering::SeqCst);
            corrupt(producer.room().map(|_| true));
            corrupt(producer.wait_for_room(page, SOON));
        }
        pair.theirs.position.store(0, Ordering::SeqCst);
        assert!(producer.try_send(b"its own position counts").unwrap());
    }
}

/// Nothing read or written is the end of a stream, which is not the peer's to feign.
#[test]
fn positions_that_go_back_are_errors() {
    let (ring, mut producer, mut consumer) = ends(1);
    let pair = ring.memory().pair(Side::Producer).unwrap();
    producer.try_write(&[1; 8]).unwrap();
    for timeout in [AT_ONCE, SOON, None] {
        pair.mine.position.store(8, Ordering::SeqCst);
        assert_eq!(consumer.available().unwrap(), 8);
        pair.mine.position.store(0, Ordering::SeqCst);
        let answer = consumer.read_within(&mut [0; 16], timeout);
        assert!(matches!(answer, Err(Error::RingCorrupt { .. })), "{answer:?}");
    }
    pair.mine.position.store(8, Ordering::SeqCst);
    assert_eq!(consumer.available().unwrap(), 8);
    pair.mine.position.store(0, Ordering::SeqCst);
    assert!(consumer.read(&mut [0; 16]).is_err());
    assert_eq!(consumer.read(&mut []).unwrap(), 0);

    producer.try_write(&vec![1; page_size() as usize]).unwrap();
    for timeout in [AT_ONCE, SOON, None] {
        pair.theirs.position.store(8, Ordering::SeqCst);
        assert_eq!(producer.room().unwrap(), 8);
        pair.theirs.position.store(0, Ordering::SeqCst);
        let answer = producer.write_within(&[0; 16], timeout);
        assert!(matches!(answer, Err(Error::RingCorrupt { .. })), "{answer:?}");
    }
    assert_eq!(producer.write(&[]).unwrap(), 0);
}

#[test]
fn lengths_that_lie_are_errors() {
    for lie in [9, 15, 100, u64::MAX, u64::MAX - 7, u64::MAX - 8, 1 << 63] {
        let (_ring, mut producer, mut consumer) = ends(1);
        producer.try_write(&lie.to_ne_bytes()).unwrap();
        producer.try_write(b"8 bytes.").unwrap();
        let before = consumer.position();
        for _ in 0..2 {
            let answer = consumer.receive_within(&mut Vec::new(), AT_ONCE);
            assert!(matches!(answer, Err(Error::RingCorrupt { .. })), "{lie}: {answer:?}");
        }
        assert_eq!(consumer.position(), before);
    }
    let (_ring, mut producer, mut consumer) = ends(1);
    producer.try_write(b"bytes").unwrap();
    assert!(matches!(consumer.peek(), Err(Error::RingCorrupt { .. })));
}

/// A bell that the peer holds up or takes down changes when this end looks, and nothing else.
#[test]
fn bells_that_lie_do_no_harm() {
    let (ring, mut producer, mut consumer) = ends(1);
    let memory = ring.memory().clone();
    for bell in [ASLEEP, 7, u32::MAX] {
        let pair = memory.pair(Side::Producer).unwrap();
        pair.theirs.bell.store(bell, Ordering::SeqCst);
        pair.theirs.wanted.store(u64::from(bell) << 31, Ordering::SeqCst);
        producer.send(b"message").unwrap();
        assert!(consumer.try_receive(&mut Vec::new()).unwrap());
    }
    let sleeper = thread::spawn(move || consumer.wait(Some(Duration::from_millis(300))));
    for i in 0..1000 {
        memory.pair(Side::Consumer).unwrap().mine.bell.store(i & 1, Ordering::SeqCst);
        thread::yield_now();
    }
    assert!(!sleeper.join().unwrap().unwrap());
}

#[test]
fn what_is_not_consumed_is_received_again() {
    let (ring, mut producer, mut consumer) = ends(1);
    producer.send(b"one").unwrap();
    producer.send(b"two").unwrap();
    assert_eq!(consumer.peek().unwrap().unwrap().window().len(), 3);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.receive_with(|_| panic!("while it looks"))
    }));
    assert!(panicked.is_err());
    drop(consumer);
    let mut consumer = ring.consumer().unwrap();
    let first = consumer.receive_with(|message| message.len()).unwrap();
    assert_eq!(first, 3);
    let mut message = Vec::new();
    consumer.receive(&mut message).unwrap();
    assert_eq!(message, b"two");
}
