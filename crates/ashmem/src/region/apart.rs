//! Regions whose pin state is in a file of its own, because the file of their contents is to be exactly the contents.
//!
//! The *state file* has the layout of an ordinary region's file of that size. The part for the data is a hole that is never used; the control
//! block is where it always is, and all locks are on the bytes that they are always on. So whatever works on a control block
//! works on this one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::{Region, RegionOptions};
use crate::control::{Control, Layout, TOO_LARGE_TO_PURGE};
use crate::page::SIZE_MAX;
use crate::sys::aside::aside;
use crate::sys::memfd::{self, Status};
use crate::sys::mode;
use crate::{Error, Result, reclaim};

const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// Where the pin state of such a region is.
#[derive(Debug)]
pub(crate) struct Apart {
    state: OwnedFd,
    /// What the file of the contents was when the region was made.
    contents: Status,
}

impl Apart {
    pub(super) fn state(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }

    /// Whether a descriptor still names the file of the contents. Programs in C close descriptors that are not theirs.
    pub(crate) fn is_of(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.contents.is_same_file(&memfd::status(fd)?))
    }
}

/// A state file that fits contents, and its control block.
pub(super) struct Parts {
    apart: Apart,
    control: Control,
}

impl Parts {
    pub(super) fn of(contents: BorrowedFd<'_>, state: OwnedFd) -> Result<Parts> {
        let (status, layout) = described(contents)?;
        let state_status = look(state.as_fd())?;
        if !is_memfd(&state_status)? || state_status.is_same_file(&status) {
            return Err(Error::NotARegion { reason: "the pin state is not a memfd of its own" });
        }
        if !state_status.has_control_mark || !state_status.has_device_mark {
            return Err(Error::NotARegion { reason: "the file of the pin state is not marked as such" });
        }
        // Who may only read the contents is not to take them away.
        let state = if is_writable(contents)? {
            aside(state)
        } else {
            aside(memfd::reopen(state.as_fd(), false).map_err(Error::system("reopen pin state read-only"))?)
        };
        // That refuses another size, and a file whose size is not sealed.
        let control = Control::open(state.as_fd(), layout.size)?
            .ok_or(Error::NotARegion { reason: "the pin state is not sealed" })?;
        Ok(Parts { apart: Apart { state, contents: status }, control })
    }
}

impl Region {
    /// Makes a region of contents that are there already, and keeps its pin state in a second memfd, the *state file*, which is made now.
    ///
    /// `contents` is a memfd that reads and writes and is sealed against growing and shrinking; its size is the region's, and nothing is added to it.
    /// Whoever is to see and make pins needs both files: [`from_parts`](Self::from_parts) makes the same region of them. (Who has the contents
    /// alone sees an ordinary memfd, in which pages become zeros when they are purged.)
    ///
    /// Stands for an area of the driver, whose file is the contents to the byte.
    ///
    /// # Errors
    /// [`Error::NotARegion`] when it is not a memfd, or its size is not sealed; [`Error::InvalidSize`] when it is empty;
    /// [`Error::NotPurgeable`] above 1 TiB; [`Error::ReadOnly`]; [`Error::System`] when there is no free descriptor, or no memory. The
    /// descriptor is closed in any case; pass a duplicate to keep it.
    ///
    /// # Examples
    /// ```
    /// use std::fs::File;
    ///
    /// use ashmem::{Contents, Region};
    ///
    /// let plain = Region::options().never_purgeable().create("area", 5000)?.into_fd()?;
    /// let region = Region::with_state_apart(plain)?;
    /// region.map()?.write_at(0, b"decoded image")?;
    /// region.unpin(..)?;
    /// region.purge()?;
    /// assert_eq!(File::from(region.share_read_only()?).metadata().expect("a file").len(), 5000);
    /// assert_eq!(region.pin(..)?, Contents::Purged);
    /// # Ok::<(), ashmem::Error>(())
    /// ```
    pub fn with_state_apart(contents: OwnedFd) -> Result<Region> {
        Region::apart_with(contents, RegionOptions::new())
    }

    pub(super) fn apart_with(contents: OwnedFd, options: RegionOptions) -> Result<Region> {
        let (_, layout) = described(contents.as_fd())?;
        if !is_writable(contents.as_fd())? {
            return Err(Error::ReadOnly { operation: "make pin state" });
        }
        let state = state_file(layout).map_err(Error::system("make pin state"))?;
        let parts = Parts::of(contents.as_fd(), state)?;
        parts.control.initialise();
        Ok(Region::of_parts(contents, parts, options))
    }

