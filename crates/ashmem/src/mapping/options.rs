//! How to map: which part, for what, shared or private.

use std::ops::{Bound, RangeBounds};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mm::MapFlags;

use super::{Mapping, Sharing};
use crate::sys::map::RawMap;
use crate::{Error, Protection, Region, Result, page, page_size};

const OPERATION: &str = "map region";

/// How to map a region (`mmap(2)`): which part of it, for what, shared or private.
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// use ashmem::MapOptions;
///
/// let page = ashmem::page_size();
/// let region = ashmem::Region::create("table", 2 * page)?;
/// let second_page = MapOptions::new().range(page..).map(&region)?;
/// second_page.write_at(0, b"shared")?;
///
/// let scratch = MapOptions::new().private().map(&region)?;
/// assert_eq!(scratch.read_vec(page, 6)?, b"shared");
/// scratch.write_at(page, b"mine  ")?;
/// assert_eq!(second_page.read_vec(0, 6)?, b"shared");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "options do nothing until `map` is called"]
pub struct MapOptions {
    range: (Bound<u64>, Bound<u64>),
    protection: Protection,
    sharing: Sharing,
    aligned: bool,
}

impl Default for MapOptions {
    fn default() -> MapOptions {
        MapOptions::new()
    }
}

impl MapOptions {
    /// The whole region, shared, for reading and writing.
    pub const fn new() -> MapOptions {
        MapOptions {
            range: (Bound::Unbounded, Bound::Unbounded),
            protection: Protection::READ.union(Protection::WRITE),
            sharing: Sharing::Shared,
            aligned: false,
        }
    }

    /// For reading only.
    pub const fn read_only(self) -> MapOptions {
        self.protection(Protection::READ)
    }

    /// For what `protection` says, instead of reading and writing.
    ///
    /// Without [`Protection::READ`] the mapping refuses to read, also on machines whose pages are then readable.
    pub const fn protection(mut self, protection: Protection) -> MapOptions {
        self.protection = protection;
        self
    }

    /// Copy-on-write (`MAP_PRIVATE`): what is written stays in this mapping.
    ///
    /// The mapping starts with the region's contents. A page that was written through it is its own from then on;
    /// any other page may go on showing what peers write, or zeros after a purge. (The ashmem driver gives zeros
    /// instead of the contents.) Writing is allowed whatever the region's mask and the descriptor say about it;
    /// reading must be allowed by both.
    pub const fn private(mut self) -> MapOptions {
        self.sharing = Sharing::Private;
        self
    }

    /// At an address where huge pages fit.
    #[doc(hidden)]
    pub const fn aligned(mut self) -> MapOptions {
        self.aligned = true;
        self
    }

