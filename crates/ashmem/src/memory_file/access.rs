//! Reading and writing a memory file, and allowing others to purge it.

use std::ops::Range;
use std::sync::Arc;

use super::session::{HeldFile, PATIENCE, Session};
use super::{MemoryFile, State};
use crate::region::BUILDING;
use crate::{Error, Region, Result};

const READ: &str = "read memory file";
const WRITE: &str = "write memory file";
const ALLOW: &str = "allow purging";

impl MemoryFile {
    /// Copies the bytes at `offset` out of the file, as many as `into` has.
    ///
    /// # Errors
    /// In this order: [`Error::Deactivated`]; [`Error::AccessOutOfBounds`], and nothing is read then; while purging is allowed also
    /// as [`Region::lease`], and [`Error::Purged`].
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.require_inside(READ, offset, into.len())?;
        let session = self.session(READ)?;
        let mut access = session.begin()?;
        if access.is_purged()? {
            return Err(Error::Purged { operation: READ });
        }
        access.mapping.read_at(offset, into)
    }

    /// Copies `bytes` into the file at `offset`. If the file was purged, the rest of it is zeros.
    ///
    /// # Errors
    /// In this order: [`Error::Deactivated`]; [`Error::AccessOutOfBounds`], and nothing is written then; while purging is
    /// allowed as [`Region::lease`], and [`Error::BuildStuck`] when somebody else has been writing the purged file for a minute;
    /// [`Error::ReadOnly`] of a file that was received. After an error a purged file is purged as before.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.require_inside(WRITE, offset, bytes.len())?;
        let session = self.session(WRITE)?;
        let access = session.begin()?;
        if bytes.is_empty() {
            return access.mapping.write_at(offset, bytes);
        }
        access.write(|mapping| mapping.write_at(offset, bytes))
    }

    /// [`MemoryFile::read_at`] for who copies by other means than Rust's: `copy` gets the address of `len` bytes that may be read, and
    /// that peers may write, until it returns.
    ///
    /// # Errors
    /// As [`MemoryFile::read_at`]; `copy` is not called then.
    #[doc(hidden)]
    pub fn read_with(&self, offset: u64, len: usize, copy: impl FnOnce(*const u8)) -> Result<()> {
        self.require_inside(READ, offset, len)?;
        let session = self.session(READ)?;
        let mut access = session.begin()?;
        if access.is_purged()? {
            return Err(Error::Purged { operation: READ });
        }
        copy(access.mapping.readable(READ, offset, len as u64)?);
        Ok(())
    }

    /// [`MemoryFile::write_at`] for who copies by other means than Rust's: `copy` gets the address of `len` bytes that may be
    /// written until it returns.
    ///
    /// # Errors
    /// As [`MemoryFile::write_at`]; `copy` is not called then, unless the purged file cannot be made whole.
    #[doc(hidden)]
    pub fn write_with(&self, offset: u64, len: usize, copy: impl FnOnce(*mut u8)) -> Result<()> {
        self.require_inside(WRITE, offset, len)?;
        let session = self.session(WRITE)?;
        let access = session.begin()?;
        if len == 0 {
            return access.mapping.writable(WRITE, offset, 0).map(drop);
        }
        access.write(|mapping| mapping.writable(WRITE, offset, len as u64).map(copy))
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
    /// Switched off, the file is readable again also after a purge; then all of it is zeros. Threads that call this at the
    /// same time take turns.
    ///
    /// Stands for `MemoryFile.allowPurging`.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] of a file that was received; if that changes anything, also [`Error::Closed`], and as
    /// [`Region::unpin`], [`Region::pin`] and [`Region::lease`]: without `/proc` purging cannot be allowed. The setting stays
    /// then. [`Error::BuildStuck`] when somebody else has been changing it, or writing the purged file, for a minute.
    pub fn allow_purging(&self, allow: bool) -> Result<bool> {
        if !self.owned {
            return Err(Error::ReadOnly { operation: ALLOW });
        }
        let Some(region) = self.to_change(allow)? else { return Ok(allow) };
        // One at a time, also with who makes the file whole.
        let _claim = region.inner.claim(BUILDING, PATIENCE)?;
        if self.to_change(allow)?.is_none() {
            return Ok(allow);
        }
        let held = HeldFile::take(&region, ALLOW)?;
        if !allow && held.is_purged()? {
            held.make_whole(|| Ok(()))?;
        }
        let pin = |pin| if pin { region.pin(..).map(drop) } else { region.unpin(..) };
        // Nothing goes meanwhile, as it is held: neither of them hides a purge.
        if let Err(error) = pin(!allow) {
            let _ = pin(allow);
            return Err(error);
        }
        // Accesses that hold nothing were safe while it was pinned.
        let held = allow.then(|| held.into_owned());
        let left = self.with(|state| {
            state.is_allowed = allow;
            let under_way = state.session.clone().or_else(|| state.deactivated.upgrade());
            let under_way = under_way.filter(|session| session.is_of_this_process());
            let spare = match (&under_way, held) {
                (Some(session), Some(hold)) => session.hold_late(hold),
                (_, held) => held,
            };
            (state.next_session(), under_way, spare)
        });
        // Not in the fork section any more.
        drop(left);
        Ok(!allow)
    }

    /// Whether the contents may be purged between accesses. Stands for `MemoryFile.isPurgingAllowed`.
    #[must_use]
    pub fn is_purging_allowed(&self) -> bool {
        self.with(|state| state.is_allowed)
    }

    /// The region, if `allow` is not the setting already.
    fn to_change(&self, allow: bool) -> Result<Option<Region>> {
        self.with(|state| match &state.region {
            _ if state.is_allowed == allow => Ok(None),
            Some(region) => Ok(Some(region.clone())),
            None => Err(Error::Closed { operation: ALLOW }),
        })
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

    /// The session to access the file in.
    #[inline]
    fn session(&self, operation: &'static str) -> Result<Arc<Session>> {
        match self.with(|state| state.session.clone()) {
            Some(session) if session.is_of_this_process() => Ok(session),
            Some(_) => self.session_after_fork().ok_or(Error::Deactivated { operation }),
            None => Err(Error::Deactivated { operation }),
        }
    }

    #[cold]
    fn session_after_fork(&self) -> Option<Arc<Session>> {
        let renew = |state: &mut State| {
            let inherited = state.session.as_ref().is_some_and(|session| !session.is_of_this_process());
            let left = if inherited { state.next_session() } else { None };
            (state.session.clone(), left)
        };
        // What is left is dropped outside of the fork section.
        self.with(renew).0
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
    fn copied_by_others_the_same_holds() {
        let (file, region) = file(10);
        let start = region.map().unwrap().as_ptr().addr();
        let mut seen = 0;
        file.write_with(3, 4, |to| seen = to.addr()).unwrap();
        file.read_with(3, 4, |from| assert_eq!(from.addr(), seen)).unwrap();
        assert!(seen != start + 3, "the file's own mapping");
        file.write_with(10, 0, |_| unreachable!("nothing to copy")).unwrap();
        let outside = |answer| matches!(answer, Err(Error::AccessOutOfBounds { .. }));
        assert!(outside(file.read_with(7, 4, |_| unreachable!())));
        assert!(outside(file.write_with(u64::MAX, 1, |_| unreachable!())));
        let _ = file.allow_purging(true).unwrap();
        assert!(region.purge().unwrap() > 0);
        assert!(is_purged(&file.read_with(0, 1, |_| unreachable!())));
        file.write_with(0, 1, |_| ()).unwrap();
        file.read_with(0, 1, |_| ()).unwrap();
        let received = MemoryFile::from_fd_read_only(file.try_clone_fd().unwrap(), 10).unwrap();
        for len in [0, 1] {
            let refused = received.write_with(0, len, |_| unreachable!());
            assert!(matches!(refused, Err(Error::ReadOnly { .. })));
        }
        file.close();
        assert!(matches!(file.read_with(0, 1, |_| unreachable!()), Err(Error::Deactivated { .. })));
        assert!(matches!(file.write_with(99, 1, |_| unreachable!()), Err(Error::Deactivated { .. })));
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
        assert_eq!(region.resident().unwrap(), 2 * p, "until it is written");
        file.write_at(0, &[6]).unwrap();
        assert_eq!(region.resident().unwrap(), p);
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
        let before = file.session(READ).unwrap();
        let holds_nothing = before.begin().unwrap();
        assert!(!file.allow_purging(true).unwrap());
        assert!(!is_unpinned(&region));
        let session = file.session(READ).unwrap();
        let second = session.begin().unwrap();
        drop(holds_nothing);
        drop(before);
        assert!(!is_unpinned(&region));
        assert_eq!(region.purge().unwrap(), 0);
        drop(second);
        assert!(is_unpinned(&region));
        let third = session.begin().unwrap();
        assert!(file.allow_purging(false).unwrap());
        drop(third);
        assert!(!is_unpinned(&region));
        assert_eq!(read(&file, 0, 100).unwrap(), [5; 100]);
    }

    #[test]
    fn held_for_accesses_that_began_before() {
        let (file, region) = file(100);
        file.write_at(0, b"early").unwrap();
        let session = file.session(READ).unwrap();
        let early = session.begin().unwrap();
        file.deactivate();
        for allow in [true, false, true] {
            assert_eq!(file.allow_purging(allow).unwrap(), !allow);
            assert_eq!(region.purge().unwrap(), 0);
        }
        assert_eq!(early.mapping.read_vec(0, 5).unwrap(), b"early");
        drop(early);
        drop(session);
        assert_eq!(region.purge().unwrap(), page_size());
    }

    #[test]
    fn closed_under_an_access() {
        let (file, region) = file(100);
        file.write_at(0, b"mapped").unwrap();
        let _ = file.allow_purging(true).unwrap();
        let session = file.session(READ).unwrap();
        let access = session.begin().unwrap();
        file.close();
        assert!(matches!(file.session(READ).map(drop), Err(Error::Deactivated { .. })));
        assert_eq!(region.purge().unwrap(), 0);
        assert_eq!(access.mapping.read_vec(0, 6).unwrap(), b"mapped");
        drop(access);
        assert!(is_unpinned(&region), "as the owner left it");
        assert!(file.is_purging_allowed());
    }

    #[test]
    fn no_hold_while_purging_is_not_allowed() {
        let (file, region) = file(100);
        region.unpin(..).unwrap();
        let session = file.session(READ).unwrap();
        let _access = session.begin().unwrap();
        assert_eq!(region.purge().unwrap(), page_size(), "nothing is in the way");
    }

    #[test]
    fn every_file_of_the_region_sees_the_purge() {
        let p = page_size();
        let (first, region) = file(2 * p);
        // As a child of fork has it: with holds of its own.
        let twin = Region::from_fd(first.try_clone_fd().unwrap()).unwrap();
        let mapping = twin.map().unwrap();
        let second = MemoryFile::new(twin, mapping, true);
        let files = [&first, &second];
        for (reader, writer) in [(0, 1), (1, 0), (0, 0)] {
            for file in files {
                let _ = file.allow_purging(true).unwrap();
            }
            files[reader].write_at(0, &[5]).unwrap();
            let _ = region.pin(p..).unwrap();
            region.purge().unwrap();
            for file in [files[reader], files[1 - reader], files[reader]] {
                assert!(is_purged(&read(file, p, 1)), "also of what is there");
            }
            assert_eq!(region.stats().unwrap().purged_pages, 1, "nobody takes note of it");
            files[writer].write_at(p, &[6]).unwrap();
            for file in files {
                assert_eq!(read(file, p - 1, 2).unwrap(), [0, 6]);
            }
            region.unpin(..).unwrap();
            region.purge().unwrap();
            assert!(files[writer].allow_purging(false).unwrap());
            assert_eq!(read(files[1 - writer], 0, 1).unwrap(), [0], "switched off by the other one");
            region.unpin(..).unwrap();
        }
    }

    #[test]
    fn a_write_that_fails_leaves_it_purged() {
        let (file, region) = file(100);
        let _ = file.allow_purging(true).unwrap();
        file.write_at(0, &[5; 100]).unwrap();
        region.purge().unwrap();
        let session = file.session(WRITE).unwrap();
        let failed = session.begin().unwrap().write(|_| Err(Error::Purged { operation: "test" }));
        assert!(is_purged(&failed));
        assert!(is_purged(&read(&file, 0, 1)));
        let claim = region.inner.claim(BUILDING, PATIENCE).unwrap();
        assert!(is_purged(&read(&file, 0, 1)), "readers do not wait for a writer");
        drop(claim);
        file.write_at(0, &[6]).unwrap();
        assert_eq!(read(&file, 0, 2).unwrap(), [6, 0]);
    }

    #[test]
    fn an_access_makes_it_young_and_leaves_pins_alone() {
        let reclaimer = Reclaimer::builder().without_thread().build();
        let options = Region::options().reclaimer(&reclaimer);
        let files: Vec<MemoryFile> =
            (0..2).map(|_| MemoryFile::with_options(&options, "age", page_size()).unwrap()).collect();
        for file in &files {
            file.write_at(0, &[5]).unwrap();
            let _ = file.allow_purging(true).unwrap();
        }
        assert_eq!(read(&files[0], 0, 1).unwrap(), [5]);
        assert_eq!(reclaimer.reclaim(1).pages, 1);
        assert_eq!(read(&files[0], 0, 1).unwrap(), [5]);
        assert!(is_purged(&read(&files[1], 0, 1)), "the older one went");
        let peer = Region::from_fd(files[0].try_clone_fd().unwrap()).unwrap();
        let _ = peer.pin(..).unwrap();
        assert_eq!(read(&files[0], 0, 1).unwrap(), [5]);
        assert!(!is_unpinned(&peer));
    }

    #[test]
    fn what_cannot_be_purged_stays_as_it_is() {
        let file = MemoryFile::with_options(&Region::options().never_purgeable(), "kept", 100).unwrap();
        assert!(matches!(file.allow_purging(true), Err(Error::NotPurgeable { .. })));
        let session = file.session(READ).unwrap();
        let access = session.begin().unwrap();
        assert!(matches!(file.allow_purging(true), Err(Error::NotPurgeable { .. })));
        drop(access);
        assert!(!file.is_purging_allowed());
        file.write_at(0, b"kept").unwrap();
        assert_eq!(read(&file, 0, 4).unwrap(), b"kept");
    }
}
