//! The cache itself.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::{CacheEntry, CacheOptions, Counter, Found, Geometry, Index, KEY_MAX, Key, Lookup};
use crate::control::Control;
use crate::mapping::View;
use crate::page::page_size;
use crate::purgeable::build_purged;
use crate::purger::PinWait;
use crate::region::Inner;
use crate::sys::memfd;
use crate::{BuildError, Error, Mapping, PageRange, Region, Result};

/// The number of the claim that stands for the cache's lock; those of the entries come behind it.
pub(super) const LOCK: u64 = 0;

/// How often a lookup is tried again whose entry became another one's.
const TRIES: u32 = 64;

/// A cache in shared memory: built data by key, for all processes that have its descriptor.
///
/// An entry that nobody uses may go when memory is short, or when the [budget](CacheOptions::budget) is used up, the one that was used longest ago
/// first; who asks for it again builds it again ([`get_or_build`](Cache::get_or_build)), or learns that it is gone ([`get`](Cache::get)). All processes see the
/// same entries: what one has built the others find. When several ask for the same at a time, one builds and the others wait. Any of them
/// may die at any moment.
///
/// There is one region behind it. Hand its descriptor to others ([`Cache::region`]), who [open](CacheOptions::open) it. They trust each other: whoever
/// has it can change every entry.
///
/// # Examples
/// ```
/// use ashmem::{Cache, Error, Region};
///
/// let cache = Cache::create("thumbnails", 1 << 30)?;
/// let build = |pixels: &ashmem::View<'_>| {
///     pixels.fill(0, pixels.len(), 0x7f)?; // decode
///     Ok::<(), Error>(())
/// };
/// let image = cache.get_or_build(b"holiday.jpg 256x256", 256 * 256 * 4, build)?;
/// assert!(image.is_built());
/// assert_eq!(image.read_vec(0, 1)?, [0x7f]);
///
/// let other = Cache::options().open(Region::from_fd(cache.region().share_read_write()?)?)?; // in another process
/// assert!(!other.get_or_build(b"holiday.jpg 256x256", 256 * 256 * 4, build)?.is_built());
/// assert_eq!(other.stats()?.hits, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cache {
    pub(super) region: Region,
    pub(super) geometry: Geometry,
    pub(super) budget: Option<u64>,
    pub(super) patience: Duration,
}

/// What a cache counted so far, over all its processes, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Lookups that found an entry with its contents.
    pub hits: u64,
    /// Lookups of a key that the cache did not know, or not with the length that was asked for.
    pub misses: u64,
    /// Lookups that found an entry whose contents were gone, or not built yet.
    pub purged: u64,
    /// How often contents were built that had been there before.
    pub rebuilt: u64,
    /// Entries that were inserted.
    pub inserted: u64,
    /// Entries that had to make room for others in the table, or among the pages.
    pub evicted: u64,
    /// Entries that there are now, with contents or without.
    pub entries: u64,
    /// Bytes of memory in use, the index too.
    pub resident_bytes: u64,
}

impl Cache {
    /// The longest key in bytes.
    pub const KEY_MAX: usize = KEY_MAX;

    /// An empty cache for `capacity` bytes of data: see [`CacheOptions::create`].
    ///
    /// # Errors
    /// As [`CacheOptions::create`].
    pub fn create(name: impl AsRef<OsStr>, capacity: u64) -> Result<Cache> {
        CacheOptions::new().create(name, capacity)
    }

    /// Options: number of entries, budget, reclaimer, patience.
    pub fn options() -> CacheOptions {
        CacheOptions::new()
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for an empty key, or one longer than [`Cache::KEY_MAX`] bytes; those of [`Region::lease`].
    pub fn get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        let key = Key::new(key)?;
        let (index, control, mapping) = self.parts()?;
        self.look_up(&index, control, mapping, &key, None)
    }

    /// The contents of an entry of `len` bytes, built by `build` if they are not there: it is given a view of them, and writes every byte.
    ///
    /// An entry of the key with another length makes way for it, unless it is in use. A new entry takes time for each one that there is: a
    /// tenth of a millisecond for some thousand. A builder that fails, panics or is killed leaves the entry
    /// without contents.
    ///
    /// # Errors
    /// [`BuildError::Builder`] with the builder's own error. [`BuildError::Region`]: [`Error::InvalidKey`];
    /// [`Error::InvalidSize`] for a length of 0; [`Error::CacheFull`] when there is no room, because what could make way is in use;
    /// [`Error::EntryInUse`] when one of the key with another length is;
    /// [`Error::BuildReentered`] in a builder that asks for what it builds; [`Error::BuildStuck`] when somebody else has been
    /// building it, or changing the cache, for longer than the [patience](CacheOptions::patience); those of [`Region::lease`] and
    /// [`Region::purge`].
    pub fn get_or_build<E>(
        &self,
        key: &[u8],
        len: u64,
        build: impl FnOnce(&View<'_>) -> Result<(), E>,
    ) -> Result<CacheEntry<'_>, BuildError<E>> {
        let key = Key::new(key)?;
        if len == 0 {
            return Err(Error::InvalidSize { size: 0, max: self.geometry.size() }.into());
        }
        let (index, control, mapping) = self.parts()?;
        if let Lookup::Hit(entry) = self.look_up(&index, control, mapping, &key, Some(len))? {
            return Ok(entry);
        }
        let mut build = Some(build);
        for _ in 0..TRIES {
            let (found, is_new) = match index.find(&key) {
                Some(found) if found.len == len => (found, false),
                _ => (self.insert(&index, control, &key, len)?, true),
            };
            if let Some(mut entry) = self.build_entry(&index, control, mapping, &found, &mut build)? {
                entry.is_built = build.is_none();
                if entry.is_built && !is_new {
                    index.count(Counter::Rebuilt, 1);
                }
                return Ok(entry);
            }
        }
        Err(Error::CacheFull { len }.into())
    }

