//! The purge lock, and what is done under it: append the control block, change the file's mode, take pages away, finish for the
//! dead.
//!
//! The lock is an open file description lock on the first byte of the control block, so the kernel drops it when its holder
//! dies. It is held for a few MiB at a time, through a description opened for just that. Nobody can fork meanwhile
//! ([`crate::sys::fork`]), so no child keeps the description, and with it the lock, alive.
//!
//! Where the pin state is in a file of its own, that file has the lock, and the holes are punched in the other one.

use std::cell::OnceCell;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::control::Control;
use crate::page::page_size;
use crate::presence::Presence;
use crate::reclaim::Freed;
use crate::region::{Inner, claims};
use crate::state::{CHUNK_PAGES, Corrupt, Fault, PAGES_PER_WORD, Select, runs};
use crate::sys::fork::{self, Section};
use crate::sys::lock::{self, Handle, Kind};
use crate::sys::{memfd, mode};
use crate::{Error, Protection, Result, held};

/// How long a pin waits for a purge of its pages. A chunk takes about a millisecond; a purger that takes this long is
/// stopped or hostile.
const PIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long a waiting pin sleeps before it looks whether the purger is dead.
const PIN_NAP: Duration = Duration::from_millis(10);

/// After this long a waiting pin looks for pages left over, whatever the area says.
const PIN_THOROUGH: Duration = Duration::from_millis(100);

/// How long the lock is tried for, where somebody waits for the result.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(1);

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        Error::ControlBlockCorrupt { reason: "page words newer than the area word" }
    }
}

/// The purge lock of one region, held.
struct PurgeLock<'a> {
    region: &'a Inner,
    handle: Handle<'a>,
    byte: u64,
    /// A description of the data to punch holes through, where that is another file; opened by the first hole.
    contents: OnceCell<OwnedFd>,
    /// Taken with a lock of the process, which does not exclude the process's own threads.
    _alone: Option<MutexGuard<'static, ()>>,
    /// Last, so that it is open for as long as anything is locked.
    _section: Section,
}

