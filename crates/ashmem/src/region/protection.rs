//! The protection mask of a region.

use std::os::fd::AsFd;

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::Region;
use crate::control::Control;
use crate::sys::memfd;
use crate::{Error, Protection, Result};

impl Region {
    /// What mappings of this region may do: everything, less what was removed by any holder.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn protection(&self) -> Result<Protection> {
        let mut mask = self.removable_protection()?;
        let seals = memfd::seals(self.as_fd()).map_err(Error::system("read seals"))?;
        mask.set(Protection::WRITE, !seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE));
        Ok(mask)
    }

    /// The mask as far as the kernel does not enforce it.
    pub(crate) fn removable_protection(&self) -> Result<Protection> {
        let removed = self.inner.control()?.map_or(Protection::empty(), Control::removed_protection);
        Ok(Protection::all().difference(removed))
    }

    /// Sets the mask to `mask`, which can only lose bits, for all holders and for good. Existing mappings keep their rights.
    ///
    /// WRITE is taken away by a seal (`F_SEAL_FUTURE_WRITE`): no process can map the region writable or write to it any
    /// more. The kernel then refuses to punch holes, too, so a region without WRITE is not purged any more; unpinning it
    /// is an error or has no effect. READ and EXEC are recorded in the control block and honoured by this
    /// library; a peer that calls `mmap(2)` itself is not stopped.
    ///
    /// Stands for `ASHMEM_SET_PROT_MASK`, `ashmem_set_prot_region`.
    ///
    /// # Errors
    /// [`Error::ProtectionAdded`] when `mask` has a bit that the mask in force has not (EINVAL);
    /// [`Error::NotPurgeable`] when READ or EXEC is to go and there cannot be a control block; [`Error::ReadOnly`] for a
    /// read-only descriptor; [`Error::System`].
    pub fn set_protection(&self, mask: Protection) -> Result<()> {
        let current = self.protection()?;
        if !current.contains(mask) {
            return Err(Error::ProtectionAdded { requested: mask, mask: current });
        }
        let removed = current.difference(mask);
        if removed.intersects(Protection::READ | Protection::EXEC) {
            let control = self.inner.need_control("set protection")?;
            control.remove_protection(removed.difference(Protection::WRITE));
        }
        if removed.contains(Protection::WRITE) {
            memfd::add_seals(self.as_fd(), SealFlags::FUTURE_WRITE).map_err(|errno| match errno {
                Errno::PERM if !self.is_writable().unwrap_or(true) => {
                    Error::ReadOnly { operation: "set protection" }
                }
                errno => Error::system("seal region against writing")(errno),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contents, MapOptions};

    #[test]
    fn bits_only_go() {
        let region = Region::create("mask", 8192).expect("a region");
        assert_eq!(region.protection().expect("a mask"), Protection::all());
        region.set_protection(Protection::READ | Protection::WRITE).expect("EXEC goes");
        region.set_protection(Protection::READ | Protection::WRITE).expect("nothing changes");
        assert!(matches!(region.set_protection(Protection::all()), Err(Error::ProtectionAdded { .. })));
        region.set_protection(Protection::empty()).expect("everything goes");
        assert!(matches!(region.set_protection(Protection::READ), Err(Error::ProtectionAdded { .. })));
        assert_eq!(region.protection().expect("a mask"), Protection::empty());
        assert!(matches!(region.map_read_only(), Err(Error::ProtectionDenied { .. })));
    }

    #[test]
    fn other_holders_see_it() {
        let region = Region::create("mask", 8192).expect("a region");
        let peer =
            Region::from_fd(region.as_fd().try_clone_to_owned().expect("a duplicate")).expect("a region");
        region.set_protection(Protection::WRITE | Protection::EXEC).expect("READ goes");
        assert_eq!(peer.protection().expect("a mask"), Protection::WRITE | Protection::EXEC);
        assert!(matches!(peer.map(), Err(Error::ProtectionDenied { .. })));
    }

    #[test]
    fn without_write_old_mappings_write_and_new_ones_do_not() {
        let region = Region::create("mask", 8192).expect("a region");
        let old = region.map().expect("mapped");
        region.set_protection(Protection::READ).expect("WRITE goes");
        old.write_at(0, b"old").expect("written");
        assert!(matches!(region.map(), Err(Error::ProtectionDenied { .. })));
        let peer = Region::from_fd(region.share_read_write().expect("reopened")).expect("a region");
        assert!(matches!(peer.map(), Err(Error::ProtectionDenied { .. })));
        assert_eq!(peer.map_read_only().expect("mapped").read_vec(0, 3).expect("read"), b"old");
        let private = MapOptions::new().private().map(&peer).expect("a copy-on-write mapping");
        private.write_at(0, b"new").expect("written");
        assert_eq!(old.read_vec(0, 3).expect("read"), b"old");
    }

    #[test]
    fn without_write_nothing_is_purged_any_more() {
        let region = Region::create("mask", 8192).expect("a region");
        region.map().expect("mapped").write_at(0, b"kept").expect("written");
        region.unpin(..).expect("unpinned");
        region.set_protection(Protection::READ).expect("WRITE goes");
        assert!(region.purge().is_err());
        let peer = Region::from_fd(region.share_read_write().expect("reopened")).expect("a region");
        assert_eq!(peer.pin(..).expect("decided for good"), Contents::Intact);
        assert!(matches!(peer.unpin(..), Err(Error::ReadOnly { .. })));
    }
}
