//! Contents that are built again when they are gone.

mod build;
mod options;

use std::fmt;
use std::ops::{Deref, Range, RangeBounds};
use std::time::Duration;

pub use build::BuildError;
pub(crate) use build::{Unbuilt, build_purged};
pub use options::PurgeableOptions;

use crate::control::Control;
use crate::mapping::View;
use crate::region::{BUILDING, Hold};
use crate::state;
use crate::{Error, Mapping, PageRange, Region, Result, page};

/// Regions smaller than this are never purged: it would not pay.
pub(crate) const WORTH_PURGING: u64 = 8 * 1024;

type Builder<E> = Box<dyn Fn(&View<'_>) -> Result<(), E> + Send + Sync>;

/// A region together with what builds its contents.
///
/// Nothing is built before it is asked for. [`get`](Purgeable::get) gives the contents, which nobody takes away while the
/// guard lives; afterwards they may go when memory is short, and the next `get` builds them again. Whoever asks at the same time, in this process or in
/// others that have opened the same region ([`PurgeableOptions::open`]), waits for the one who builds; so they are built once. A
/// builder that fails, panics or is killed leaves them as purged as they were.
///
/// Contents of less than 8 KiB are kept once they are built.
///
/// # Examples
/// ```
/// use ashmem::{Error, Purgeable};
///
/// let image = Purgeable::new("decoded image", 8 << 20, |pixels| {
///     pixels.fill(0, 8 << 20, 0x7f)?; // decode
///     Ok::<(), Error>(())
/// })?;
/// assert_eq!(image.get()?.read_vec(0, 1)?, [0x7f]);
/// image.region().purge()?; // memory was short
/// let pixels = image.get()?;
/// assert_eq!((pixels.read_vec(0, 1)?, pixels.built_bytes()), (vec![0x7f], 8 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Purgeable<E> {
    region: Region,
    builder: Builder<E>,
    /// Bytes that the builder can build by themselves.
    part: u64,
    patience: Duration,
}

impl<E> Purgeable<E> {
    /// Contents of `size` bytes that `builder` builds, whole: it is given a view of all of them, zeros and old bytes, and writes every byte.
    ///
    /// The builder may run in any thread that calls [`get`](Purgeable::get), one at a time. It must not ask for the contents that it
    /// builds.
    ///
    /// # Errors
    /// As [`Region::create`]; [`Error::NotPurgeable`] for more than 1 TiB.
    pub fn new(
        name: impl AsRef<std::ffi::OsStr>,
        size: u64,
        builder: impl Fn(&View<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Purgeable<E>> {
        PurgeableOptions::new().create(name, size, builder)
    }

    /// Options: a builder that can build parts, a reclaimer, patience.
    pub fn options() -> PurgeableOptions {
        PurgeableOptions::new()
    }

    /// The contents, built if they are not there.
    ///
    /// When they are, this and the end of the guard cost some nanoseconds each.
    ///
    /// # Errors
    /// [`BuildError::Builder`] with the builder's own error; what it had written is gone then, unless somebody has leased pages of
    /// the same part, which were there: those stay as they are for as long. [`BuildError::Region`]: those of
    /// [`Region::pin_guard`]; [`Error::BuildReentered`] in a builder that asks for what it builds;
    /// [`Error::BuildStuck`] when somebody else has been building for longer than the
    /// [patience](PurgeableOptions::patience).
    #[inline]
    pub fn get(&self) -> Result<PurgeableGuard<'_>, BuildError<E>> {
        if !self.is_kept() {
            if let Some((hold, mapping)) = self.region.inner.hold_at_once(&self.all()) {
                return Ok(PurgeableGuard { hold: Some(hold), mapping, built_bytes: 0 });
            }
        }
        self.get_slowly()
    }

    /// For the first time, when something is purged, or when it is too small for that.
    #[cold]
    fn get_slowly(&self) -> Result<PurgeableGuard<'_>, BuildError<E>> {
        let inner = &self.region.inner;
        let control = inner.need_control("pin")?;
        let mapping = inner.own_mapping(&self.region)?;
        if self.is_kept() && control.area().load().is_all_pinned() {
            return Ok(PurgeableGuard { hold: None, mapping, built_bytes: 0 });
        }
        let unbuilt = Unbuilt::new(inner, control);
        let hold = inner.hold(Some(control), self.all())?.for_use();
        // Ends when the rest fails.
        let mut guard = PurgeableGuard { hold: Some(hold), mapping, built_bytes: 0 };
        if control.area().load().may_have_purged() {
            guard.built_bytes = self.build_pages(control, mapping, 0..control.layout().pages())?;
        }
        unbuilt.forget();
        // In one word for all pages, which the next `get` finds at once.
        if self.is_kept() {
            let _ = self.region.pin(..)?;
        } else {
            control.table().unpin_all(state::now()).map_err(Error::from)?;
        }
        Ok(guard)
    }

