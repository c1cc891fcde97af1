//! `android.os.MemoryFile`: a region that is read and written like a file, and can be purged between accesses.
//!
//! What it has is in one [`State`] behind a mutex, which is locked only inside a fork section and for a few instructions: never
//! while bytes are copied, and never while pages are held, pinned or unpinned, as that may open fork sections itself. An access
//! takes a reference to the [`session`] from it, and nothing else.

mod access;
mod session;
mod stream;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub use stream::{MemoryInputStream, MemoryOutputStream};

use self::session::Session;
use crate::page::SIZE_MAX;
use crate::shared_memory::{NO_NAME, duplicate};
use crate::sys::fork;
use crate::{Error, MapOptions, Mapping, Region, RegionOptions, Result};

/// A file in shared memory, with a fixed length, whose contents may be purged between accesses if its owner
/// [allows](MemoryFile::allow_purging) it: `android.os.MemoryFile`.
///
/// Any thread may use it, and close it while others use it: their accesses then fail, or have been complete. All checks are
/// made in the order in which Android makes them, and every one has a variant of [`Error`]:
///
/// | Java | [`Error`] |
/// |---|---|
/// | `IllegalArgumentException` | [`InvalidSize`](Error::InvalidSize); [`NotARegion`](Error::NotARegion) of a descriptor |
/// | `IndexOutOfBoundsException` | [`AccessOutOfBounds`](Error::AccessOutOfBounds); nothing has changed then |
/// | `IOException` | [`Deactivated`](Error::Deactivated), [`Closed`](Error::Closed), [`Purged`](Error::Purged), and everything else |
///
/// # Purging
///
/// While purging is allowed the file is unpinned, and each access holds all of it, as a [lease](Region::lease) does: nothing is taken away
/// until the access ends, or its process. Once pages were taken away between accesses, the file is *purged*:
///
/// - Reads fail with [`Error::Purged`], again and again, until the file is written or purging is switched off. (Android's
///   own fails once and then reads zeros.) That is so for every `MemoryFile` of the region that allows purging: in a
///   child of `fork(2)`, too.
/// - A write of at least one byte succeeds, at once, and ends that: what it did not write reads as zeros, also where pages had
///   survived. Who writes only a part of the file and relies on the rest should read some of it first.
/// - A read at the same time as that write fails, or finds all of what was written. Of several writes at the same
///   time none is lost. A write that fails, or whose process dies, leaves the file purged.
///
/// Whether pages are pinned is a flag that all holders of the region share. Switching purging off keeps the file only as long as
/// nobody else unpins it: so the processes that have a `MemoryFile` of one region should agree on the setting. Readers
/// whose reads do not hold the file ([`MemoryFile::from_fd_read_only`]) may see zeros instead of an error.
///
/// Holding takes `/proc` and a second descriptor of the region, once in each process. A process that allows purging gets them
/// then, or the setting stays; a child of `fork(2)` gets its own with its first access.
///
/// # Examples
/// ```
/// use ashmem::{Error, MemoryFile};
///
/// let file = MemoryFile::create("thumbnail", 4096)?;
/// file.write_at(0, b"pixels")?;
/// file.allow_purging(true)?;
///
/// let mut pixels = [0; 6];
/// match file.read_at(0, &mut pixels) {
///     Ok(()) => assert_eq!(&pixels, b"pixels"),
///     Err(Error::Purged { .. }) => file.write_at(0, b"again.")?,
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct MemoryFile {
    length: u64,
    /// Made here, for reading and writing; not received.
    owned: bool,
    state: Mutex<State>,
}

struct State {
    /// None when closed; then there is no session either.
    region: Option<Region>,
    /// None when deactivated. Accesses keep the file mapped while they last.
    session: Option<Arc<Session>>,
    /// The last one, for as long as accesses of it go on.
    deactivated: Weak<Session>,
    is_allowed: bool,
}

impl State {
    /// Makes a session under the present setting, if there is one, and returns the one before.
    fn next_session(&mut self) -> Option<Arc<Session>> {
        let before = self.session.take();
        self.session = before.as_ref().map(|before| Arc::new(before.next(self.is_allowed)));
        before
    }

    /// Ends the session, and returns it.
    fn deactivate(&mut self) -> Option<Arc<Session>> {
        let session = self.session.take()?;
        self.deactivated = Arc::downgrade(&session);
        Some(session)
    }
}

