//! Descriptors that come from elsewhere, and descriptors to hand on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::SealFlags;

use super::apart::Parts;
use super::{Region, RegionOptions};
use crate::control::{Control, Layout};
use crate::driver::device;
use crate::page::SIZE_MAX;
use crate::sys::lock::Kind;
use crate::sys::memfd::Status;
use crate::sys::{lock, memfd};
use crate::{Error, Protection, Result, reclaim};

/// How long a receiver waits for somebody who is appending the control block right now.
const APPEND_WAIT: Duration = Duration::from_secs(1);

const UNSEALED: Error =
    Error::NotARegion { reason: "a control block needs a file sealed against growing and shrinking" };

const MISFIT: Error = Error::NotARegion { reason: "the file's size does not fit a control block" };

/// Its pages are those of the other file: nothing would be freed by purging it.
const STATE_ALONE: Error = Error::NotARegion { reason: "it is the pin state of another file" };

impl Region {
    /// Makes a region of a descriptor that was received.
    ///
    /// Any memfd will do: one without a control block is a region whose size is the file's. Pins of its other holders are seen
    /// here and the other way round. If pages of it are unpinned already, this process's reclaimer watches it, too, unless the
    /// descriptor is read-only: whoever only looks changes nothing.
    ///
    /// Of a memfd that is marked as an area of an ashmem device, the pin state is asked of the server of that device, which may take a
    /// second. Where there is none, or it does not know the area, it is a region like any other. `$ASHMEM_DEVICE` names the server's
    /// socket, or is `off`.
    ///
    /// # Errors
    /// [`Error::NotARegion`] when it is not a memfd (of ordinary pages), when it claims to have a control block that
    /// does not fit, or when it is the pin state of another file; [`Error::InvalidSize`] when it is empty; [`Error::PurgeLocked`] when somebody has been giving it a control block
    /// for a second; [`Error::System`]. The descriptor is closed in any case; pass a duplicate to keep it.
    pub fn from_fd(fd: OwnedFd) -> Result<Region> {
        Region::from_fd_with(fd, RegionOptions::new())
    }

    /// [`Region::from_fd`] with a reclaimer of the caller's choice; the other options are for regions that are made.
    ///
    /// # Errors
    /// As [`Region::from_fd`].
    pub fn from_fd_with(fd: OwnedFd, options: RegionOptions) -> Result<Region> {
        let Described { size, is_marked, is_device_area, .. } = described(fd.as_fd())?;
        if is_device_area {
            if let Some(parts) =
                device::state_of(fd.as_fd()).and_then(|state| Parts::of(fd.as_fd(), state).ok())
            {
                return Ok(Region::of_parts(fd, parts, options));
            }
        }
        let region = Region::new(fd, size, None, options.take_reclaimer());
        let control = region.inner.control()?;
        if is_marked && control.is_none() {
            return Err(UNSEALED);
        }
        if control.is_some_and(Control::is_writable) && reclaim::any_unpinned(&region.inner) {
            // Whoever unpinned it may be gone, and its reclaimer with it.
            reclaim::watch(&region.inner);
        }
        Ok(region)
    }

    /// [`Region::from_fd`] for who takes pages away from regions of others: a region with a control block that can be written to, and
    /// nothing else. Never waits, not for the server of a device either, and no reclaimer watches it.
    ///
    /// # Errors
    /// As [`Region::from_fd`]; [`Error::NotPurgeable`] without a control block, [`Error::ReadOnly`].
    #[doc(hidden)]
    pub fn adopt(fd: OwnedFd) -> Result<Region> {
        let status = memfd::status(fd.as_fd()).map_err(Error::system("look at descriptor"))?;
        if !status.is_memfd().map_err(Error::system("look at descriptor"))? {
            return Err(Error::NotARegion { reason: "the descriptor is not a memfd" });
        }
        if status.has_control_mark && status.has_device_mark {
            return Err(STATE_ALONE);
        }
        if !status.has_control_mark {
            return Err(Error::NotPurgeable { reason: "it has no control block" });
        }
        let layout = Layout::from_file_size(status.size).ok_or(MISFIT)?;
        let region = Region::new(fd, layout.size, None, None);
        match region.inner.control()? {
            None => Err(UNSEALED),
            Some(control) if !control.is_writable() => Err(Error::ReadOnly { operation: "adopt region" }),
            Some(_) => Ok(region),
        }
    }

