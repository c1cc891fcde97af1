//! How a cache is made or opened.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{Cache, Geometry};
use crate::page::page_size;
use crate::sys::memfd;
use crate::{Error, Region, RegionOptions, Result};

/// Bytes of data for each entry, where nothing else is said.
const ENTRY: u64 = 64 * 1024;

/// How long somebody else may build an entry before a `get_or_build` gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options for making or opening a [`Cache`].
///
/// # Examples
/// ```
/// use ashmem::Cache;
///
/// let cache = Cache::options().entries(10_000).budget(64 << 20).create("tiles", 1 << 30)?;
/// assert_eq!(cache.stats()?.entries, 0);
/// # Ok::<(), ashmem::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `create` or `open`"]
pub struct CacheOptions {
    region: RegionOptions,
    entries: Option<u64>,
    budget: Option<u64>,
    patience: Duration,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions::new()
    }
}

impl CacheOptions {
    /// The defaults: an entry for every 64 KiB of the capacity, no budget, a minute of patience.
    pub fn new() -> CacheOptions {
        CacheOptions { region: RegionOptions::new(), entries: None, budget: None, patience: PATIENCE }
    }

    /// How many entries there will be, about. Only for a cache that is made.
    pub fn entries(mut self, entries: u64) -> CacheOptions {
        self.entries = Some(entries);
        self
    }

    /// At most this many bytes of memory, also when there is plenty: before an entry is built, the oldest ones go until there is room for it.
    /// Counts what is in memory, the index too (about half a kilobyte for an entry). Every process that opens the cache should name the same budget.
    pub fn budget(mut self, bytes: u64) -> CacheOptions {
        self.budget = Some(bytes);
        self
    }

    /// How the region is made: its reclaimer, for one.
    pub fn region(mut self, options: RegionOptions) -> CacheOptions {
        self.region = options;
        self
    }

    /// How long a `get_or_build` waits for somebody else who builds the same entry, before it fails.
    pub fn patience(mut self, patience: Duration) -> CacheOptions {
        self.patience = patience;
        self
    }

    /// Makes an empty cache for `capacity` bytes of data, rounded up to pages. That is address space and a file's size: memory is used as
    /// entries are built. So it may be much more than the budget, and should be where entries differ much in size.
    ///
    /// # Errors
    /// As [`Region::create`] and [`Region::map`]; [`Error::InvalidSize`] for a capacity of 0, or more than a region can have;
    /// [`Error::BudgetTooSmall`].
    pub fn create(self, name: impl AsRef<OsStr>, capacity: u64) -> Result<Cache> {
        let entries = self.entries.unwrap_or_else(|| capacity.div_ceil(ENTRY));
        let geometry = Geometry::new(capacity, entries)?;
        let region = self.region.clone().create_unbuilt(name, geometry.size())?;
        let index = geometry.data().start * page_size();
        // Of the pages of the index nothing is lost: they are zeros.
        let _ = region.pin(..index)?;
        geometry.write(region.inner.own_mapping(&region)?)?;
        self.open(region)
    }

    /// Opens a cache that another process has made and handed over: `cache.region()` there, [`Region::from_fd`] here.
    ///
    /// # Errors
    /// [`Error::NotACache`]; [`Error::BudgetTooSmall`]; [`Error::ReadOnly`] when it came by a read-only descriptor; as [`Region::map`].
    pub fn open(self, region: Region) -> Result<Cache> {
        let control = region.inner.need_control("open cache").map_err(|error| match error {
            Error::NotPurgeable { .. } => Error::NotACache { reason: "it is not purgeable" },
            error => error,
        })?;
        let geometry = Geometry::read(region.inner.own_mapping(&region)?)?;
        control.set_built();
        if let Some(budget) = self.budget {
            let index = geometry.data().start * page_size();
            if budget <= index {
                return Err(Error::BudgetTooSmall { budget, index });
            }
            // Lookups allocate them one by one, and never ask for room.
            memfd::populate(region.as_fd(), 0, geometry.hashes_end())
                .map_err(Error::system("allocate cache index"))?;
        }
        Ok(Cache { region, geometry, budget: self.budget, patience: self.patience })
    }
}
