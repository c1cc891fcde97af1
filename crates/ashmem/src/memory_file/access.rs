//! Reading and writing a memory file, and the pinning around that.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::MemoryFile;
use super::purging::{Change, Enter, Leave};
use crate::page::page_align;
use crate::sys::memfd;
use crate::{Error, Mapping, Region, Result};

const READ: &str = "read memory file";
const WRITE: &str = "write memory file";
const ALLOW: &str = "allow purging";

impl MemoryFile {
    /// Copies the bytes at `offset` out of the file, as many as `into` has.
    ///
    /// # Errors
    /// In this order: [`Error::Deactivated`]; [`Error::AccessOutOfBounds`], and nothing is read then;
    /// [`Error::Purged`]; while purging is allowed also as [`Region::pin`].
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.require_inside(READ, offset, into.len())?;
        let access = self.begin(READ)?;
        if access.purged {
            return Err(Error::Purged { operation: READ });
        }
        access.mapping.read_at(offset, into)
    }

    /// Copies `bytes` into the file at `offset`. If the file was purged, the rest of it is zeros.
    ///
    /// # Errors
    /// In this order: [`Error::Deactivated`]; [`Error::AccessOutOfBounds`], and nothing is written then; while purging is
    /// allowed as [`Region::pin`]; [`Error::ReadOnly`] of a file that was received.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.require_inside(WRITE, offset, bytes.len())?;
        let mut access = self.begin(WRITE)?;
        access.mapping.write_at(offset, bytes)?;
        access.wrote = !bytes.is_empty();
        Ok(())
    }

    /// Copies `count` bytes at `src_offset` of the file to `dest_offset` of `buffer`.
    ///
    /// Stands for `MemoryFile.readBytes`.
    ///
    /// # Errors
    /// As [`MemoryFile::read_at`]; also outside of the buffer.
    pub fn read_bytes(
        &self,
        buffer: &mut [u8],
        src_offset: u64,
        dest_offset: usize,
        count: usize,
    ) -> Result<()> {
        let part = self.part(READ, buffer.len(), dest_offset, count)?;
        self.read_at(src_offset, &mut buffer[part])
    }

    /// Copies `count` bytes at `src_offset` of `buffer` to `dest_offset` of the file.
    ///
    /// Stands for `MemoryFile.writeBytes`.
    ///
    /// # Errors
    /// As [`MemoryFile::write_at`]; also outside of the buffer.
    pub fn write_bytes(
        &self,
        buffer: &[u8],
        src_offset: usize,
        dest_offset: u64,
        count: usize,
    ) -> Result<()> {
        let part = self.part(WRITE, buffer.len(), src_offset, count)?;
        self.write_at(dest_offset, &buffer[part])
    }

    /// Says whether the contents may be purged between accesses, and returns what was said before. At first they may not.
    ///
    /// Switched off, the file is readable again also after a purge; then all of it is zeros.
    ///
    /// Stands for `MemoryFile.allowPurging`.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] of a file that was received; if that changes anything, also [`Error::Closed`], and as
    /// [`Region::unpin`] or [`Region::pin`]: the setting stays then.
    pub fn allow_purging(&self, allow: bool) -> Result<bool> {
        if !self.owned {
            return Err(Error::ReadOnly { operation: ALLOW });
        }
        let process = std::process::id();
        let begin = || {
            self.with(|state| {
                let purging = &mut state.purging;
                match (purging.change(process, allow), &state.region) {
                    (Change::Wait, _) => None,
                    (Change::Unchanged, _) => Some(Ok(None)),
                    (Change::Turn { idle }, Some(region)) => Some(Ok(Some((idle, region.clone())))),
                    (Change::Turn { .. }, None) => {
                        purging.unchanged(false);
                        Some(Err(Error::Closed { operation: ALLOW }))
                    }
                }
            })
        };
        let Some((idle, region)) = wait_for(begin)? else { return Ok(allow) };
        let done = match (allow, idle) {
            (true, true) => region.unpin(..),
            // The last access will unpin; now is the time to learn whether that is possible.
            (true, false) => region.inner.need_control(ALLOW).map(drop),
            (false, true) => pin(&region).map(drop),
            (false, false) => Ok(()),
        };
        self.with(|state| match &done {
            Ok(()) => state.purging.changed(),
            Err(error) => state.purging.unchanged(!allow && may_have_been_purged(error)),
        });
        done.map(|()| !allow)
    }

    /// Whether the contents may be purged between accesses. Stands for `MemoryFile.isPurgingAllowed`.
    #[must_use]
    pub fn is_purging_allowed(&self) -> bool {
        self.with(|state| state.purging.is_allowed())
    }

    /// `count` bytes at `offset` of a buffer of `len` bytes.
    fn part(&self, operation: &'static str, len: usize, offset: usize, count: usize) -> Result<Range<usize>> {
        match offset.checked_add(count) {
            Some(end) if end <= len => Ok(offset..end),
            _ => {
                self.require_active(operation)?;
                Err(Error::AccessOutOfBounds { offset: offset as u64, len: count as u64, size: len as u64 })
            }
        }
    }

    fn require_inside(&self, operation: &'static str, offset: u64, len: usize) -> Result<()> {
        let (len, size) = (len as u64, self.length);
        if len <= size && offset <= size - len {
            return Ok(());
        }
        self.require_active(operation)?;
        Err(Error::AccessOutOfBounds { offset, len, size })
    }

    fn require_active(&self, operation: &'static str) -> Result<()> {
        if self.is_deactivated() { Err(Error::Deactivated { operation }) } else { Ok(()) }
    }

    /// Begins an access: the file is pinned until it ends, if it may be purged at all.
    fn begin(&self, operation: &'static str) -> Result<Access<'_>> {
        let process = std::process::id();
        let enter = || {
            self.with(|state| {
                let (Some(region), Some(mapping)) = (&state.region, &state.mapping) else {
                    return Some(Err(Error::Deactivated { operation }));
                };
                let enter = state.purging.enter(process);
                let access = |purged| Access {
                    file: self,
                    region: region.clone(),
                    mapping: mapping.clone(),
                    purged,
                    wrote: false,
                    counted: enter == Enter::Counted,
                };
                (enter != Enter::Wait).then(|| Ok(access(state.purging.is_purged())))
            })
        };
        let mut access = wait_for(enter)?;
        if access.counted {
            return Ok(access);
        }
        match pin(&access.region) {
            Ok(purged) => {
                access.purged = self.with(|state| {
                    state.purging.pinned(purged);
                    state.purging.is_purged()
                });
                access.counted = true;
                Ok(access)
            }
            Err(error) => {
                self.with(|state| state.purging.not_pinned(may_have_been_purged(&error)));
                Err(error)
            }
        }
    }
}

