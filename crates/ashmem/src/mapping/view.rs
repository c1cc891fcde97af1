//! Parts of a mapping that are used like a mapping of their own.
#![allow(unsafe_code, reason = "a second handle on mapped memory, tied to the first by its lifetime")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range, RangeBounds};
use std::ptr::NonNull;

use super::{Mapping, Sharing};
use crate::sys::map::RawMap;
use crate::{Error, Protection, Region, Result, page};

/// A part of a [`Mapping`], with the same methods: offsets count from the start of the part, and nothing outside of it can be
/// reached through it.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// let region = ashmem::Region::create("tiles", 8192)?;
/// let mapping = region.map()?;
/// let tile = mapping.view(100..200)?;
/// tile.write_at(0, b"tile")?;
/// assert_eq!(mapping.read_vec(100, 4)?, b"tile");
/// assert!(tile.write_at(98, b"long").is_err());
/// # Ok(())
/// # }
/// ```
pub struct View<'a> {
    /// Does not own the memory, so it must never be dropped as a mapping.
    part: ManuallyDrop<Mapping>,
    of: PhantomData<&'a Mapping>,
}

impl Mapping {
    /// The part of the mapping at `range`, in bytes from its start.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`] when it leaves the mapping, or is empty.
    #[inline]
    pub fn view(&self, range: impl RangeBounds<u64>) -> Result<View<'_>> {
        let (start, end) = page::bytes(&range, self.len())?;
        let len = end.saturating_sub(start);
        self.span(start, len)?;
        View::within(self, start, len).ok_or(Error::RangeEmpty { start, end })
    }
}

impl<'a> View<'a> {
    /// `len` bytes of a mapping from `start` on, if those are in it and not none.
    #[inline]
    pub(crate) fn within(mapping: &'a Mapping, start: u64, len: u64) -> Option<View<'a>> {
        if len == 0 || len > mapping.len() || start > mapping.len() - len {
            return None;
        }
        // SAFETY: inside of the mapping, as was just seen; the view borrows the mapping, so that is not gone.
        let map = unsafe { mapping.map.part(start as usize, len as usize) };
        let part = Mapping {
            map: ManuallyDrop::into_inner(map),
            offset: mapping.offset + start,
            protection: mapping.protection,
            sharing: mapping.sharing,
        };
        Some(View { part: ManuallyDrop::new(part), of: PhantomData })
    }

    /// All of a mapping.
    #[inline]
    pub(crate) fn of(mapping: &'a Mapping) -> View<'a> {
        // SAFETY: inside of the mapping, which is all of it; the view borrows it.
        let map = unsafe { mapping.map.part(0, mapping.map.len()) };
        let part = Mapping {
            map: ManuallyDrop::into_inner(map),
            offset: mapping.offset,
            protection: mapping.protection,
            sharing: mapping.sharing,
        };
        View { part: ManuallyDrop::new(part), of: PhantomData }
    }
}

impl View<'_> {
    /// Memory of a region from `offset` on that somebody else mapped, shared, and unmaps: for libraries that receive it so.
    ///
    /// # Safety
    /// For as long as the view is used, `len` bytes (not none) from `start` on, which is page-aligned, must be mapped with exactly
    /// this protection, from a memfd that is sealed against shrinking and reaches that far.
    #[doc(hidden)]
    #[must_use]
    pub unsafe fn foreign(
        start: NonNull<u8>,
        len: usize,
        offset: u64,
        protection: Protection,
    ) -> View<'static> {
        let map = RawMap::foreign(start, len);
        let part =
            Mapping { map: ManuallyDrop::into_inner(map), offset, protection, sharing: Sharing::Shared };
        View { part: ManuallyDrop::new(part), of: PhantomData }
    }
}

impl Deref for View<'_> {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.part
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&*self.part).finish()
    }
}

/// A part of the mapping that a region keeps for guards, and the region, which keeps it mapped.
pub(crate) struct OwnedView {
    part: ManuallyDrop<Mapping>,
    region: Region,
}

impl OwnedView {
    /// The part at `range`, in bytes of the region.
    ///
    /// # Errors
    /// Those of [`Region::map`], when it was not mapped yet, and of [`Mapping::view`].
    pub(crate) fn new(region: Region, range: Range<u64>) -> Result<OwnedView> {
        // Outlives its borrow: the mapping is unmapped with the last handle of the region, or by who has the last.
        let View { part, .. } = region.inner.own_mapping(&region)?.view(range)?;
        Ok(OwnedView { part, region })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }
}

impl Deref for OwnedView {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Region;

    #[test]
    fn a_view_is_the_same_memory_and_ends_where_it_ends() {
        let region = Region::create("views", 8192).unwrap();
        let mapping = region.map().unwrap();
        {
            let view = mapping.view(5000..).unwrap();
            assert_eq!((view.len(), view.offset()), (3192, 5000));
            view.fill(0, 3192, 7).unwrap();
            let inner = view.view(10..20).unwrap();
            assert_eq!((inner.len(), inner.offset()), (10, 5010));
            inner.write_at(0, b"inner").unwrap();
            assert!(matches!(inner.write_at(6, b"inner"), Err(Error::AccessOutOfBounds { size: 10, .. })));
        }
        assert_eq!(
            mapping.read_vec(4999, 2).unwrap(),
            [0, 7],
            "still mapped, and nothing before the view changed"
        );
        assert_eq!(mapping.read_vec(5010, 5).unwrap(), b"inner");
    }

    #[test]
    fn no_view_outside_or_of_nothing() {
        let region = Region::create("views", 8192).unwrap();
        let mapping = region.map().unwrap();
        assert!(matches!(mapping.view(..8193), Err(Error::AccessOutOfBounds { .. })));
        assert!(matches!(mapping.view(8193..), Err(Error::AccessOutOfBounds { .. })));
        assert!(matches!(mapping.view(u64::MAX..), Err(Error::AccessOutOfBounds { .. })));
        assert!(matches!(mapping.view(8192..), Err(Error::RangeEmpty { .. })));
        assert!(matches!(mapping.view(3..3), Err(Error::RangeEmpty { .. })));
    }

    #[test]
    fn words_of_a_view_are_aligned_by_address() {
        let region = Region::create("views", 8192).unwrap();
        let mapping = region.map().unwrap();
        let odd = mapping.view(3..100).unwrap();
        assert!(matches!(odd.atomic_u32(0), Err(Error::AccessMisaligned { .. })));
        odd.atomic_u32(1).unwrap().store(5, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(mapping.load_u32(4).unwrap(), 5);
    }
}