    /// Only this part of the region, in bytes.
    ///
    /// It must start at a page; it may end anywhere up to the size of the region.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> MapOptions {
        self.range = (range.start_bound().cloned(), range.end_bound().cloned());
        self
    }

    /// Maps `region`.
    ///
    /// No access to the mapping can fail for a file that got too short (SIGBUS): the region is sealed against
    /// shrinking first, where it was not.
    ///
    /// # Errors
    /// - [`Error::RangeOutOfBounds`], [`Error::RangeMisaligned`] or [`Error::RangeEmpty`]: no such part.
    /// - [`Error::ProtectionDenied`]: the region's mask does not allow it.
    /// - [`Error::ReadOnly`]: a shared mapping for writing, and the descriptor is read-only.
    /// - [`Error::Unsealable`]: the region cannot be sealed against shrinking.
    /// - [`Error::System`]: `mmap(2)` failed, for want of memory or of address space.
    pub fn map(&self, region: &Region) -> Result<Mapping> {
        let (offset, len) = self.part(region.size())?;
        self.require_allowed(region)?;
        region.seal_against_shrinking()?;
        let flags = match self.sharing {
            Sharing::Shared => MapFlags::SHARED,
            Sharing::Private => MapFlags::PRIVATE,
        };
        let map = if self.aligned { RawMap::aligned } else { RawMap::new };
        let map = map(region.as_fd(), offset, len, self.protection.flags(), flags)
            .map_err(|errno| self.refusal(region, errno))?;
        Ok(Mapping { map, offset, protection: self.protection, sharing: self.sharing })
    }

    /// Offset and length of the part of a region of `size` bytes.
    fn part(&self, size: u64) -> Result<(u64, usize)> {
        let (start, end) = page::bytes(&self.range, size)?;
        if start > size || end > size {
            return Err(Error::RangeOutOfBounds { start, end, size });
        }
        if start >= end {
            return Err(Error::RangeEmpty { start, end });
        }
        if start % page_size() != 0 {
            return Err(Error::RangeMisaligned { start, end, page_size: page_size() });
        }
        let len = usize::try_from(end - start).map_err(|_| Error::system(OPERATION)(Errno::NOMEM))?;
        Ok((start, len))
    }

    fn needed(&self) -> Protection {
        match self.sharing {
            Sharing::Shared => self.protection,
            Sharing::Private => self.protection.difference(Protection::WRITE).union(Protection::READ),
        }
    }

    /// Checks what the kernel does not: WRITE is sealed, and a descriptor's mode is its own.
    fn require_allowed(&self, region: &Region) -> Result<()> {
        let needed = self.needed();
        if !needed.contains(Protection::EXEC) && region.surely_keeps_read()? {
            return Ok(());
        }
        let mask = region.removable_protection()?;
        if mask.contains(needed) {
            return Ok(());
        }
        Err(Error::ProtectionDenied { operation: OPERATION, needed, mask: region.protection()? })
    }

    /// Why the kernel said no.
    fn refusal(&self, region: &Region, errno: Errno) -> Error {
        let (needed, mask) = (self.needed(), region.protection());
        match (errno, mask, region.is_writable()) {
            (Errno::PERM | Errno::ACCESS, Ok(mask), _) if !mask.contains(needed) => {
                Error::ProtectionDenied { operation: OPERATION, needed, mask }
            }
            (Errno::ACCESS, _, Ok(false)) => Error::ReadOnly { operation: OPERATION },
            _ => Error::system(OPERATION)(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: impl RangeBounds<u64>, size: u64) -> Result<(u64, usize)> {
        MapOptions::new().range(range).part(size)
    }

    #[test]
    fn parts_of_a_region() {
        let p = page_size();
        let size = 3 * p + 5;
        let whole = (0, size as usize);
        assert_eq!(MapOptions::new().part(size).unwrap(), whole);
        assert_eq!(part(.., size).unwrap(), whole);
        assert_eq!(part(0..size, size).unwrap(), whole);
        assert_eq!(part(..=size - 1, size).unwrap(), whole);
        assert_eq!(part(p..2 * p + 1, size).unwrap(), (p, p as usize + 1));
        assert_eq!(part(3 * p.., size).unwrap(), (3 * p, 5));
    }

    #[test]
    fn bad_parts_are_told_apart() {
        let p = page_size();
        let size = 3 * p + 5;
        assert!(matches!(part(p..p, size), Err(Error::RangeEmpty { .. })));
        assert!(matches!(part(size.., size), Err(Error::RangeEmpty { .. })));
        assert!(matches!(
            part((Bound::Included(2 * p), Bound::Excluded(p)), size),
            Err(Error::RangeEmpty { .. })
        ));
        assert!(matches!(part(1..p, size), Err(Error::RangeMisaligned { .. })));
        assert!(matches!(part(0..size + 1, size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(part(4 * p.., size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(part(0..=u64::MAX, size), Err(Error::RangeOutOfBounds { .. })));
        assert!(matches!(
            part((Bound::Excluded(u64::MAX), Bound::Unbounded), size),
            Err(Error::RangeOutOfBounds { .. })
        ));
    }

    #[test]
    fn a_part_starts_at_its_offset() {
        let p = page_size();
        let region = Region::create("part", 4 * p).unwrap();
        let whole = region.map().unwrap();
        let part = MapOptions::new().range(p..2 * p + 10).map(&region).unwrap();
        assert_eq!((part.offset(), part.len()), (p, p + 10));
        part.write_at(0, b"first").unwrap();
        part.write_at(p + 6, b"last").unwrap();
        assert_eq!(whole.read_vec(p, 5).unwrap(), b"first");
        assert_eq!(whole.read_vec(2 * p + 6, 4).unwrap(), b"last");
        whole.write_at(p + 1, b"I").unwrap();
        assert_eq!(part.read_vec(0, 5).unwrap(), b"fIrst");
        assert!(matches!(part.write_at(p + 10, b"x"), Err(Error::AccessOutOfBounds { .. })));
    }

    #[test]
    fn private_writes_stay_private() {
        let region = Region::create("private", 8192).unwrap();
        let shared = region.map().unwrap();
        shared.write_at(0, b"contents").unwrap();
        let private = MapOptions::new().private().map(&region).unwrap();
        assert!(private.is_private());
        assert_eq!(private.read_vec(0, 8).unwrap(), b"contents");
        private.write_at(0, b"scribble").unwrap();
        assert_eq!(private.read_vec(0, 8).unwrap(), b"scribble");
        assert_eq!(shared.read_vec(0, 8).unwrap(), b"contents");
        shared.write_at(0, b"new text").unwrap();
        assert_eq!(private.read_vec(0, 8).unwrap(), b"scribble");
    }

    #[test]
    fn a_region_without_write_can_be_read_and_written_privately() {
        let region = Region::create("sealed", 8192).unwrap();
        let before = region.map().unwrap();
        region.set_protection(Protection::READ | Protection::EXEC).unwrap();
        let refused = region.map();
        assert!(
            matches!(refused, Err(Error::ProtectionDenied { mask, .. }) if !mask.contains(Protection::WRITE)),
            "{refused:?}"
        );
        before.write_at(0, b"old right").unwrap();
        assert_eq!(region.map_read_only().unwrap().read_vec(0, 9).unwrap(), b"old right");
        let private = MapOptions::new().private().map(&region).unwrap();
        private.write_at(0, b"mine only").unwrap();
        assert_eq!(before.read_vec(0, 9).unwrap(), b"old right");
    }

    #[test]
    fn a_read_only_descriptor_can_be_written_only_privately() {
        let region = Region::create("reader", 8192).unwrap();
        region.map().unwrap().write_at(0, b"contents").unwrap();
        let reader = Region::from_fd(region.share_read_only().unwrap()).unwrap();
        assert!(matches!(reader.map(), Err(Error::ReadOnly { .. })));
        assert_eq!(reader.map_read_only().unwrap().read_vec(0, 8).unwrap(), b"contents");
        let private = MapOptions::new().private().map(&reader).unwrap();
        private.write_at(0, b"scribble").unwrap();
        assert_eq!(region.map().unwrap().read_vec(0, 8).unwrap(), b"contents");
    }

    #[test]
    fn a_mapping_for_nothing_or_for_executing() {
        let region = Region::create("other bits", 8192).unwrap();
        let nothing = MapOptions::new().protection(Protection::empty()).map(&region).unwrap();
        assert_eq!(nothing.protection(), Protection::empty());
        let code = Protection::READ | Protection::EXEC;
        assert_eq!(MapOptions::new().protection(code).map(&region).unwrap().protection(), code);
    }
}