/// An access under way.
struct Access<'a> {
    file: &'a MemoryFile,
    region: Region,
    mapping: Arc<Mapping>,
    /// Whether the file was purged and not written since when the access began.
    purged: bool,
    wrote: bool,
    /// Whether it has to end.
    counted: bool,
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let leave = || match self.file.with(|state| state.purging.leave(self.wrote)) {
            Leave::Wait => None,
            left => Some(left),
        };
        if wait_for(leave) == Leave::Last {
            // What was read or written is as good without. Then the file stays pinned until the next access ends.
            let _ = self.region.unpin(..);
            self.file.with(|state| state.purging.unpinned());
        }
    }
}

/// Pins the whole region, and says whether it was purged. Then what a purge left of it goes, too.
fn pin(region: &Region) -> Result<bool> {
    let purged = region.pin(..)?.is_purged();
    if purged {
        // Fails only where a purge would fail, too: then what is left stays.
        let _ = memfd::punch(region.as_fd(), 0, page_align(region.size()));
    }
    Ok(purged)
}

/// A pin that failed may have met purged pages, which are not told again.
fn may_have_been_purged(error: &Error) -> bool {
    !matches!(error, Error::PurgeStuck { purged: false, .. })
}

/// Tries until somebody else's turn is over, which takes well under a microsecond, unless a pin has to wait for a purge.
/// (Not a condition variable: nobody may sleep inside of a fork section.)
fn wait_for<T>(attempt: impl Fn() -> Option<T>) -> T {
    for _ in 0..100 {
        if let Some(done) = attempt() {
            return done;
        }
        std::thread::yield_now();
    }
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PinStatus, Reclaimer, page_size};

    /// A file that is purged by hand, and a second holder of its region.
    fn file(length: u64) -> (MemoryFile, Region) {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let options = Region::options().reclaimer(&reclaimer);
        let file = MemoryFile::with_options(&options, "purged by hand", length).unwrap();
        let region = Region::from_fd_with(file.try_clone_fd().unwrap(), options).unwrap();
        (file, region)
    }

    fn read(file: &MemoryFile, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xEE; len];
        file.read_at(offset, &mut bytes).map(|()| bytes)
    }

    fn is_unpinned(region: &Region) -> bool {
        region.pin_status(..).unwrap() == PinStatus::Unpinned
    }

    fn is_purged<T>(answer: &Result<T>) -> bool {
        matches!(answer, Err(Error::Purged { .. }))
    }

    #[test]
    fn bytes_come_back() {
        let file = MemoryFile::create(None, 10).unwrap();
        file.write_bytes(b"-text-", 1, 3, 4).unwrap();
        assert_eq!(read(&file, 0, 10).unwrap(), b"\0\0\0text\0\0\0");
        let mut buffer = *b"........";
        file.read_bytes(&mut buffer, 3, 2, 4).unwrap();
        assert_eq!(&buffer, b"..text..");
        file.write_at(9, b"!").unwrap();
        assert_eq!(read(&file, 9, 1).unwrap(), b"!");
        file.read_bytes(&mut buffer, 10, 8, 0).unwrap();
        file.write_bytes(&buffer, 8, 10, 0).unwrap();
    }

    #[test]
    fn out_of_bounds_nothing_changes() {
        let file = MemoryFile::create(None, 100).unwrap();
        let mut buffer = [7; 50];
        for (file_offset, buffer_offset, count) in [
            (0, 51, 0),
            (0, 40, 11),
            (0, 0, 51),
            (0, usize::MAX, 1),
            (0, 1, usize::MAX),
            (101, 0, 0),
            (60, 0, 41),
            (u64::MAX, 0, 1),
            (u64::MAX, usize::MAX, usize::MAX),
        ] {
            let refusals = [
                file.write_bytes(&buffer, buffer_offset, file_offset, count),
                file.read_bytes(&mut buffer, file_offset, buffer_offset, count),
            ];
            for refusal in refusals {
                assert!(matches!(refusal, Err(Error::AccessOutOfBounds { .. })), "{refusal:?}");
            }
        }
        assert_eq!(buffer, [7; 50]);
        assert_eq!(read(&file, 0, 100).unwrap(), [0; 100]);
        assert!(matches!(
            read(&file, 99, 2),
            Err(Error::AccessOutOfBounds { offset: 99, len: 2, size: 100 })
        ));
    }

    #[test]
    fn checks_come_in_androids_order() {
        let (file, region) = file(100);
        let _ = file.allow_purging(true).unwrap();
        assert!(region.purge().unwrap() > 0);
        let outside = |answer| matches!(answer, Err(Error::AccessOutOfBounds { .. }));
        assert!(outside(file.read_at(100, &mut [0])) && outside(file.read_bytes(&mut [], 0, 0, 1)));
        assert!(is_unpinned(&region), "not pinned for that");
        assert!(is_purged(&read(&file, 0, 1)));
        file.deactivate();
        let gone = |answer| matches!(answer, Err(Error::Deactivated { .. }));
        assert!(gone(file.read_at(100, &mut [0])) && gone(file.read_bytes(&mut [], 0, 0, 1)));
        assert!(gone(file.write_at(100, &[0])) && gone(file.write_bytes(&[], 0, 0, 1)));
    }

    #[test]
    fn allow_purging_tells_the_old_setting() {
        let (file, region) = file(100);
        assert!(!file.is_purging_allowed());
        assert!(!file.allow_purging(false).unwrap());
        assert!(!file.allow_purging(true).unwrap());
        assert!(file.is_purging_allowed() && is_unpinned(&region));
        assert!(file.allow_purging(true).unwrap());
        file.write_at(0, &[1]).unwrap();
        assert!(is_unpinned(&region), "between accesses");
        assert!(file.allow_purging(false).unwrap());
        assert!(!file.is_purging_allowed() && !is_unpinned(&region));
        assert_eq!(region.purge().unwrap(), 0);
        assert_eq!(read(&file, 0, 1).unwrap(), [1]);
    }

    #[test]
    fn purged_it_fails_until_it_is_written() {
        let p = page_size();
        let (file, region) = file(3 * p);
        file.write_at(0, &vec![5; 3 * p as usize]).unwrap();
        let _ = file.allow_purging(true).unwrap();
        assert_eq!(read(&file, 2 * p, 1).unwrap(), [5]);
        assert_eq!(region.purge().unwrap(), 3 * p);
        for _ in 0..3 {
            assert!(is_purged(&read(&file, 0, 1)));
            assert!(is_purged(&read(&file, 0, 0)));
            assert!(is_unpinned(&region), "between failed accesses, too");
        }
        file.write_at(0, &[]).unwrap();
        assert!(is_purged(&read(&file, 0, 1)), "nothing was written");
        file.write_at(p, b"new").unwrap();
        assert_eq!(read(&file, p, 4).unwrap(), b"new\0");
        assert_eq!(read(&file, 0, 1).unwrap(), [0]);
        assert_eq!(region.purge().unwrap(), 3 * p);
        file.write_at(0, &[6]).unwrap();
        assert_eq!(read(&file, 0, 1).unwrap(), [6], "written before it was told");
        assert_eq!(read(&file, p, 3).unwrap(), [0; 3]);
    }

    #[test]
    fn switching_purging_off_ends_it() {
        let (file, region) = file(100);
        file.write_at(0, &[5; 100]).unwrap();
        for told in [true, false] {
            let _ = file.allow_purging(true).unwrap();
            assert!(region.purge().unwrap() > 0);
            if told {
                assert!(is_purged(&read(&file, 0, 1)));
            }
            assert!(file.allow_purging(false).unwrap());
            assert_eq!(read(&file, 0, 100).unwrap(), [0; 100]);
            file.write_at(0, &[5; 100]).unwrap();
        }
        let _ = file.allow_purging(true).unwrap();
        assert_eq!(read(&file, 0, 100).unwrap(), [5; 100]);
    }

    #[test]
    fn what_a_purge_left_goes_too() {
        let p = page_size();
        let (file, region) = file(2 * p + 5);
        file.write_at(0, &vec![5; 2 * p as usize + 5]).unwrap();
        let _ = file.allow_purging(true).unwrap();
        let _ = region.pin(p..).unwrap();
        assert_eq!(region.purge().unwrap(), p);
        assert!(is_purged(&read(&file, p, 1)));
        assert_eq!(region.resident().unwrap(), 0);
        file.write_at(0, &[6]).unwrap();
        assert_eq!(read(&file, 0, 2 * p as usize + 5).unwrap()[1..], vec![0; 2 * p as usize + 4]);
    }

    #[test]
    fn reclaimed_by_the_reclaimer_of_its_options() {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let file = MemoryFile::with_options(&Region::options().reclaimer(&reclaimer), "mine", 8192).unwrap();
        file.write_at(0, &[1]).unwrap();
        assert_eq!(reclaimer.purge_all().pages, 0);
        let _ = file.allow_purging(true).unwrap();
        assert_eq!(reclaimer.purge_all().pages, 8192 / page_size());
        assert!(is_purged(&read(&file, 0, 1)));
    }

    #[test]
    fn pinned_as_long_as_one_access_lasts() {
        let (file, region) = file(100);
        file.write_at(0, &[5; 100]).unwrap();
        let before = file.begin(READ).unwrap();
        assert!(!file.allow_purging(true).unwrap());
        assert!(!is_unpinned(&region));
        let second = file.begin(READ).unwrap();
        drop(before);
        assert!(!is_unpinned(&region));
        assert_eq!(region.purge().unwrap(), 0);
        drop(second);
        assert!(is_unpinned(&region));
        let third = file.begin(READ).unwrap();
        assert!(file.allow_purging(false).unwrap());
        drop(third);
        assert!(!is_unpinned(&region));
        assert_eq!(read(&file, 0, 100).unwrap(), [5; 100]);
    }

    #[test]
    fn closed_under_an_access() {
        let (file, region) = file(100);
        file.write_at(0, b"mapped").unwrap();
        let _ = file.allow_purging(true).unwrap();
        let access = file.begin(READ).unwrap();
        file.close();
        assert!(matches!(file.begin(READ).map(drop), Err(Error::Deactivated { .. })));
        assert_eq!(region.purge().unwrap(), 0);
        assert_eq!(access.mapping.read_vec(0, 6).unwrap(), b"mapped");
        drop(access);
        assert!(is_unpinned(&region), "as the owner left it");
        assert!(file.is_purging_allowed());
    }

    #[test]
    fn what_cannot_be_purged_stays_as_it_is() {
        let file = MemoryFile::with_options(&Region::options().never_purgeable(), "kept", 100).unwrap();
        assert!(matches!(file.allow_purging(true), Err(Error::NotPurgeable { .. })));
        let access = file.begin(READ).unwrap();
        assert!(matches!(file.allow_purging(true), Err(Error::NotPurgeable { .. })));
        drop(access);
        assert!(!file.is_purging_allowed());
        file.write_at(0, b"kept").unwrap();
        assert_eq!(read(&file, 0, 4).unwrap(), b"kept");
    }
}
