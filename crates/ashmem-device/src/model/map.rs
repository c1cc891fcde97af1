//! What `mmap` of a descriptor answers.

use rustix::io::Errno;

use super::Area;

/// Bytes that a process can address: a longer mapping is ENOMEM before anybody looks at the area.
#[cfg(target_arch = "x86_64")]
pub const ADDRESS_SPACE: u64 = (1 << 47) - 4096;
/// Bytes that a process can address: a longer mapping is ENOMEM before anybody looks at the area.
#[cfg(not(target_arch = "x86_64"))]
pub const ADDRESS_SPACE: u64 = 1 << 48;

const PROT_WRITE: u64 = 2;
const PROT_MASK: u64 = super::PROTECTION_ALL;

/// The arguments of `mmap` that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCall {
    /// Bytes, as the client gave them.
    pub length: u64,
    /// Bytes, as the client gave them. Not compared with the area's size.
    pub offset: u64,
    /// PROT_READ, PROT_WRITE, PROT_EXEC, with what READ_IMPLIES_EXEC adds; other bits do not matter.
    pub protection: u64,
    /// MAP_SHARED or MAP_SHARED_VALIDATE.
    pub shared: bool,
}

/// What a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// The contents of the area, shared. Past its last page: SIGBUS.
    Contents,
    /// Private zero pages, none of the area's contents, whatever the offset: for MAP_PRIVATE, and for MAP_SHARED through
    /// a read-only descriptor.
    Zero,
}

impl Area {
    /// Whether the mapping is allowed, and of what; [`mapped`](Area::mapped) is to follow if it succeeds. `mprotect` can
    /// later give it the bits of the mask and no others; a shared one of a read-only descriptor never becomes writable.
    ///
    /// # Errors
    ///
    /// In the kernel's order. EINVAL: the offset is not page-aligned, or the length 0. ENOMEM: the length exceeds the
    /// address space. EOVERFLOW: offset and length do. EACCES: the descriptor is not open for this. EINVAL: the area has
    /// no size, or fewer pages than that. EPERM: the mask lacks a bit of the protection. EINVAL: its size is more than
    /// a file can have. (ENOMEM because memory is not to be had is the caller's.)
    pub fn check_map(&self, call: &MapCall) -> Result<MapKind, Errno> {
        let page = self.page_size();
        if call.offset & (page - 1) != 0 || call.length == 0 {
            return Err(Errno::INVAL);
        }
        let length = call.length.checked_add(page - 1).ok_or(Errno::NOMEM)? & !(page - 1);
        if length > ADDRESS_SPACE {
            return Err(Errno::NOMEM);
        }
        if call.offset / page > (u64::MAX - length) / page {
            return Err(Errno::OVERFLOW);
        }
        if call.shared && call.protection & PROT_WRITE != 0 && !self.access().writes() {
            return Err(Errno::ACCESS);
        }
        if !self.access().reads() {
            return Err(Errno::ACCESS);
        }
        if self.size() == 0 || length > self.aligned_size() {
            return Err(Errno::INVAL);
        }
        if call.protection & !self.protection() & PROT_MASK != 0 {
            return Err(Errno::PERM);
        }
        if !self.is_mapped() && i64::try_from(self.size()).is_err() {
            return Err(Errno::INVAL);
        }
        Ok(if call.shared && self.access().writes() { MapKind::Contents } else { MapKind::Zero })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Device, Flavour};
    use super::*;

    const PAGE: u64 = 4096;

    fn check(access: Access, size: u64, mask: u64, call: MapCall) -> Result<MapKind, Errno> {
        let mut device = Device::new(PAGE, Flavour::Mainline);
        let id = device.open(access);
        let area = device.area_mut(id).unwrap();
        area.set_size(size).unwrap();
        area.set_protection(mask, false).unwrap();
        area.check_map(&call)
    }

    fn call(length: u64, offset: u64, protection: u64, shared: bool) -> MapCall {
        MapCall { length, offset, protection, shared }
    }

    #[test]
    fn lengths_and_offsets() {
        let ask = |length, offset| check(Access::ReadWrite, 2 * PAGE + 1, 7, call(length, offset, 3, true));
        assert_eq!(ask(0, 0), Err(Errno::INVAL));
        assert_eq!(ask(3 * PAGE, 100 * PAGE), Ok(MapKind::Contents));
        assert_eq!(ask(3 * PAGE + 1, 0), Err(Errno::INVAL));
        assert_eq!(ask(PAGE, 1), Err(Errno::INVAL));
        assert_eq!(ask(PAGE, !0xfff), Err(Errno::OVERFLOW));
        assert_eq!(ask(u64::MAX, 0), Err(Errno::NOMEM));
        assert_eq!(ask(ADDRESS_SPACE + 1, 0), Err(Errno::NOMEM));
    }

    #[test]
    fn the_descriptor_goes_before_the_mask() {
        assert_eq!(check(Access::Read, PAGE, 1, call(PAGE, 0, 3, true)), Err(Errno::ACCESS));
        assert_eq!(check(Access::Read, PAGE, 1, call(PAGE, 0, 3, false)), Err(Errno::PERM));
        assert_eq!(check(Access::Read, PAGE, 7, call(PAGE, 0, 1, true)), Ok(MapKind::Zero));
        assert_eq!(check(Access::Read, PAGE, 7, call(PAGE, 0, 3, false)), Ok(MapKind::Zero));
        assert_eq!(check(Access::Write, PAGE, 7, call(PAGE, 0, 2, true)), Err(Errno::ACCESS));
        assert_eq!(check(Access::ReadWrite, PAGE, 3, call(PAGE, 0, 5, true)), Err(Errno::PERM));
        assert_eq!(check(Access::ReadWrite, PAGE, 0, call(PAGE, 0, 0, true)), Ok(MapKind::Contents));
    }

    #[test]
    fn huge_sizes() {
        let ask = |size| check(Access::ReadWrite, size, 7, call(PAGE, 0, 3, true));
        assert_eq!(ask(u64::MAX), Err(Errno::INVAL));
        assert_eq!(ask(1 << 63), Err(Errno::INVAL));
        assert_eq!(ask((1 << 63) - 1), Ok(MapKind::Contents));
    }
}
