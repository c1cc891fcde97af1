//! Mappings: a region's bytes in the address space of this process.
//!
//! Any holder of a region's descriptor may write its pages at any moment, so no `&[u8]` into a mapping is ever
//! made. Bytes are copied in and out (`access`), shared words are seen as atomics (`atomics`), and streams run
//! over the copies (`cursor`). Everything goes through the checks in this file first: does the mapping allow the
//! access, and does the access stay inside.

mod access;
mod atomics;
mod cursor;
mod options;
mod typed;
mod view;

pub use cursor::MappingCursor;
pub use options::MapOptions;
pub use typed::TypedView;
pub use view::View;

pub(crate) use view::OwnedView;

use crate::sys::map::RawMap;
use crate::{Error, Protection, Result};

/// Who sees what is written to a mapping (`MAP_SHARED` and `MAP_PRIVATE` of `mmap(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Shared,
    Private,
}

/// A mapping of a region, or of a part of it; unmapped on drop (`mmap(2)`).
///
/// Made by [`Region::map`](crate::Region::map), [`Region::map_read_only`](crate::Region::map_read_only) or
/// [`MapOptions`]. It keeps the region's memory alive, also when the [`Region`](crate::Region) and every other
/// descriptor of it are gone, and it keeps its protection when the region's mask loses bits later.
///
/// Offsets and lengths are in bytes, and offsets count from the start of the mapping. An access that leaves the
/// mapping is refused whole, with [`Error::AccessOutOfBounds`].
///
/// Other threads and other processes may write the same bytes at the same time. A copy then has old bytes, new
/// bytes or a mixture; where that matters, agree on turns through the atomics of this type
/// ([`Mapping::atomic_u32`] and its like). Nothing here pins pages: unpinned pages that are purged read as zeros.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// let region = ashmem::Region::create("greeting", 8192)?;
/// let mapping = region.map()?;
/// mapping.write_at(100, b"hello")?;
///
/// let mut greeting = [0; 5];
/// region.map_read_only()?.read_at(100, &mut greeting)?;
/// assert_eq!(&greeting, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Mapping {
    map: RawMap,
    offset: u64,
    protection: Protection,
    sharing: Sharing,
}

impl Mapping {
    /// Length in bytes, as it was asked for: not rounded up to pages, and never 0.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Where in the region the mapping starts, in bytes.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the pages were mapped for (`PROT_*` of `mmap(2)`).
    #[must_use]
    #[inline]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Whether writes stay in this mapping (`MAP_PRIVATE`) instead of reaching the region.
    #[must_use]
    #[inline]
    pub fn is_private(&self) -> bool {
        self.sharing == Sharing::Private
    }

    /// The first byte, for reading through `unsafe` code or a C interface.
    ///
    /// [`Mapping::len`] bytes from here on are mapped until the mapping is dropped. Reading needs
    /// [`Protection::READ`] in [`Mapping::protection`], else it is a SIGSEGV. A peer may write the bytes at any
    /// moment, so do not make a `&[u8]` of them unless the region is sealed against writing and no writable
    /// mapping of it is left: use volatile or atomic accesses, or hand the pointer to C.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.map.start()
    }

    /// The first byte, for writing through `unsafe` code or a C interface.
    ///
    /// The rules of [`Mapping::as_ptr`] hold. Writing needs [`Protection::WRITE`] in [`Mapping::protection`],
    /// else it is a SIGSEGV. Never make a `&mut [u8]` of a shared mapping: it is not the only way to the bytes.
    #[must_use]
    #[inline]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.map.start()
    }

    /// Moves the memory into huge pages now, as far as it fits (`MADV_COLLAPSE` of `madvise(2)`, Linux 6.1).
    #[doc(hidden)]
    pub fn collapse(&self) -> Result<()> {
        self.map.collapse().map_err(Error::system("collapse into huge pages"))
    }

    /// Address of `len` readable bytes at `offset`.
    #[inline]
    pub(crate) fn readable(&self, operation: &'static str, offset: u64, len: u64) -> Result<*const u8> {
        if !self.protection.contains(Protection::READ) {
            return Err(self.denied(operation));
        }
        self.span(offset, len).map(<*mut u8>::cast_const)
    }

    /// Address of `len` writable bytes at `offset`.
    #[inline]
    pub(crate) fn writable(&self, operation: &'static str, offset: u64, len: u64) -> Result<*mut u8> {
        self.require_write(operation)?;
        self.span(offset, len)
    }

    #[inline]
    fn require_write(&self, operation: &'static str) -> Result<()> {
        if self.protection.contains(Protection::WRITE) { Ok(()) } else { Err(Error::ReadOnly { operation }) }
    }

    /// Address of `offset`, from which on `len` bytes are inside the mapping.
    #[inline]
    fn span(&self, offset: u64, len: u64) -> Result<*mut u8> {
        let size = self.len();
        if len > size || offset > size - len {
            return Err(Error::AccessOutOfBounds { offset, len, size });
        }
        // No truncation: `offset` is at most the length of a mapping, which is a usize.
        Ok(self.map.start().wrapping_add(offset as usize))
    }

    #[cold]
    fn denied(&self, operation: &'static str) -> Error {
        Error::ProtectionDenied { operation, needed: Protection::READ, mask: self.protection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Region, page_size};

    #[test]
    fn usable_from_any_thread() {
        fn any_thread<T: Send + Sync>() {}
        any_thread::<Mapping>();
        any_thread::<MappingCursor<'static>>();
    }

    #[test]
    fn tells_what_was_mapped() {
        let region = Region::create("geometry", 10_000).unwrap();
        let mapping = region.map().unwrap();
        assert_eq!((mapping.len(), mapping.offset()), (10_000, 0));
        assert_eq!(mapping.protection(), Protection::READ | Protection::WRITE);
        assert!(!mapping.is_private());
        assert_eq!(mapping.as_ptr(), mapping.as_mut_ptr().cast_const());
        assert_eq!(mapping.as_ptr().addr() as u64 % page_size(), 0);
    }

    #[test]
    fn outlives_its_region() {
        let region = Region::create("outlived", 8192).unwrap();
        let mapping = region.map().unwrap();
        mapping.write_at(0, b"still here").unwrap();
        drop(region);
        assert_eq!(mapping.read_vec(0, 10).unwrap(), b"still here");
    }

    #[test]
    fn spans_end_inside_and_do_not_overflow() {
        let region = Region::create("spans", 8192).unwrap();
        let mapping = region.map().unwrap();
        let start = mapping.as_ptr().addr();
        for (offset, len) in [(0, 0), (0, 8192), (8192, 0), (8191, 1), (1, 8191)] {
            let span = mapping.span(offset, len).unwrap();
            assert_eq!(span.addr(), start + offset as usize);
        }
        for (offset, len) in
            [(0, 8193), (8192, 1), (8193, 0), (1, 8192), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let refused = mapping.span(offset, len);
            assert!(
                matches!(refused, Err(Error::AccessOutOfBounds { offset: o, len: l, size: 8192 })
                    if (o, l) == (offset, len)),
                "{refused:?}"
            );
        }
    }
}