    /// Builds what is gone of the parts that `range` touches, for others who hold a [lease](Region::lease) on them, and says how many
    /// bytes that were. Bytes of the range count from the start of the contents.
    ///
    /// Who reads a part after the other asks for no more than that, so that what was built for him is not taken before he is there.
    ///
    /// # Errors
    /// As [`get`](Purgeable::get); [`Error::RangeEmpty`] and [`Error::RangeOutOfBounds`].
    pub fn build(&self, range: impl RangeBounds<u64>) -> Result<u64, BuildError<E>> {
        let size = self.size();
        let (start, end) = page::bytes(&range, size)?;
        if end > size {
            return Err(Error::RangeOutOfBounds { start, end, size }.into());
        }
        if start >= end {
            return Err(Error::RangeEmpty { start, end }.into());
        }
        if self.is_kept() {
            return Ok(self.get()?.built_bytes());
        }
        let start = start / self.part * self.part;
        let range = PageRange::new(start..end.next_multiple_of(self.part).min(size), size)?;
        let pages = range.first()..range.end();
        let inner = &self.region.inner;
        let control = inner.need_control("pin")?;
        let mapping = inner.own_mapping(&self.region)?;
        let unbuilt = Unbuilt::new(inner, control);
        let hold = inner.hold(Some(control), range)?.for_use();
        // Ends the hold.
        let _guard = PurgeableGuard { hold: Some(hold), mapping, built_bytes: 0 };
        let built = self.build_pages(control, mapping, pages)?;
        unbuilt.forget();
        Ok(built)
    }

    /// Builds what is purged among the pages, once nobody else does. They are held.
    fn build_pages(
        &self,
        control: &Control,
        mapping: &Mapping,
        pages: Range<u64>,
    ) -> Result<u64, BuildError<E>> {
        let inner = &self.region.inner;
        let _claim = inner.claim(BUILDING, self.patience)?;
        let mut build = |part: &View<'_>| (self.builder)(part).map_err(BuildError::Builder);
        build_purged(inner, control, mapping, pages, self.part, &mut build)
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.region.size()
    }

    /// The region, to hand its descriptor to others, or to ask about it. To pin and unpin it by hand would take part in
    /// the game without its rules: a pin takes it upon itself to build what was purged.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Whether it is too small to be purged.
    #[inline]
    fn is_kept(&self) -> bool {
        self.region.size() < WORTH_PURGING
    }

    #[inline]
    fn all(&self) -> PageRange {
        PageRange::all(self.region.size())
    }
}

impl<E> fmt::Debug for Purgeable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purgeable")
            .field("region", &self.region)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// The contents of a [`Purgeable`], as a [`Mapping`]. Nobody takes them away while this lives.
#[must_use = "the contents may go when the guard is dropped"]
pub struct PurgeableGuard<'a> {
    /// None for what is pinned for good.
    hold: Option<Hold<'a>>,
    mapping: &'a Mapping,
    built_bytes: u64,
}

impl PurgeableGuard<'_> {
    /// How many bytes had to be built for this guard; 0 when everything was there, or somebody else built it meanwhile.
    #[must_use]
    pub fn built_bytes(&self) -> u64 {
        self.built_bytes
    }
}

impl Deref for PurgeableGuard<'_> {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        self.mapping
    }
}

impl Drop for PurgeableGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(hold) = &self.hold {
            hold.end();
        }
    }
}

impl fmt::Debug for PurgeableGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeableGuard")
            .field("size", &self.mapping.len())
            .field("built_bytes", &self.built_bytes)
            .finish_non_exhaustive()
    }
}