    /// Makes a region of contents and the state file that belongs to them, as they were received.
    ///
    /// Pins of other holders of both are seen here and the other way round. Through contents that can only be read, nothing can be pinned
    /// or unpinned. Which state file belongs to which contents the files do not say: whoever sends both has to be trusted with that. If pages
    /// are unpinned already, this process's reclaimer watches the region.
    ///
    /// # Errors
    /// [`Error::NotARegion`] when one of them is not a memfd, the contents' size is not sealed, or the state file is not one that was made for
    /// contents of that size; else as [`with_state_apart`](Self::with_state_apart). Both descriptors are closed in any case.
    ///
    /// # Examples
    /// ```
    /// use std::os::fd::AsFd;
    ///
    /// use ashmem::{PinStatus, Region};
    ///
    /// let plain = Region::options().never_purgeable().create("area", 5000)?.into_fd()?;
    /// let region = Region::with_state_apart(plain)?;
    /// let state = region.state_fd().expect("it is apart").try_clone_to_owned().expect("a free descriptor");
    /// let received = Region::from_parts(region.share_read_write()?, state)?; // in another process
    /// received.unpin(..)?;
    /// assert_eq!(region.pin_status(..)?, PinStatus::Unpinned);
    /// # Ok::<(), ashmem::Error>(())
    /// ```
    pub fn from_parts(contents: OwnedFd, state: OwnedFd) -> Result<Region> {
        Region::from_parts_with(contents, state, RegionOptions::new())
    }

    /// [`Region::from_parts`] with a reclaimer of the caller's choice; the other options are for regions that are made.
    ///
    /// # Errors
    /// As [`Region::from_parts`].
    pub fn from_parts_with(contents: OwnedFd, state: OwnedFd, options: RegionOptions) -> Result<Region> {
        let parts = Parts::of(contents.as_fd(), state)?;
        Ok(Region::of_parts(contents, parts, options))
    }

    /// The state file, of a region whose pin state is in a file of its own; `None` for all others.
    #[must_use]
    pub fn state_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.apart().map(Apart::state)
    }

    pub(super) fn of_parts(contents: OwnedFd, parts: Parts, options: RegionOptions) -> Region {
        let Parts { apart, control } = parts;
        let (size, is_writable) = (control.layout().size, control.is_writable());
        let region = Region::new_of(contents, Some(apart), size, None, options.take_reclaimer());
        // Nobody else has it yet.
        let _ = region.inner.control.set(control);
        region.inner.mark_sealed_against_shrinking();
        if is_writable && reclaim::any_unpinned(&region.inner) {
            // Whoever unpinned it may be gone, and its reclaimer with it.
            reclaim::watch(&region.inner);
        }
        region
    }
}

/// What the file of the contents is, and the layout of a state file for it.
fn described(contents: BorrowedFd<'_>) -> Result<(Status, Layout)> {
    // Only what is sealed stays true, so the size comes after the seals.
    let seals = memfd::seals(contents);
    let status = look(contents)?;
    if !is_memfd(&status)? {
        return Err(Error::NotARegion { reason: "the descriptor is not a memfd" });
    }
    if !seals.map_err(Error::system("read seals"))?.contains(SIZE_SEALS) {
        return Err(Error::NotARegion { reason: "the contents' size is not sealed" });
    }
    if status.has_control_mark {
        return Err(Error::NotARegion { reason: "the contents have a control block" });
    }
    if status.size == 0 || status.size > SIZE_MAX {
        return Err(Error::InvalidSize { size: status.size, max: SIZE_MAX });
    }
    let layout = Layout::new(status.size);
    if layout.is_purgeable() { Ok((status, layout)) } else { Err(TOO_LARGE_TO_PURGE) }
}

fn look(fd: BorrowedFd<'_>) -> Result<Status> {
    memfd::status(fd).map_err(Error::system("look at descriptor"))
}

fn is_memfd(status: &Status) -> Result<bool> {
    status.is_memfd().map_err(Error::system("look at descriptor"))
}

fn is_writable(fd: BorrowedFd<'_>) -> Result<bool> {
    memfd::is_writable(fd).map_err(Error::system("look at descriptor"))
}

/// An empty state file.
fn state_file(layout: Layout) -> Result<OwnedFd, Errno> {
    let state = memfd::create(c"ashmem pin state")?;
    memfd::set_size(state.as_fd(), layout.file_size())?;
    mode::set_device_mark(state.as_fd())?;
    mode::set_control_mark(state.as_fd())?;
    memfd::add_seals(state.as_fd(), SIZE_SEALS)?;
    Ok(state)
}