    /// Removes an entry; false when there is none, or somebody uses it.
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::BuildStuck`] when somebody keeps the cache's lock; those of [`Region::purge`].
    pub fn remove(&self, key: &[u8]) -> Result<bool> {
        let key = Key::new(key)?;
        let (index, control, _) = self.parts()?;
        let _lock = self.region.inner.claim(LOCK, self.patience)?;
        match index.find(&key) {
            Some(found) => self.evict(&index, control, &found),
            None => Ok(false),
        }
    }

    /// What was counted so far, and what is there.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn stats(&self) -> Result<CacheStats> {
        let (index, _, _) = self.parts()?;
        Ok(CacheStats {
            hits: index.counted(Counter::Hits),
            misses: index.counted(Counter::Misses),
            purged: index.counted(Counter::Purged),
            rebuilt: index.counted(Counter::Rebuilt),
            inserted: index.counted(Counter::Inserted),
            evicted: index.counted(Counter::Evicted),
            entries: index.entries().count() as u64,
            resident_bytes: self.region.resident()?,
        })
    }

    /// The keys of all entries, with contents or without, in no order.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let (index, _, _) = self.parts()?;
        Ok(index.entries().filter_map(|found| index.key_of(&found)).collect())
    }

    /// The region, to hand its descriptor to others.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The claim of whoever builds an entry.
    pub(super) fn claim_of(found: &Found) -> u64 {
        LOCK + 1 + found.record() as u64
    }

    fn parts(&self) -> Result<(Index<'_>, &Control, &Mapping)> {
        let inner = &*self.region.inner;
        let mapping = inner.own_mapping(&self.region)?;
        let control = inner.known_control().ok_or(Error::NotACache { reason: "it is not purgeable" })?;
        Ok((Index::new(mapping, self.geometry)?, control, mapping))
    }

    fn look_up<'a>(
        &'a self,
        index: &Index<'_>,
        control: &'a Control,
        mapping: &'a Mapping,
        key: &Key<'_>,
        len: Option<u64>,
    ) -> Result<Lookup<'a>> {
        for _ in 0..TRIES {
            let Some(found) = index.find(key).filter(|found| len.is_none_or(|len| len == found.len)) else {
                break;
            };
            let entry = self.hold(control, mapping, &found)?;
            let purged = self.is_any_purged(control, &found)?;
            if !index.is_current(&found) {
                entry.forget();
                continue;
            }
            if purged {
                entry.forget();
                index.count(Counter::Purged, 1);
                return Ok(Lookup::Purged);
            }
            index.count(Counter::Hits, 1);
            return Ok(Lookup::Hit(entry));
        }
        index.count(Counter::Misses, 1);
        Ok(Lookup::Missing)
    }

    /// An entry with its contents, built by `build` where they are not there; `None` when the pages belong to another entry by now.
    fn build_entry<'a, E>(
        &'a self,
        index: &Index<'_>,
        control: &'a Control,
        mapping: &'a Mapping,
        found: &Found,
        build: &mut Option<impl FnOnce(&View<'_>) -> Result<(), E>>,
    ) -> Result<Option<CacheEntry<'a>>, BuildError<E>> {
        let inner = &*self.region.inner;
        let _claim = inner.claim(Cache::claim_of(found), self.patience)?;
        let entry = self.hold(control, mapping, found)?;
        if !index.is_current(found) {
            entry.forget();
            return Ok(None);
        }
        if self.is_any_purged(control, found)? {
            let mut build = |part: &View<'_>| {
                let Some(build) = build.take() else { return Ok(()) };
                build(&part.view(..found.len)?).map_err(BuildError::Builder)
            };
            self.reserve(index, control, found)?;
            let unfinished = Unfinished { inner, pages: found.pages.clone() };
            build_purged(inner, control, mapping, found.pages.clone(), u64::MAX, &mut build)?;
            std::mem::forget(unfinished);
        }
        Ok(Some(entry))
    }

    fn is_any_purged(&self, control: &Control, found: &Found) -> Result<bool> {
        let mut wait = PinWait::new(&self.region.inner, control);
        control.table().is_any_purged(found.pages.clone(), &mut |futex, purged| wait.wait(futex, purged))
    }

    /// Holds the pages of an entry, whether it is still there or not.
    fn hold<'a>(
        &'a self,
        control: &'a Control,
        mapping: &'a Mapping,
        found: &Found,
    ) -> Result<CacheEntry<'a>> {
        let (start, end) = (found.pages.start * page_size(), found.pages.end * page_size());
        let range = PageRange::new(start..end, self.region.size())?;
        let view = mapping.view(start..start + found.len.max(1))?;
        let hold = self.region.inner.hold(Some(control), range)?.for_use();
        Ok(CacheEntry { hold, view, is_built: false })
    }
}

/// Pages of an entry that a builder is at. Takes away what it has written, if it does not come to an end.
///
/// Nobody else has leased any of them while they were there: an entry is held, and so purged, as a whole.
struct Unfinished<'a> {
    inner: &'a Inner,
    pages: Range<u64>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let (start, end) = (self.pages.start * page_size(), self.pages.end * page_size());
        // They count as purged, whatever is in them.
        let _ = memfd::punch(self.inner.fd(), start, end - start);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("region", &self.region)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