impl<'a> PurgeLock<'a> {
    /// Takes the lock if nobody holds it. Without `/proc` or a free descriptor there is no description to lock through.
    fn try_take(region: &'a Inner) -> Result<Option<PurgeLock<'a>>> {
        let section = fork::section();
        check_file(region, region.state_fd())?;
        let handle =
            memfd::reopen(region.state_fd(), true).map_err(Error::system("reopen region for purging"))?;
        check_file(region, handle.as_fd())?;
        PurgeLock::with(Handle::Own(handle), None, section, region)
    }

    /// As `try_take`, but makes do with a lock of the process after some errors. That one ends early when any descriptor of the
    /// region is closed in the process, so it is for what is short.
    fn try_take_somehow(region: &'a Inner, makes_do: fn(&Error) -> bool) -> Result<Option<PurgeLock<'a>>> {
        static ALONE: Mutex<()> = Mutex::new(());
        match PurgeLock::try_take(region) {
            Err(error) if makes_do(&error) => {}
            taken => return taken,
        }
        let section = fork::section();
        match ALONE.try_lock() {
            Ok(alone) => PurgeLock::with(Handle::Shared(region.state_fd()), Some(alone), section, region),
            Err(_) => Ok(None),
        }
    }

    fn with(
        handle: Handle<'a>,
        alone: Option<MutexGuard<'static, ()>>,
        section: Section,
        region: &'a Inner,
    ) -> Result<Option<PurgeLock<'a>>> {
        let byte = region.layout().control_start();
        let taken = handle.try_set(Kind::Write, byte, byte + 1).map_err(Error::system("take purge lock"))?;
        let contents = OnceCell::new();
        Ok(taken.then_some(PurgeLock { region, handle, byte, contents, _alone: alone, _section: section }))
    }

    /// Tries `attempt` for a while.
    fn take(
        attempt: impl Fn() -> Result<Option<PurgeLock<'a>>>,
        patience: Duration,
        operation: &'static str,
    ) -> Result<PurgeLock<'a>> {
        let give_up = Instant::now() + patience;
        loop {
            if let Some(lock) = attempt()? {
                return Ok(lock);
            }
            if Instant::now() > give_up {
                return Err(Error::PurgeLocked { operation });
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn punch(&self, pages: Range<u64>) -> Result<(), Errno> {
        let page = page_size();
        memfd::punch(self.contents()?, pages.start * page, (pages.end - pages.start) * page)
    }

    /// What holes are punched through.
    fn contents(&self) -> Result<BorrowedFd<'_>, Errno> {
        let Some(apart) = self.region.apart() else { return Ok(self.handle.fd()) };
        if let Some(contents) = self.contents.get() {
            return Ok(contents.as_fd());
        }
        let own = memfd::reopen(self.region.fd(), true);
        // Without `/proc` or a free descriptor the region's own has to do.
        let contents = own.as_ref().map_or(self.region.fd(), AsFd::as_fd);
        if !apart.is_of(contents)? {
            return Err(Errno::BADF);
        }
        match own {
            Ok(own) => Ok(self.contents.get_or_init(|| own).as_fd()),
            Err(_) => Ok(self.region.fd()),
        }
    }
}

/// Nothing is taken away from a file that came to have a region's number.
fn check_file(region: &Inner, fd: BorrowedFd<'_>) -> Result<()> {
    match region.known_control() {
        Some(control) if !control.is_of(fd)? => Err(Error::system("look at region")(Errno::BADF)),
        _ => Ok(()),
    }
}

impl Drop for PurgeLock<'_> {
    fn drop(&mut self) {
        // Cannot fail for a range that was locked; and a description of our own ends with the lock anyway.
        let _ = self.handle.try_set(Kind::Unlock, self.byte, self.byte + 1);
    }
}

/// Gives the region a control block, if it has none.
pub(crate) fn append(region: &Inner) -> Result<()> {
    // Done twice, it does no harm: any lock will do.
    let _lock = PurgeLock::take(
        || PurgeLock::try_take_somehow(region, |_| true),
        LOCK_PATIENCE,
        "append control block",
    )?;
    Control::append(region.fd(), region.layout())
}

/// Records in the mode of the region's file that READ and EXEC were removed, as far as `removed` has them; it has all that are
/// not in force any more. False when the mode cannot say so, or this process may not.
pub(crate) fn remove_protection(region: &Inner, removed: Protection) -> Result<bool> {
    if !removed.contains(Protection::EXEC) {
        return Ok(false);
    }
    // Mode bits are changed one after the other: any lock will do.
    let _lock =
        PurgeLock::take(|| PurgeLock::try_take_somehow(region, |_| true), LOCK_PATIENCE, "set protection")?;
    mode::remove_protection(region.fd(), removed).map_err(Error::system("set protection"))
}

/// Purges those of `pages` that are unpinned since `cutoff` (a stamp) or earlier, and waits for others who do so for as long as
/// `patience`. `has_page_stamps` says of a word whether its page stamps may have been written. Adds to `freed` what went, also when the rest failed.
pub(crate) fn purge(
    region: &Inner,
    control: &Control,
    pages: Range<u64>,
    cutoff: u64,
    has_page_stamps: &dyn Fn(usize) -> bool,
    patience: Duration,
    freed: &mut Freed,
) -> Result<()> {
    if !control.is_writable() {
        return Err(Error::ReadOnly { operation: "purge" });
    }
    let table = control.table();
    let mut next = pages.start;
    while next < pages.end {
        // Chunks end at multiples of their size, so that they never split a word.
        let end = (next / CHUNK_PAGES + 1).saturating_mul(CHUNK_PAGES).min(pages.end);
        let lock = PurgeLock::take(|| PurgeLock::try_take(region), patience, "purge")?;
        if table.needs_recovery() {
            finish(&lock, region, control);
        }
        // Under the lock, so that nobody else's purge counts; and after the claim, which may allocate control pages.
        let allocated = || region.status().map_or(0, |status| status.allocated);
        let mut before = None;
        let spare = |first, claimed: &mut [Select]| held::spare(lock.handle.fd(), control, first, claimed);
        let purged = table.purge_chunk(next..end, cutoff, has_page_stamps, spare, |pages| {
            before.get_or_insert_with(allocated);
            lock.punch(pages)
        });
        wake(control);
        let bytes = before.map_or(0, |before| before.saturating_sub(allocated()));
        drop(lock);
        match purged {
            Ok(pages) => *freed = Freed { pages: freed.pages + pages, bytes: freed.bytes + bytes },
            Err(Fault::Corrupt(corrupt)) => return Err(corrupt.into()),
            Err(Fault::Punch(errno)) => return Err(Error::system("purge")(errno)),
        }
        next = end;
    }
    Ok(())
}

/// Gives back the memory that is in purged pages, and returns how many bytes that were: whoever built them failed to the point of dying.
/// Spares what somebody holds: it may have been there when a builder failed. Does nothing while somebody builds something in the region,
/// where its pin state is in a file of its own, and where others than builders may write to purged pages.
pub(crate) fn sweep(region: &Inner, control: &Control) -> u64 {
    if region.apart().is_some()
        || !control.is_writable()
        || !control.is_built()
        || !control.area().load().may_have_purged()
    {
        return 0;
    }
    let _section = fork::section();
    // The lock ends with this description.
    let Ok(file) = memfd::reopen(region.fd(), true) else { return 0 };
    let claims = claims(control.layout());
    if lock::try_set(file.as_fd(), Kind::Write, claims.start, claims.end) != Ok(true) {
        return 0;
    }
    let page = page_size();
    let table = control.table();
    let mut left: Vec<Range<u64>> = Vec::new();
    let looked = memfd::each_extent(file.as_fd(), 0, control.layout().control_start(), |extent| {
        let pages = extent.start / page..extent.end.div_ceil(page);
        let first = pages.start / PAGES_PER_WORD;
        let base = first * PAGES_PER_WORD;
        let mut purged: Vec<Select> = table
            .select(pages)
            .map(|(index, select)| {
                let states = table.read_word(index).map(|(_, _, states)| states.purged().and(select));
                states.unwrap_or(Select::NONE)
            })
            .collect();
        held::spare(file.as_fd(), control, first as usize, &mut purged);
        left.extend(runs(&purged).map(|run| base + run.start..base + run.end));
    });
    if looked.is_err() {
        return 0;
    }
    let punch = |run: &Range<u64>| memfd::punch(file.as_fd(), run.start * page, (run.end - run.start) * page);
    left.iter().filter(|run| punch(run).is_ok()).map(|run| (run.end - run.start) * page).sum()
}

/// Finishes the work of a purger that died, if nobody else holds the purge lock. True when the lock was free. Only when `thorough` it
/// looks for pages left over although the area does not say so.
pub(crate) fn recover(region: &Inner, control: &Control, thorough: bool) -> bool {
    // There is no `/proc`, or the region's mode forbids it: that will not change. A lack of descriptors will.
    let for_good = |error: &Error| {
        matches!(error.raw_os_error(), libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::EPERM)
    };
    match PurgeLock::try_take_somehow(region, for_good) {
        Ok(Some(lock)) => {
            if !thorough && !control.table().needs_recovery() {
                return true;
            }
            if control.is_writable() {
                finish(&lock, region, control);
                return true;
            }
            // A lease through a read-only descriptor waits: the description of the lock may be good for writing.
            match Control::open(lock.handle.fd(), region.layout().size) {
                Ok(Some(own)) if own.is_writable() => {
                    finish(&lock, region, &own);
                    true
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn finish(lock: &PurgeLock<'_>, region: &Inner, control: &Control) {
    // The lock's section is open already.
    let present = Presence::within_section(region, control);
    control.table().recover(&|word| present.absent_words(word), |pages| {
        // Where a hole cannot be punched the pages count as purged all the same.
        let _ = lock.punch(pages);
    });
    wake(control);
}

fn wake(control: &Control) {
    // Fails only for a bad address.
    let _ = futex::wake(control.futex(), futex::Flags::empty(), i32::MAX as u32);
}

/// A pin that has met a page that is being purged.
pub(crate) struct PinWait<'a> {
    region: &'a Inner,
    control: &'a Control,
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl<'a> PinWait<'a> {
    #[inline]
    pub(crate) fn new(region: &'a Inner, control: &'a Control) -> PinWait<'a> {
        PinWait { region, control, since: None, looked: None }
    }

    /// Waits until the purge that showed `futex` has got further, or finishes it for a dead purger. `purged` says whether the pin found
    /// purged pages so far.
    #[cold]
    pub(crate) fn wait(&mut self, futex: u32, purged: bool) -> Result<()> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let looked = *self.looked.get_or_insert(now);
        if now - since > PIN_PATIENCE {
            return Err(Error::PurgeStuck { seconds: PIN_PATIENCE.as_secs(), purged });
        }
        if now - looked >= PIN_NAP {
            self.looked = Some(now);
            if recover(self.region, self.control, now - since >= PIN_THOROUGH) {
                return Ok(());
            }
        }
        let nap = Timespec { tv_sec: 0, tv_nsec: PIN_NAP.as_nanos() as i64 };
        // Every outcome (woken, changed, timed out, interrupted) means: look again.
        let _ = futex::wait(self.control.futex(), futex::Flags::empty(), futex, Some(&nap));
        Ok(())
    }
}
