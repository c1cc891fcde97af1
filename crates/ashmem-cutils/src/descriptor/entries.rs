//! The entries: made, used, and dropped.

use std::cell::Cell as Kept;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ashmem::Region;

use super::cell::{Cell, Domain, Reading, Taken};
use super::closing;
use super::table::Table;
use crate::errno::{Errno, thread};
use crate::failure::{Failure, Result, call};
use crate::sys;

/// How often a descriptor may be closed and opened again, by other threads, while it is being looked at.
const PATIENCE: u32 = 16;

/// Up to so many entries, all are looked at when one is made.
const FEW: usize = 64;

static TABLE: Table<Entry> = Table::new();
static DOMAIN: Domain<Entry, 256> = Domain::new();
static ENTRIES: AtomicUsize = AtomicUsize::new(0);
/// The highest number that there ever was an entry for: looking at the whole table takes longer than making a region.
static HIGHEST: AtomicU32 = AtomicU32::new(0);
/// At how many entries they are looked at next, where closing is not seen.
static LOOK_AT: AtomicUsize = AtomicUsize::new(0);

/// A region that was met behind a descriptor.
struct Entry {
    region: Region,
    file: sys::File,
}

impl Entry {
    fn is_behind(&self, fd: i32) -> bool {
        sys::file(fd) == Ok(self.file)
    }
}

/// The answer of a function of the interface that needs a region which is remembered, if there is nothing to find out first, and
/// `action` needs no system call.
#[inline(always)]
pub(crate) fn at_once<T>(fd: i32, action: impl FnOnce(&Region) -> Option<T>) -> Option<T> {
    let entry = remembered(fd)?;
    let errno = entry.errno()?;
    let answer = action(&entry.region);
    drop(entry);
    if DOMAIN.is_anything_left() {
        call((), || {
            DOMAIN.sweep();
            Ok(())
        });
    }
    errno.restore();
    answer
}

/// What is remembered of a descriptor, if closing is seen and this thread has a slot.
#[inline(always)]
fn remembered(fd: i32) -> Option<Reading<'static, Entry>> {
    if !closing::is_seen() {
        return None;
    }
    let cell = TABLE.get(u32::try_from(fd).ok()?)?;
    DOMAIN.read_at_once(cell, thread())
}

/// Whether a call gives a region pin state that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinState {
    Used,
    Made,
}

/// Does something with the region behind a descriptor, and remembers that region if it has pin state. Without that there is nothing to
/// remember: its memory is to go when the program closes it.
pub(crate) fn pinning<T>(
    fd: i32,
    pin_state: PinState,
    action: impl FnOnce(&Region) -> ashmem::Result<T>,
) -> Result<T> {
    if let Some(entry) = remembered(fd) {
        return finish(entry, action);
    }
    enter();
    for _ in 0..PATIENCE {
        if let Some(entry) = known(fd) {
            let is_new = !entry.region.has_control_block();
            let result = finish(entry, action);
            if result.is_err() && is_new {
                forget_unpurgeable(fd);
            }
            return result;
        }
        let region = Region::from_fd(sys::duplicate(fd)?)?;
        if pin_state == PinState::Used && !region.has_control_block() {
            return Ok(action(&region)?);
        }
        // The entry that is there afterwards may be another thread's; both use that one.
        remember(fd, region)?;
    }
    // Somebody keeps closing and opening it.
    Err(Failure(libc::EBADF))
}

/// Does something with the region behind a descriptor that is not worth remembering it for.
pub(crate) fn looking<T>(fd: i32, action: impl FnOnce(&Region) -> ashmem::Result<T>) -> Result<T> {
    enter();
    match known(fd) {
        Some(entry) => finish(entry, action),
        None => Ok(action(&Region::from_fd(sys::duplicate(fd)?)?)?),
    }
}

/// Does something with an entry, and drops what was closed meanwhile.
fn finish<T>(entry: Reading<'_, Entry>, action: impl FnOnce(&Region) -> ashmem::Result<T>) -> Result<T> {
    let result = action(&entry.region);
    drop(entry);
    DOMAIN.sweep();
    Ok(result?)
}

/// A call failed that was to give a region pin state.
fn forget_unpurgeable(fd: i32) {
    let Some(cell) = cell(fd) else { return };
    if let Some(entry) = read(cell).filter(|entry| !entry.region.has_control_block()) {
        forget_this(cell, entry);
    }
}

