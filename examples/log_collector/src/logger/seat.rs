//! A thread's place in a logger.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::sync::Arc;

use super::inner::Inner;
use super::pen::{self, Pen};
use crate::Level;

thread_local! {
    /// One for each logger that the thread has used; nearly always the first.
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
    /// For messages that are to be formatted.
    static TEXT: Cell<String> = const { Cell::new(String::new()) };
}

/// Bytes of the longest buffer that is kept for the next message.
const KEPT: usize = 64 << 10;

struct Seat {
    inner: Arc<Inner>,
    pen: Pen,
}

/// Logs a record in the calling thread's lane of a logger.
#[inline]
pub(super) fn log(inner: &Arc<Inner>, level: Level, tag: &[u8], message: &[u8]) -> bool {
    // No seats: the thread is ending.
    let done = SEATS.try_with(|seats| {
        let mut seats = seats.try_borrow_mut().ok()?;
        let found = seats.iter().position(|seat| Arc::ptr_eq(&seat.inner, inner));
        let index = found.or_else(|| sit(&mut seats, inner))?;
        let Seat { inner, pen } = seats.get_mut(index)?;
        Some(pen.log(inner, &inner.shared.find_lane(pen.index())?, level, tag, message))
    });
    done.ok().flatten().unwrap_or_else(|| {
        inner.lose_homeless();
        false
    })
}

/// Takes a place for the calling thread, if there is a lane.
#[cold]
fn sit(seats: &mut Vec<Seat>, inner: &Arc<Inner>) -> Option<usize> {
    seats.retain(|seat| !seat.inner.is_closed());
    seats.push(Seat { pen: Pen::take(inner)?, inner: Arc::clone(inner) });
    Some(seats.len() - 1)
}

/// For benchmarks: lets go of what is in the calling thread's lane.
pub(super) fn discard(inner: &Arc<Inner>) {
    let _ = SEATS.try_with(|seats| {
        for seat in seats.borrow().iter().filter(|seat| Arc::ptr_eq(&seat.inner, inner)) {
            if let Some(lane) = inner.shared.find_lane(seat.pen.index()) {
                pen::discard(lane);
            }
        }
    });
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lane) = self.inner.shared.find_lane(self.pen.index()) {
            lane.give_back();
        }
    }
}

/// Formats a message into a buffer of the thread's.
pub(super) fn format(message: fmt::Arguments<'_>, then: impl FnOnce(&str) -> bool) -> bool {
    // Taken, so that a message which logs while it is formatted gets another one.
    let mut text = TEXT.try_with(Cell::take).unwrap_or_default();
    // What a failing `Display` has written so far is better than nothing.
    let _ = text.write_fmt(message);
    let taken = then(&text);
    if text.capacity() <= KEPT {
        text.clear();
        let _ = TEXT.try_with(|kept| kept.set(text));
    }
    taken
}
