//! How a region is made.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::{NAME_MAX, Region};
use crate::control::{Layout, TOO_LARGE_TO_PURGE};
use crate::page::{SIZE_MAX, page_align};
use crate::reclaim::{Reclaimer, pressure};
use crate::sys::{memfd, mode};
use crate::{Error, Result};

/// When a region gets the control block that unpinning needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ControlBlock {
    #[default]
    AtFirstUnpin,
    FromTheStart,
    Never,
}

/// Options for making a region, each off until asked for.
///
/// # Examples
/// ```
/// use ashmem::Region;
///
/// let region = Region::options().purgeable().create("tiles", 64 << 20)?;
/// region.unpin(..)?;
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    control_block: ControlBlock,
    populate: bool,
    seal_seals: bool,
    reclaimer: Option<Reclaimer>,
}

impl RegionOptions {
    /// The defaults: a plain memfd of exactly the size asked for, sealed against shrinking, which becomes purgeable at its
    /// first unpin.
    #[must_use]
    pub fn new() -> RegionOptions {
        RegionOptions::default()
    }

    /// Gives the region its control block at once. Needed when holders other than its owner are to unpin first; and the
    /// file is sealed against growing from the start.
    #[must_use]
    pub fn purgeable(mut self) -> RegionOptions {
        self.control_block = ControlBlock::FromTheStart;
        self
    }

    /// Seals the file against growing at once, so that no page of it can ever be unpinned.
    #[must_use]
    pub fn never_purgeable(mut self) -> RegionOptions {
        self.control_block = ControlBlock::Never;
        self
    }

    /// Allocates the memory of all data now, so that no later access to it can run out of memory. More than the system has left is
    /// refused; a cgroup's limit is not asked about.
    #[must_use]
    pub fn populate(mut self) -> RegionOptions {
        self.populate = true;
        self
    }

    /// Forbids further seals (`F_SEAL_SEAL`): the protection mask cannot lose WRITE any more, and the region cannot be
    /// frozen. Without [`purgeable`](Self::purgeable), it cannot be unpinned either.
    #[must_use]
    pub fn no_further_seals(mut self) -> RegionOptions {
        self.seal_seals = true;
        self
    }

    /// Who reclaims the region's unpinned pages in this process, instead of [`Reclaimer::global`].
    #[must_use]
    pub fn reclaimer(mut self, reclaimer: &Reclaimer) -> RegionOptions {
        self.reclaimer = Some(reclaimer.clone());
        self
    }

    /// Makes a region of contents that are there, with its pin state in a file of its own: [`Region::with_state_apart`], with a
    /// [reclaimer](Self::reclaimer) of the caller's choice. The other options are for regions that are made.
    ///
    /// # Errors
    /// As [`Region::with_state_apart`].
    pub fn with_state_apart(self, contents: OwnedFd) -> Result<Region> {
        Region::apart_with(contents, self)
    }

    pub(super) fn take_reclaimer(self) -> Option<Reclaimer> {
        self.reclaimer
    }

    /// Makes the region: [`Region::create`] with these options. `size` is in bytes.
    ///
    /// # Errors
    /// As [`Region::create`]; with [`populate`](Self::populate) also [`Error::System`] with ENOMEM or ENOSPC when there is
    /// not enough memory.
    pub fn create(&self, name: impl AsRef<OsStr>, size: u64) -> Result<Region> {
        let name = name.as_ref().as_bytes();
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong { len: name.len() });
        }
        let c_name = CString::new(name).map_err(|_| Error::NameHasNul)?;
        if size == 0 || size > SIZE_MAX {
            return Err(Error::InvalidSize { size, max: SIZE_MAX });
        }
        let layout = Layout::new(size);
        let purgeable = self.control_block == ControlBlock::FromTheStart;
        if purgeable && !layout.is_purgeable() {
            return Err(TOO_LARGE_TO_PURGE);
        }
        let file_size = if purgeable { layout.file_size() } else { size };
        let fd = memfd::create(&c_name).map_err(Error::system("create region"))?;
        memfd::set_size(fd.as_fd(), file_size).map_err(Error::system("set region size"))?;
        if purgeable {
            mode::set_control_mark(fd.as_fd()).map_err(Error::system("mark control block"))?;
        }
        if self.populate {
            // The kernel would go on until it kills somebody.
            if pressure::obtainable().is_some_and(|bytes| size > bytes) {
                return Err(Error::system("populate region")(Errno::NOMEM));
            }
            memfd::populate(fd.as_fd(), 0, page_align(size).min(file_size))
                .map_err(Error::system("populate region"))?;
        }
        let mut seals = SealFlags::SHRINK;
        seals.set(SealFlags::GROW, self.control_block != ControlBlock::AtFirstUnpin);
        seals.set(SealFlags::SEAL, self.seal_seals);
        memfd::add_seals(fd.as_fd(), seals).map_err(Error::system("seal region"))?;
        let region = Region::new(fd, size, Some(c_name.into_bytes()), self.reclaimer.clone());
        region.inner.mark_sealed_against_shrinking();
        if purgeable {
            if let Some(control) = region.inner.control()? {
                control.initialise();
            }
        }
        Ok(region)
    }

    /// Makes a purgeable region whose contents were never built: everything in it is purged.
    pub(crate) fn create_unbuilt(self, name: impl AsRef<OsStr>, size: u64) -> Result<Region> {
        let region = self.purgeable().create(name, size)?;
        if let Some(control) = region.inner.control()? {
            control.table().lose_all();
        }
        Ok(region)
    }
}
