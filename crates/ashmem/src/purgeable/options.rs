//! How a purgeable is made.

use std::ffi::OsStr;
use std::time::Duration;

use super::Purgeable;
use crate::mapping::View;
use crate::page::page_size;
use crate::{Region, RegionOptions, Result};

/// How long somebody else may build before a `get` gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options for making or opening a [`Purgeable`].
///
/// # Examples
/// Two processes, here in one, with a builder that can do parts:
/// ```
/// use ashmem::{Error, Purgeable, PurgeableOptions, Region};
///
/// let options = PurgeableOptions::new().parts(1 << 20);
/// let number = |part: &ashmem::View<'_>| {
///     part.write_at(0, &(part.offset() >> 20).to_le_bytes())?;
///     Ok::<(), Error>(())
/// };
/// let table = options.clone().create("table", 16 << 20, number)?;
/// let opened = options.open(Region::from_fd(table.region().share_read_write()?)?, number)?;
/// assert_eq!(table.get()?.load_u64(3 << 20)?, 3);
/// assert_eq!(opened.get()?.built_bytes(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `create` or `open`"]
pub struct PurgeableOptions {
    region: RegionOptions,
    part: Option<u64>,
    patience: Duration,
}

impl Default for PurgeableOptions {
    fn default() -> PurgeableOptions {
        PurgeableOptions::new()
    }
}

impl PurgeableOptions {
    /// The defaults: the builder builds everything at once; a `get` waits a minute for others who build.
    pub fn new() -> PurgeableOptions {
        PurgeableOptions { region: RegionOptions::new(), part: None, patience: PATIENCE }
    }

    /// The builder can build parts of `bytes` bytes, the last one maybe shorter: it is called for each part that is gone, with a view of
    /// that part, whose [`offset`](crate::Mapping::offset) says where it is. Rounded up to pages.
    pub fn parts(mut self, bytes: u64) -> PurgeableOptions {
        self.part = Some(bytes);
        self
    }

    /// How the region is made: its reclaimer, for one.
    pub fn region(mut self, options: RegionOptions) -> PurgeableOptions {
        self.region = options;
        self
    }

    /// How long a `get` waits for somebody else who builds, before it fails.
    pub fn patience(mut self, patience: Duration) -> PurgeableOptions {
        self.patience = patience;
        self
    }

    /// Makes a region of `size` bytes with nothing in it yet: [`Purgeable::new`] with these options.
    ///
    /// # Errors
    /// As [`Purgeable::new`].
    pub fn create<E>(
        self,
        name: impl AsRef<OsStr>,
        size: u64,
        builder: impl Fn(&View<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Purgeable<E>> {
        let region = self.region.clone().create_unbuilt(name, size)?;
        self.open(region, builder)
    }

    /// Takes a region that another process has made with [`create`](Self::create), or any other whose contents are there as far as they
    /// are not purged. All who open a region should build the same contents.
    ///
    /// # Errors
    /// [`Error::ReadOnly`](crate::Error::ReadOnly) when the region came by a read-only descriptor: who only reads takes a [lease](Region::lease) on all
    /// of it;
    /// [`Error::NotPurgeable`](crate::Error::NotPurgeable).
    pub fn open<E>(
        self,
        region: Region,
        builder: impl Fn(&View<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Purgeable<E>> {
        region.inner.need_control("open purgeable")?.set_built();
        let whole = region.size();
        let part = self.part.map_or(whole, |part| {
            part.max(1).checked_next_multiple_of(page_size()).map_or(whole, |part| part.min(whole))
        });
        Ok(Purgeable { region, builder: Box::new(builder), part, patience: self.patience })
    }
}
