//! An area: what one open of the device made.

use rustix::io::Errno;

use super::ranges::Ranges;
use super::{Access, AreaId, Flavour};

/// What GET_NAME answers for an area without a name.
pub const DEFAULT_NAME: &[u8] = b"dev/ashmem";

/// `ASHMEM_NAME_LEN`: bytes of a name with its NUL.
pub const NAME_LENGTH: usize = 256;

/// The protection mask that an area begins with: PROT_READ, PROT_WRITE and PROT_EXEC.
pub const PROTECTION_ALL: u64 = 7;

const PROT_READ: u64 = 1;
const PROT_EXEC: u64 = 4;

/// An area. Everything that needs no look at other areas is asked here; pins are asked of the
/// [`Device`](super::Device).
#[derive(Debug)]
pub struct Area {
    access: Access,
    flavour: Flavour,
    page_size: u64,
    /// Without NUL; empty if there is none.
    name: Vec<u8>,
    size: u64,
    protection: u64,
    mapped: bool,
    /// The descriptor's file position and that of the backing file: the driver has both.
    pub(super) position: u64,
    pub(super) backing_position: u64,
    pub(super) ranges: Ranges,
}

impl Area {
    pub(super) fn new(id: AreaId, access: Access, flavour: Flavour, page_size: u64) -> Area {
        Area {
            access,
            flavour,
            page_size,
            name: Vec::new(),
            size: 0,
            protection: PROTECTION_ALL,
            mapped: false,
            position: 0,
            backing_position: 0,
            ranges: Ranges::new(id),
        }
    }

    /// How it was opened.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// SET_NAME: `name` is what the client's memory holds before the NUL; it ends at a NUL here too, and is cut to 255
    /// bytes. An empty name takes the name away.
    ///
    /// # Errors
    ///
    /// EINVAL once mapped. (EFAULT for memory that cannot be read goes before it and is the caller's.)
    pub fn set_name(&mut self, name: &[u8]) -> Result<(), Errno> {
        if self.mapped {
            return Err(Errno::INVAL);
        }
        let end = name.iter().take(NAME_LENGTH - 1).take_while(|&&byte| byte != 0).count();
        self.name = name.get(..end).unwrap_or_default().to_vec();
        Ok(())
    }