    /// The size in bytes of the region that a descriptor names, as [`Region::from_fd`] would find it. The descriptor stays the
    /// caller's.
    ///
    /// Takes one system call or two, and a third where the file could be growing by a control block just now. Maps nothing, so
    /// the control block's version is not looked at.
    ///
    /// Stands for `ASHMEM_GET_SIZE`, `ashmem_valid` and `ashmem_get_size_region`.
    ///
    /// # Errors
    /// As [`Region::from_fd`].
    ///
    /// # Examples
    /// ```
    /// use ashmem::Region;
    ///
    /// let region = Region::options().purgeable().create("tiles", 10_000)?;
    /// assert_eq!(Region::probe(&region)?, 10_000);
    /// assert!(Region::probe(std::io::stdin()).is_err());
    /// # Ok::<(), ashmem::Error>(())
    /// ```
    pub fn probe(fd: impl AsFd) -> Result<u64> {
        Region::probe_for(fd, Protection::empty())
    }

    /// [`Region::probe`] for who wants to map it so, without this library: refused as far as the file's mode says that the mask
    /// does not allow it. What is said in a control block alone is not looked at.
    #[doc(hidden)]
    pub fn probe_for(fd: impl AsFd, needed: Protection) -> Result<u64> {
        let fd = fd.as_fd();
        let Described { size, is_marked, removed, .. } = described(fd)?;
        if removed.intersects(needed) {
            let mask = Protection::all().difference(removed);
            return Err(Error::ProtectionDenied { operation: "map region", needed, mask });
        }
        if is_marked {
            let seals = memfd::seals(fd).map_err(Error::system("read seals"))?;
            if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
                return Err(UNSEALED);
            }
        }
        Ok(size)
    }

    /// A new descriptor of this region that can only read, with a description (file position, locks) of its own.
    ///
    /// A receiver can then neither write, unpin nor purge. That stops mistakes, and other users; a process of the same user can open the
    /// region for writing again through `/proc`, and only removing WRITE from the mask
    /// ([`Region::set_protection`]) stops that.
    ///
    /// # Errors
    /// [`Error::System`]: no `/proc`, no free descriptor.
    pub fn share_read_only(&self) -> Result<OwnedFd> {
        memfd::reopen(self.as_fd(), false).map_err(Error::system("reopen region read-only"))
    }

    /// A new descriptor of this region that reads and writes, with a description of its own.
    ///
    /// # Errors
    /// [`Error::System`]: no `/proc`, no free descriptor, no permission.
    pub fn share_read_write(&self) -> Result<OwnedFd> {
        memfd::reopen(self.as_fd(), true).map_err(Error::system("reopen region"))
    }

    /// Whether this descriptor reads and writes.
    pub(crate) fn is_writable(&self) -> Result<bool> {
        memfd::is_writable(self.as_fd()).map_err(Error::system("look at descriptor"))
    }

    /// Makes sure that no page can vanish from under a mapping (SIGBUS), for good.
    pub(crate) fn seal_against_shrinking(&self) -> Result<()> {
        if self.inner.sealed_against_shrinking.load(Ordering::Relaxed) {
            return Ok(());
        }
        let seals = memfd::seals(self.as_fd()).map_err(Error::system("read seals"))?;
        if !seals.contains(SealFlags::SHRINK) {
            memfd::add_seals(self.as_fd(), SealFlags::SHRINK).map_err(|_| Error::Unsealable)?;
        }
        // It may have shrunk before it was sealed, by whomever.
        if self.inner.status()?.size < self.size() {
            return Err(Error::NotARegion { reason: "the file has shrunk" });
        }
        self.inner.mark_sealed_against_shrinking();
        Ok(())
    }
}