fn read(cell: &'static Cell<Entry>) -> Option<Reading<'static, Entry>> {
    DOMAIN.read_at_once(cell, thread()).or_else(|| DOMAIN.read_as_guest(cell))
}

fn cell(fd: i32) -> Option<&'static Cell<Entry>> {
    TABLE.get(u32::try_from(fd).ok()?)
}

/// What is remembered of a descriptor, if it is still so. As a guest only where it must be: while there is one nothing is dropped,
/// and of many threads that look for long there would always be one.
fn known(fd: i32) -> Option<Reading<'static, Entry>> {
    let cell = cell(fd)?;
    let Some(entry) = read(cell) else {
        // Also who looked in vain may have kept something.
        DOMAIN.sweep();
        return None;
    };
    if closing::is_seen() || entry.is_behind(fd) {
        return Some(entry);
    }
    forget_this(cell, entry);
    None
}

/// Makes an entry for a region that was found behind a descriptor, unless there is one by now.
fn remember(fd: i32, region: Region) -> Result<()> {
    let seen = closing::find_out();
    let file = sys::file_of(&region)?;
    // Beyond the table are no descriptors of any system's.
    let number = u32::try_from(fd).map_err(|_| Failure(libc::EBADF))?;
    HIGHEST.fetch_max(number, Ordering::Relaxed);
    let cell = TABLE.get_or_make(number).ok_or(Failure(libc::EMFILE))?;
    if cell.fill(Entry { region, file }).is_err() {
        return Ok(());
    }
    ENTRIES.fetch_add(1, Ordering::Relaxed);
    // It may have been closed, and the number given out again, before the entry was there to be forgotten.
    if sys::file(fd) != Ok(file) {
        if let Some(entry) = read(cell) {
            forget_this(cell, entry);
        }
    }
    if !seen {
        drop_stale();
    }
    DOMAIN.sweep();
    Ok(())
}

/// The kernel has just given this number out: what is remembered of it was closed in a way that nobody sees.
pub(crate) fn is_new(fd: i32) {
    if let Some(taken) = cell(fd).and_then(Cell::take) {
        retire(taken);
    }
}

/// Before a region is made: where closing is not seen, memory of regions that were closed goes now.
pub(crate) fn make_room() {
    if closing::is_unseen() {
        drop_stale();
    }
}

fn forget_this(cell: &Cell<Entry>, entry: Reading<'_, Entry>) {
    let taken = cell.take_if(&entry);
    drop(entry);
    taken.into_iter().for_each(retire);
}

fn retire(taken: Taken<Entry>) {
    ENTRIES.fetch_sub(1, Ordering::Relaxed);
    DOMAIN.retire(taken);
}

/// Drops entries whose numbers name something else by now. Where there are many, only when their number has doubled.
fn drop_stale() {
    let count = ENTRIES.load(Ordering::Relaxed);
    if count == 0 || count < LOOK_AT.load(Ordering::Relaxed) {
        return;
    }
    for (number, _) in TABLE.filled(0..=HIGHEST.load(Ordering::Relaxed)) {
        // Forgets it if it is stale.
        let _ = i32::try_from(number).map(known);
    }
    let left = ENTRIES.load(Ordering::Relaxed);
    LOOK_AT.store(if left < FEW { 0 } else { 2 * left }, Ordering::Relaxed);
}

/// Descriptors are being closed, or have just been.
pub(super) fn forget(numbers: RangeInclusive<u32>) {
    for (_, cell) in TABLE.filled(numbers) {
        if !closing::is_owner() {
            return;
        }
        cell.take().into_iter().for_each(retire);
    }
}

/// In a forked child.
pub(super) fn start_anew() {
    DOMAIN.start_anew(thread());
}

/// Gives the calling thread a slot of its own until it ends.
fn enter() {
    struct Leave(Kept<bool>);
    impl Drop for Leave {
        fn drop(&mut self) {
            if self.0.get() {
                DOMAIN.leave(thread());
            }
        }
    }
    thread_local! {
        static LEAVE: Leave = const { Leave(Kept::new(false)) };
    }
    // Who has no thread-local storage any more needs no slot.
    let _ = LEAVE.try_with(|leave| {
        if DOMAIN.enter(thread(), Errno::save()) {
            leave.0.set(true);
        }
    });
}