    /// GET_NAME, without NUL. The driver writes these bytes and a NUL, and no more.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.label().unwrap_or(DEFAULT_NAME)
    }

    /// The name that was given to it.
    #[must_use]
    pub fn label(&self) -> Option<&[u8]> {
        (!self.name.is_empty()).then_some(self.name.as_slice())
    }

    /// Whether it was given a name.
    #[must_use]
    pub fn has_name(&self) -> bool {
        !self.name.is_empty()
    }

    /// The name of the backing file, as `/proc/PID/maps` shows it between the first `/` and ` (deleted)`.
    #[must_use]
    pub fn backing_name(&self) -> Vec<u8> {
        let mut name = DEFAULT_NAME.to_vec();
        if let Some(label) = self.label() {
            name.push(b'/');
            name.extend_from_slice(label);
        }
        name
    }

    /// SET_SIZE, in bytes; any value is taken.
    ///
    /// # Errors
    ///
    /// EINVAL once mapped.
    pub fn set_size(&mut self, size: u64) -> Result<(), Errno> {
        if self.mapped {
            return Err(Errno::INVAL);
        }
        self.size = size;
        Ok(())
    }

    /// The size in bytes, as it was set. GET_SIZE answers [`size_result`](Area::size_result).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// GET_SIZE as the result register shows it: see [`register`](super::register).
    #[must_use]
    pub fn size_result(&self) -> i64 {
        super::register(self.size)
    }

    /// The size rounded up to pages, in bytes: 0 for sizes within a page of 2^64, as in the driver.
    #[must_use]
    pub fn aligned_size(&self) -> u64 {
        self.size.wrapping_add(self.page_size - 1) & !(self.page_size - 1)
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.aligned_size() / self.page_size
    }

    /// SET_PROT_MASK: the mask can only lose bits. In a process with the personality READ_IMPLIES_EXEC, PROT_READ brings
    /// PROT_EXEC along, even where that had been taken away.
    ///
    /// # Errors
    ///
    /// EINVAL if the mask lacks one of the bits.
    pub fn set_protection(&mut self, protection: u64, read_implies_exec: bool) -> Result<(), Errno> {
        if protection & !self.protection != 0 {
            return Err(Errno::INVAL);
        }
        let implied = if read_implies_exec && protection & PROT_READ != 0 { PROT_EXEC } else { 0 };
        self.protection = protection | implied;
        Ok(())
    }

    /// GET_PROT_MASK.
    #[must_use]
    pub fn protection(&self) -> u64 {
        self.protection
    }

    pub(super) fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Whether there is a backing file: name and size are frozen, pins can be asked for.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// A mapping succeeded: from the first one on there is a backing file.
    pub fn mapped(&mut self) {
        self.mapped = true;
    }

    /// GET_FILE_ID: whether it answers with the inode number of the backing file.
    ///
    /// # Errors
    ///
    /// ENOTTY in mainline. EINVAL before the first mapping, whatever the pointer.
    pub fn check_file_id(&self) -> Result<(), Errno> {
        match self.flavour {
            Flavour::Mainline => Err(Errno::NOTTY),
            Flavour::Android if !self.mapped => Err(Errno::INVAL),
            Flavour::Android => Ok(()),
        }
    }

    /// The driver's own lines of `/proc/PID/fdinfo/FD`. `inode` is that of the backing file and shown once mapped.
    #[must_use]
    pub fn file_info(&self, inode: Option<u64>) -> Vec<u8> {
        let mut lines = Vec::new();
        if let Some(inode) = inode.filter(|_| self.mapped) {
            lines.extend_from_slice(format!("inode:\t{inode}\n").as_bytes());
        }
        if let Some(label) = self.label() {
            lines.extend_from_slice(b"name:\t");
            lines.extend_from_slice(label);
            lines.push(b'\n');
        }
        if self.flavour == Flavour::Android {
            lines.extend_from_slice(format!("size:\t{}\n", self.size).as_bytes());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::Device;
    use super::*;

    fn area(flavour: Flavour, test: impl FnOnce(&mut Area)) {
        let mut device = Device::new(4096, flavour);
        let id = device.open(Access::ReadWrite);
        test(device.area_mut(id).unwrap());
    }

    #[test]
    fn names_are_cut_and_reset() {
        area(Flavour::Mainline, |area| {
            assert_eq!(area.name(), b"dev/ashmem");
            area.set_name(&[b'a'; 300]).unwrap();
            assert_eq!(area.name(), [b'a'; 255]);
            area.set_name(b"ab\0cd").unwrap();
            assert_eq!((area.name(), area.backing_name()), (&b"ab"[..], b"dev/ashmem/ab".to_vec()));
            area.set_name(b"").unwrap();
            assert!(!area.has_name());
            assert_eq!((area.label(), area.backing_name()), (None, b"dev/ashmem".to_vec()));
        });
    }

    #[test]
    fn a_mapping_freezes_name_and_size_but_not_the_mask() {
        area(Flavour::Mainline, |area| {
            area.set_size(5).unwrap();
            area.mapped();
            assert_eq!(area.set_size(5), Err(Errno::INVAL));
            assert_eq!(area.set_name(b"x"), Err(Errno::INVAL));
            assert_eq!(area.set_protection(1, false), Ok(()));
        });
    }

    #[test]
    fn sizes_go_through_an_int() {
        area(Flavour::Mainline, |area| {
            for (size, result) in
                [(1 << 31, -(1i64 << 31)), (1 << 32, 0), (u64::MAX, -1), (0xffff_effe, -4098)]
            {
                area.set_size(size).unwrap();
                assert_eq!(area.size_result(), result);
            }
            area.set_size(u64::MAX - 4094).unwrap();
            assert_eq!((area.aligned_size(), area.pages()), (0, 0));
        });
    }

    #[test]
    fn the_mask_only_loses_bits() {
        area(Flavour::Mainline, |area| {
            assert_eq!(area.set_protection(8, false), Err(Errno::INVAL));
            assert_eq!(area.set_protection(3, false), Ok(()));
            assert_eq!(area.set_protection(5, false), Err(Errno::INVAL));
            assert_eq!(area.set_protection(1, true), Ok(()));
            assert_eq!(area.protection(), 5);
        });
    }

    #[test]
    fn flavours_differ_in_file_id_and_fdinfo() {
        area(Flavour::Mainline, |area| {
            area.set_name(b"n").unwrap();
            assert_eq!(area.check_file_id(), Err(Errno::NOTTY));
            assert_eq!(area.file_info(Some(7)), b"name:\tn\n");
        });
        area(Flavour::Android, |area| {
            area.set_size(10).unwrap();
            assert_eq!(area.check_file_id(), Err(Errno::INVAL));
            area.mapped();
            assert_eq!(area.check_file_id(), Ok(()));
            assert_eq!(area.file_info(Some(7)), b"inode:\t7\nsize:\t10\n");
        });
    }
}