impl MemoryFile {
    /// Makes a file of `length` bytes, all zeros, that cannot be purged yet. The name is a label, and may be `None`.
    ///
    /// Stands for `MemoryFile(String, int)`.
    ///
    /// # Errors
    /// As [`Region::create`], and [`Error::System`] when it cannot be mapped.
    pub fn create<'a>(name: impl Into<Option<&'a str>>, length: u64) -> Result<MemoryFile> {
        MemoryFile::with_options(&RegionOptions::new(), name, length)
    }

    /// [`MemoryFile::create`] with options for the region, its reclaimer for instance.
    ///
    /// # Errors
    /// As [`RegionOptions::create`], and [`Error::System`] when it cannot be mapped.
    pub fn with_options<'a>(
        options: &RegionOptions,
        name: impl Into<Option<&'a str>>,
        length: u64,
    ) -> Result<MemoryFile> {
        let region = options.create(name.into().unwrap_or(NO_NAME), length)?;
        let mapping = region.map()?;
        Ok(MemoryFile::new(region, mapping, true))
    }

    /// The first `length` bytes of a file that was received, for reading. Purging is its owner's affair.
    ///
    /// Stands for the hidden `MemoryFile(FileDescriptor, int, "r")`. The descriptor is taken over, and gone also after an
    /// error.
    ///
    /// # Errors
    /// As [`Region::from_fd`]; then [`Error::InvalidSize`] for length 0; then as [`MapOptions::map`], with
    /// [`Error::RangeOutOfBounds`] when the file is shorter.
    pub fn from_fd_read_only(fd: OwnedFd, length: u64) -> Result<MemoryFile> {
        let region = Region::from_fd(fd)?;
        if length == 0 {
            return Err(Error::InvalidSize { size: 0, max: SIZE_MAX });
        }
        let mapping = MapOptions::new().read_only().range(..length).map(&region)?;
        Ok(MemoryFile::new(region, mapping, false))
    }

    fn new(region: Region, mapping: Mapping, owned: bool) -> MemoryFile {
        let length = mapping.len();
        let session = Session::new(region.clone(), Arc::new(mapping), false);
        let state = State {
            region: Some(region),
            session: Some(Arc::new(session)),
            deactivated: Weak::new(),
            is_allowed: false,
        };
        MemoryFile { length, owned, state: Mutex::new(state) }
    }

    /// Length in bytes; never 0. Stands for `MemoryFile.length`.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a memory file is never empty")]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Unmaps the file, once no access is under way any more, and keeps its descriptor. Later accesses fail.
    ///
    /// Stands for `MemoryFile.deactivate`.
    pub fn deactivate(&self) {
        let session = self.with(State::deactivate);
        // Not in the fork section any more.
        drop(session);
    }

    /// Whether it was deactivated, or closed. Stands for `MemoryFile.isDeactivated`.
    #[must_use]
    pub fn is_deactivated(&self) -> bool {
        self.with(|state| state.session.is_none())
    }

    /// Unmaps the file and closes its descriptor, once no access is under way any more; closing again does nothing.
    ///
    /// Stands for `MemoryFile.close`.
    pub fn close(&self) {
        let left = self.with(|state| (state.deactivate(), state.region.take()));
        // Not in the fork section any more.
        drop(left);
    }

    /// The number of the descriptor, which stays this object's; `None` when it is closed.
    ///
    /// Stands for `MemoryFile.getFileDescriptor`. It may be closed, and the number used again, at any moment;
    /// [`MemoryFile::try_clone_fd`] gives one that stays.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.with(|state| state.region.as_ref().map(|region| region.as_fd().as_raw_fd()))
    }

    /// A duplicate of the descriptor, to send. Stands for `MemoryFile.getParcelFileDescriptor`.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::System`] when there is no free descriptor.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        let region = self.with(|state| state.region.clone());
        duplicate(&region.ok_or(Error::Closed { operation: "duplicate descriptor of memory file" })?)
    }

    /// Whether a descriptor could be a memory file's: that of a region, or of any memfd that is not empty.
    ///
    /// Stands for `MemoryFile.isMemoryFile`.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn is_memory_file(fd: impl AsFd) -> Result<bool> {
        match MemoryFile::size_of_fd(fd) {
            Ok(_) => Ok(true),
            Err(Error::NotARegion { .. } | Error::InvalidSize { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Size in bytes of the memory file, or other region, behind a descriptor.
    ///
    /// Stands for `MemoryFile.getSize`, which is -1 where this is [`Error::NotARegion`].
    ///
    /// # Errors
    /// As [`Region::from_fd`]. The descriptor stays the caller's.
    pub fn size_of_fd(fd: impl AsFd) -> Result<u64> {
        let fd = fd.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|source| Error::System { operation: "duplicate descriptor", source })?;
        Ok(Region::from_fd(fd)?.size())
    }

    /// A stream that reads the file from its start. Stands for `MemoryFile.getInputStream`.
    #[must_use]
    pub fn input_stream(&self) -> MemoryInputStream<'_> {
        MemoryInputStream::new(self)
    }

    /// A stream that writes the file from its start. Stands for `MemoryFile.getOutputStream`.
    #[must_use]
    pub fn output_stream(&self) -> MemoryOutputStream<'_> {
        MemoryOutputStream::new(self)
    }

    /// Nothing in `action` may open a fork section, or drop what could be the last of its kind.
    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let _section = fork::section();
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile")
            .field("fd", &self.fd())
            .field("length", &self.length)
            .field("deactivated", &self.is_deactivated())
            .field("purging_allowed", &self.is_purging_allowed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::{Protection, page_size};

    #[test]
    fn usable_from_any_thread() {
        fn any_thread<T: Send + Sync + fmt::Debug>() {}
        any_thread::<MemoryFile>();
        any_thread::<MemoryInputStream<'static>>();
        any_thread::<MemoryOutputStream<'static>>();
    }

    #[test]
    fn created_with_a_length() {
        let file = MemoryFile::create("Test File", 1024).unwrap();
        assert_eq!((file.len(), file.is_deactivated(), file.is_purging_allowed()), (1024, false, false));
        assert_eq!(MemoryFile::create(None, 512).unwrap().len(), 512);
        assert!(matches!(MemoryFile::create(None, 0), Err(Error::InvalidSize { size: 0, .. })));
        assert!(matches!(MemoryFile::create("a\0b", 1), Err(Error::NameHasNul)));
    }

    #[test]
    fn deactivated_it_keeps_its_descriptor() {
        let file = MemoryFile::create(None, 5000).unwrap();
        file.write_at(0, b"kept").unwrap();
        file.deactivate();
        file.deactivate();
        assert!(file.is_deactivated());
        assert!(matches!(file.read_at(0, &mut [0]), Err(Error::Deactivated { .. })));
        assert!(matches!(file.write_at(0, &[0]), Err(Error::Deactivated { .. })));
        assert!(!file.allow_purging(true).unwrap());
        assert!(file.allow_purging(false).unwrap());
        assert!(file.fd().is_some());
        let twin = MemoryFile::from_fd_read_only(file.try_clone_fd().unwrap(), 5000).unwrap();
        let mut kept = [0; 4];
        twin.read_at(0, &mut kept).unwrap();
        assert_eq!(&kept, b"kept");
    }

    #[test]
    fn closed_once_and_for_all() {
        let file = MemoryFile::create(None, 1024).unwrap();
        let twin = MemoryFile::from_fd_read_only(file.try_clone_fd().unwrap(), 1024).unwrap();
        file.write_at(0, b"data").unwrap();
        file.close();
        file.close();
        assert!(file.is_deactivated());
        assert_eq!((file.fd(), file.len()), (None, 1024));
        assert!(matches!(file.read_at(0, &mut [0]), Err(Error::Deactivated { .. })));
        assert!(matches!(file.try_clone_fd(), Err(Error::Closed { .. })));
        assert!(matches!(file.allow_purging(true), Err(Error::Closed { .. })));
        assert!(!file.allow_purging(false).unwrap(), "as it is");
        let mut data = [0; 4];
        twin.read_at(0, &mut data).unwrap();
        assert_eq!(&data, b"data");
    }

    #[test]
    fn received_for_reading() {
        let p = page_size();
        let file = MemoryFile::create(None, 2 * p).unwrap();
        file.write_at(p, b"text").unwrap();
        let open = |length| MemoryFile::from_fd_read_only(file.try_clone_fd().unwrap(), length);
        let reader = open(p + 4).unwrap();
        assert_eq!(reader.len(), p + 4);
        let mut text = [0; 4];
        reader.read_at(p, &mut text).unwrap();
        assert_eq!(&text, b"text");
        assert!(matches!(reader.read_at(p + 1, &mut text), Err(Error::AccessOutOfBounds { .. })));
        assert!(matches!(reader.write_at(0, b"x"), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.allow_purging(true), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.allow_purging(false), Err(Error::ReadOnly { .. })));
        assert!(!reader.is_purging_allowed());
        assert!(matches!(open(0), Err(Error::InvalidSize { .. })));
        assert!(matches!(open(2 * p + 1), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(open(u64::MAX), Err(Error::RangeOutOfBounds { .. })));
    }

    #[test]
    fn received_is_only_what_may_be_read() {
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(MemoryFile::from_fd_read_only(null.into(), 0), Err(Error::NotARegion { .. })));
        let region = Region::create("no reading", 1).unwrap();
        region.set_protection(Protection::WRITE).unwrap();
        let refused = MemoryFile::from_fd_read_only(region.into_fd().unwrap(), 1);
        assert!(matches!(refused, Err(Error::ProtectionDenied { .. })));
    }

    #[test]
    fn descriptors_tell_what_they_are() {
        let file = MemoryFile::create(None, 1000).unwrap();
        let fd = file.try_clone_fd().unwrap();
        assert!(MemoryFile::is_memory_file(&fd).unwrap());
        assert_eq!(MemoryFile::size_of_fd(&fd).unwrap(), 1000);
        let _ = file.allow_purging(true).unwrap();
        assert_eq!(MemoryFile::size_of_fd(&fd).unwrap(), 1000, "also with a control block");
        for other in [File::open("/dev/null").unwrap(), tempfile::tempfile().unwrap()] {
            assert!(!MemoryFile::is_memory_file(&other).unwrap());
            assert!(matches!(MemoryFile::size_of_fd(&other), Err(Error::NotARegion { .. })));
        }
    }
}
