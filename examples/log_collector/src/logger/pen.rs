//! Writing in a lane that is the caller's.

use std::time::{Duration, Instant};

use super::WhenFull;
use super::inner::Inner;
use crate::clock::{self, TICK};
use crate::lane::{Head, Lane, MESSAGE_MAX, Reader, TAG_MAX, Writer};
use crate::{Clock, Level};

/// A claimed lane, but for the memory: that is given to each call.
#[derive(Debug)]
pub(super) struct Pen {
    index: usize,
    thread: u32,
    writer: Writer,
    pace: Pace,
    alarm: Alarm,
}

impl Pen {
    /// Takes a lane for the calling thread, if there is one.
    #[cold]
    pub(super) fn take(inner: &Inner) -> Option<Pen> {
        // The number of a thread is positive.
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let (index, lane) = (0..inner.shared.lanes())
            .filter_map(|index| Some((index, inner.shared.find_lane(index)?)))
            .find(|(_, lane)| lane.claim(thread))?;
        // A lane with impossible words in it stays taken: it is of no use to anybody.
        let writer = Writer::new(&lane).ok()?;
        Some(Pen { index, thread, writer, pace: Pace::default(), alarm: Alarm::default() })
    }

    /// The number of the lane.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Logs a record, and says whether it was taken; if not, it was counted.
    #[inline(always)]
    pub(super) fn log(
        &mut self,
        inner: &Inner,
        lane: &Lane<'_>,
        level: Level,
        tag: &[u8],
        message: &[u8],
    ) -> bool {
        let time = match inner.ticks.get() {
            0 => self.pace.now(inner),
            time => time,
        };
        let Some(head) = Head::new(time, self.thread, level, tag.len(), message.len()) else {
            return self.log_long(inner, lane, level, tag, message);
        };
        let Pen { writer, alarm, .. } = self;
        let words = head.words();
        if writer.used() + words as u64 > alarm.limit && !alarm.make_room(inner, writer, lane, words) {
            lane.lose(1);
            return false;
        }
        writer.put(lane, head, tag, message);
        true
    }

    #[cold]
    fn log_long(&mut self, inner: &Inner, lane: &Lane<'_>, level: Level, tag: &[u8], message: &[u8]) -> bool {
        self.log(inner, lane, level, cut(tag, TAG_MAX), cut(message, MESSAGE_MAX))
    }
}

/// Lets go of what is in a lane, as a collector would that had nothing else to do.
pub(super) fn discard(lane: Lane<'_>) {
    if let Ok(mut reader) = Reader::new(lane, None) {
        reader.skip();
        reader.release(lane);
    }
}

/// How much a thread logs while nobody ticks.
#[derive(Debug, Default)]
struct Pace {
    records: u32,
    since: u64,
}

/// So many records within a tick make it worth while.
const MANY: u32 = 64;

impl Pace {
    /// The time, from the clock. Asks for ticks when it is asked often.
    #[cold]
    fn now(&mut self, inner: &Inner) -> u64 {
        let now = clock::now();
        self.records += 1;
        if self.records >= MANY {
            if inner.clock == Clock::Ticks && now.wrapping_sub(self.since) < TICK {
                inner.wake_keeper();
            }
            *self = Pace { records: 0, since: now };
        }
        now
    }
}

/// What was done about a lane that fills up.
#[derive(Debug, Default)]
struct Alarm {
    /// How many words may be in use, as far as is known, before it is time to look.
    limit: u64,
    /// Where the collector was when it was woken; until it moves, it need not be woken again.
    rung_at: Option<u64>,
    /// Waiting did not help, and there has been no room since.
    is_stalled: bool,
}

impl Alarm {
    /// Looks whether there is room, and does what can be done about it once the lane is half full.
    #[cold]
    fn make_room(&mut self, inner: &Inner, writer: &mut Writer, lane: &Lane<'_>, words: usize) -> bool {
        let half = lane.words() / 2;
        self.limit = half;
        // A collector that says what cannot be gives no room.
        if writer.look(lane).is_err() {
            return false;
        }
        if writer.used() + words as u64 <= half {
            self.is_stalled = false;
            return true;
        }
        if self.rung_at != Some(writer.seen()) {
            // A collector that comes later looks by itself.
            inner.ring();
            self.rung_at = Some(writer.seen());
        }
        if !writer.has_room(lane, words) {
            let WhenFull::Wait(longest) = inner.when_full else { return false };
            self.is_stalled = self.is_stalled || !wait(writer, lane, words, longest);
            return !self.is_stalled;
        }
        self.is_stalled = false;
        // Not at each record from here on.
        self.limit = lane.words().min(writer.used() + words as u64 + lane.words() / 16);
        true
    }
}

/// Waits for room, and says whether there is.
fn wait(writer: &mut Writer, lane: &Lane<'_>, words: usize, longest: Duration) -> bool {
    let start = Instant::now();
    let mut nap = Duration::from_micros(50);
    while start.elapsed() < longest {
        std::thread::sleep(nap);
        if writer.look(lane).is_err() {
            return false;
        }
        if writer.has_room(lane, words) {
            return true;
        }
        nap = (nap * 2).min(Duration::from_millis(2));
    }
    false
}

/// As much of a text as fits, in whole characters.
#[cold]
fn cut(text: &[u8], most: usize) -> &[u8] {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    // A character has four bytes at most.
    let end = (most.saturating_sub(3)..=most).rev().find(|end| !is_inside(*end)).unwrap_or(most);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let cut = |text: &'static str, most| std::str::from_utf8(cut(text.as_bytes(), most)).unwrap();
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("a\u{20ac}b", 3), "a");
        assert_eq!(cut("a\u{20ac}b", 4), "a\u{20ac}");
        assert_eq!(cut("\u{20ac}", 2), "");
    }
}