/// What the kernel says of the file behind a descriptor.
struct Described {
    /// Of the region, in bytes.
    size: u64,
    /// As having a control block.
    is_marked: bool,
    /// As having its pin state in another file.
    is_device_area: bool,
    /// From the protection mask, as far as the mode says so.
    removed: Protection,
}

fn described(fd: BorrowedFd<'_>) -> Result<Described> {
    let status = settled_status(fd)?;
    if status.has_control_mark && status.has_device_mark {
        return Err(STATE_ALONE);
    }
    let size = if status.has_control_mark {
        Layout::from_file_size(status.size).ok_or(MISFIT)?.size
    } else {
        status.size
    };
    if size == 0 || size > SIZE_MAX {
        return Err(Error::InvalidSize { size, max: SIZE_MAX });
    }
    Ok(Described {
        size,
        is_marked: status.has_control_mark,
        is_device_area: status.has_device_mark,
        removed: status.removed,
    })
}

/// The status of a memfd at a moment when nobody was between growing it by a control block and marking that. Who does so
/// holds the purge lock, whose place follows from the size of the grown file.
fn settled_status(fd: BorrowedFd<'_>) -> Result<Status> {
    let look = || memfd::status(fd).map_err(Error::system("look at descriptor"));
    let mut status = look()?;
    if !status.is_memfd().map_err(Error::system("look at descriptor"))? {
        return Err(Error::NotARegion { reason: "the descriptor is not a memfd" });
    }
    let mut give_up = None;
    loop {
        let layout = Layout::from_file_size(status.size).filter(|_| !status.has_control_mark);
        // Marked already, or not grown.
        let Some(layout) = layout else { return Ok(status) };
        let byte = layout.control_start();
        let held = lock::is_held(fd, Kind::Read, byte, byte + 1).unwrap_or(false);
        let before = std::mem::replace(&mut status, look()?);
        if status.has_control_mark || (!held && status.size == before.size) {
            return Ok(status);
        }
        let now = Instant::now();
        if now > *give_up.get_or_insert(now + APPEND_WAIT) {
            return Err(Error::PurgeLocked { operation: "receive region" });
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::Contents;
    use crate::sys::mode;

    fn raw_memfd(size: u64) -> OwnedFd {
        let fd = memfd::create(c"foreign").expect("a memfd");
        memfd::set_size(fd.as_fd(), size).expect("a size");
        fd
    }

    #[test]
    fn a_foreign_memfd_is_a_region_and_becomes_purgeable() {
        let region = Region::from_fd(raw_memfd(10_000)).expect("a memfd is a region");
        assert_eq!((region.size(), region.name().expect("named").to_str()), (10_000, Some("foreign")));
        assert_eq!(region.pin(..).expect("pinned from the start"), Contents::Intact);
        region.unpin(..).expect("a control block can be appended");
        let other =
            Region::from_fd(region.as_fd().try_clone_to_owned().expect("a duplicate")).expect("a region");
        assert_eq!(other.size(), 10_000, "the size is exact behind a control block, too");
    }

    #[test]
    fn only_what_can_be_purged_is_adopted() {
        let region = Region::create("adopted", 10_000).expect("a region");
        let adopt = || Region::adopt(region.share_read_write().expect("reopened"));
        assert!(matches!(adopt(), Err(Error::NotPurgeable { .. })));
        region.unpin(..).expect("unpinned");
        let adopted = adopt().expect("a region");
        assert_eq!((adopted.size(), adopted.inner.is_looked_after()), (10_000, false));
        assert_eq!(adopted.purge().expect("purged"), 3 * crate::page_size());
        let read_only = region.share_read_only().expect("reopened");
        assert!(matches!(Region::adopt(read_only), Err(Error::ReadOnly { .. })));
        // Half grown, and locked by who is at it: nobody waits for that.
        let layout = Layout::new(10_000);
        let fd = raw_memfd(layout.file_size());
        let lock = memfd::reopen(fd.as_fd(), true).expect("reopened");
        let byte = layout.control_start();
        assert_eq!(lock::try_set(lock.as_fd(), Kind::Write, byte, byte + 1), Ok(true));
        assert!(matches!(Region::adopt(fd), Err(Error::NotPurgeable { .. })));
        assert!(matches!(
            Region::adopt(std::io::pipe().expect("a pipe").0.into()),
            Err(Error::NotARegion { .. })
        ));
    }

    #[test]
    fn anything_else_is_refused() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8192).expect("a size");
        for fd in [
            OwnedFd::from(file),
            File::open("/dev/null").expect("a device").into(),
            std::io::pipe().expect("a pipe").0.into(),
        ] {
            assert!(matches!(Region::from_fd(fd), Err(Error::NotARegion { .. })));
        }
        assert!(matches!(Region::from_fd(raw_memfd(0)), Err(Error::InvalidSize { .. })));
        assert!(matches!(Region::from_fd(raw_memfd(SIZE_MAX + 1)), Err(Error::InvalidSize { .. })));
    }

    #[test]
    fn a_probe_says_what_receiving_would() {
        let page = crate::page_size();
        let file = tempfile::tempfile().expect("a file");
        file.set_len(Layout::new(page).file_size()).expect("a size");
        let purgeable = Region::options().purgeable().create("probed", 3 * page - 7).expect("a region");
        let marked = |size| {
            let fd = raw_memfd(size);
            mode::set_control_mark(fd.as_fd()).expect("the owner may");
            fd
        };
        for fd in [
            raw_memfd(1),
            raw_memfd(page),
            // Could have grown.
            raw_memfd(Layout::new(page).file_size()),
            raw_memfd(SIZE_MAX),
            raw_memfd(SIZE_MAX + 1),
            raw_memfd(0),
            marked(3 * page - 7),
            marked(Layout::new(page).file_size()),
            purgeable.share_read_only().expect("reopened"),
            purgeable.into_fd().expect("the descriptor"),
            file.into(),
            File::open("/dev/null").expect("a device").into(),
            std::io::pipe().expect("a pipe").0.into(),
        ] {
            let probed = Region::probe(&fd);
            match (Region::from_fd(fd), probed) {
                (Ok(region), Ok(size)) => assert_eq!(region.size(), size),
                (Err(refused), Err(probed)) => assert_eq!(refused.to_string(), probed.to_string()),
                (received, probed) => panic!("received {received:?}, probed {probed:?}"),
            }
        }
    }

    #[test]
    fn a_probe_waits_for_the_end_of_an_append() {
        let size = 40 * crate::page_size() - 7;
        let layout = Layout::new(size);
        let fd = raw_memfd(layout.file_size());
        let lock = memfd::reopen(fd.as_fd(), true).expect("reopened");
        let byte = layout.control_start();
        assert_eq!(lock::try_set(lock.as_fd(), Kind::Write, byte, byte + 1), Ok(true));
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| Region::probe(&fd));
            std::thread::sleep(Duration::from_millis(20));
            memfd::add_seals(fd.as_fd(), SealFlags::SHRINK | SealFlags::GROW).expect("sealed");
            mode::set_control_mark(fd.as_fd()).expect("the owner may");
            assert_eq!(probe.join().expect("no panic").expect("a region"), size);
        });
        // One that never ends.
        let fd = raw_memfd(layout.file_size());
        let lock = memfd::reopen(fd.as_fd(), true).expect("reopened");
        assert_eq!(lock::try_set(lock.as_fd(), Kind::Write, byte, byte + 1), Ok(true));
        assert!(matches!(Region::probe(&fd), Err(Error::PurgeLocked { .. })));
        drop(lock);
        assert_eq!(Region::probe(&fd).expect("a plain region"), layout.file_size());
    }

    #[test]
    fn a_forged_mark_is_refused() {
        let page = crate::page_size();
        for size in [1, page, 3 * page - 7, 1 << 40] {
            let fd = raw_memfd(size);
            mode::set_control_mark(fd.as_fd()).expect("the owner may");
            assert!(matches!(Region::from_fd(fd), Err(Error::NotARegion { .. })), "{size}");
        }
        // A size that fits, but nothing sealed: it could be truncated under the mapping.
        let fd = raw_memfd(Layout::new(page).file_size());
        mode::set_control_mark(fd.as_fd()).expect("the owner may");
        assert!(matches!(Region::from_fd(fd), Err(Error::NotARegion { .. })));
    }

    #[test]
    fn a_mark_forged_later_is_refused_and_seals_nothing() {
        let page = crate::page_size();
        let fd = raw_memfd(Layout::new(32 * page).file_size());
        let region = Region::from_fd(fd.try_clone().expect("a duplicate")).expect("a plain region");
        mode::set_control_mark(fd.as_fd()).expect("the owner may");
        assert!(matches!(region.unpin(..), Err(Error::NotARegion { .. })));
        memfd::set_size(fd.as_fd(), page).expect("not sealed");
        assert!(matches!(region.map(), Err(Error::NotARegion { .. })));
        assert!(region.freeze().is_err());
    }

    /// The states that a process leaves that is killed while it appends.
    #[test]
    fn an_append_that_was_cut_short_is_finished() {
        let size = 40 * crate::page_size() - 7;
        let grown = Layout::new(size).file_size();
        for seals in [SealFlags::empty(), SealFlags::SHRINK | SealFlags::GROW] {
            let region = Region::create("append", size).expect("a region");
            region.map().expect("mapped").write_at(size - 1, b"x").expect("written");
            memfd::set_size(region.as_fd(), grown).expect("not sealed against growing");
            memfd::add_seals(region.as_fd(), seals).expect("sealed");
            assert_eq!(region.pin(..).expect("nobody can have unpinned it"), Contents::Intact);
            region.unpin(..).expect("finished");
            let received = Region::from_fd(region.share_read_write().expect("reopened")).expect("a region");
            assert_eq!(received.size(), size);
            assert_eq!(received.pin(..).expect("pinned"), Contents::Intact);
            assert_eq!(received.map().expect("mapped").read_vec(size - 1, 1).expect("read"), b"x");
        }
    }

    #[test]
    fn a_shrunken_or_unsealable_file_is_not_mapped() {
        let fd = raw_memfd(8192);
        let region = Region::from_fd(fd.try_clone().expect("a duplicate")).expect("a region");
        memfd::set_size(fd.as_fd(), 10).expect("not sealed yet");
        assert!(matches!(region.map(), Err(Error::NotARegion { .. })));

        let fd = raw_memfd(8192);
        memfd::add_seals(fd.as_fd(), SealFlags::SEAL).expect("sealed");
        let region = Region::from_fd(fd).expect("a region");
        assert!(matches!(region.map(), Err(Error::Unsealable)));
        assert!(matches!(region.unpin(..), Err(Error::NotPurgeable { .. })));
    }

    #[test]
    fn a_read_only_receiver_cannot_write_unpin_or_purge() {
        let region = Region::options().purgeable().create("shared", 8192).expect("a region");
        region.map().expect("mapped").write_at(0, b"kept").expect("written");
        let reader = Region::from_fd(region.share_read_only().expect("reopened")).expect("a region");
        assert!(matches!(reader.map(), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.unpin(..), Err(Error::ReadOnly { .. })));
        assert_eq!(reader.map_read_only().expect("mapped").read_vec(0, 4).expect("read"), b"kept");
    }
}
