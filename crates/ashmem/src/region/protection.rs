//! The protection mask of a region.

use std::os::fd::AsFd;

use rustix::fs::SealFlags;

use super::Region;
use crate::control::Control;
use crate::sys::memfd;
use crate::{Error, Protection, Result, purger};

const OPERATION: &str = "set protection";

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

    /// Whether READ was never removed, by a look that is quicker than at the whole mask: READ does not go without GROW or WRITE,
    /// unless seals are sealed.
    pub(crate) fn surely_keeps_read(&self) -> Result<bool> {
        let seals = memfd::seals(self.as_fd()).map_err(Error::system("read seals"))?;
        let seals_beside = SealFlags::GROW | SealFlags::WRITE | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        Ok(!seals.intersects(seals_beside))
    }

    /// The mask as far as the kernel does not enforce it.
    pub(crate) fn removable_protection(&self) -> Result<Protection> {
        let status = self.inner.status()?;
        let control = match self.inner.known_control() {
            None if status.has_control_mark || self.inner.apart().is_some() => self.inner.control()?,
            known => known,
        };
        let recorded = control.map_or(Protection::empty(), Control::removed_protection);
        Ok(Protection::all().difference(status.removed | recorded))
    }

    /// Sets the mask to `mask`, which can only lose bits, for all holders and for good. Existing mappings keep their rights.
    ///
    /// WRITE is taken away by a seal (`F_SEAL_FUTURE_WRITE`): no process can map the region writable or write to it any
    /// more. The kernel then refuses to punch holes, too, so a region without WRITE is not purged any more; unpinning it
    /// is an error or has no effect. Its file is sealed against growing, too.
    ///
    /// READ and EXEC are recorded in the file's mode and honoured by this library; a peer that calls `mmap(2)` itself is not
    /// stopped. Only the file's owner may change its mode, and a mode cannot say everything, as that READ went and EXEC or WRITE stayed.
    /// Otherwise, and when there is a control block already, the record is in the control block, which is appended then.
    ///
    /// Stands for `ASHMEM_SET_PROT_MASK`, `ashmem_set_prot_region`.
    ///
    /// # Errors
    /// [`Error::ProtectionAdded`] when `mask` has a bit that the mask in force has not (EINVAL); [`Error::NotPurgeable`] when READ or
    /// EXEC is to go, the mode cannot say so, and there cannot be a control block; [`Error::ReadOnly`] for a read-only
    /// descriptor; [`Error::PurgeLocked`] when another process keeps the purge lock, and then WRITE is gone all the same, if it was to go;
    /// [`Error::System`].
    pub fn set_protection(&self, mask: Protection) -> Result<()> {
        let current = self.protection()?;
        if !current.contains(mask) {
            return Err(Error::ProtectionAdded { requested: mask, mask: current });
        }
        let removed = current.difference(mask);
        if removed.is_empty() {
            return Ok(());
        }
        if !self.is_writable()? {
            return Err(Error::ReadOnly { operation: OPERATION });
        }
        let recorded = if removed.intersects(Protection::READ | Protection::EXEC) {
            self.record_removed(Protection::all().difference(mask))
        } else {
            Ok(())
        };
        if removed.contains(Protection::WRITE) {
            if matches!(recorded, Err(Error::PurgeLocked { .. })) {
                // A peer that keeps the lock shall not keep WRITE. Not GROW: it may be appending.
                self.seal(SealFlags::FUTURE_WRITE)?;
                return recorded;
            }
            recorded?;
            let status = self.inner.status()?;
            if !status.has_control_mark && status.size == self.inner.layout().file_size() {
                // Somebody died while appending, and nobody could finish that without WRITE.
                self.inner.need_control(OPERATION)?;
            }
            // Last, for what was recorded might have needed it. Nothing will be appended any more, so the size is final. Who is marked has
            // that seal, or is a forgery that it would make worse.
            let mut seals = SealFlags::FUTURE_WRITE;
            seals.set(SealFlags::GROW, !status.has_control_mark);
            return self.seal(seals);
        }
        recorded
    }

    fn seal(&self, seals: SealFlags) -> Result<()> {
        memfd::add_seals(self.as_fd(), seals).map_err(Error::system("seal region against writing"))
    }

    /// Records that READ and EXEC were removed, as far as `removed` has them; it also has WRITE when that goes right after this.
    fn record_removed(&self, removed: Protection) -> Result<()> {
        let by_mode = purger::remove_protection(&self.inner, removed);
        // Who appends a control block finds what is in the mode by now.
        let control = match self.inner.control()?.filter(|control| control.is_writable()) {
            Some(control) => control,
            // Who maps looks only at the mode of files that cannot grow or be written to.
            None if by_mode? => {
                if !removed.contains(Protection::READ) || removed.contains(Protection::WRITE) {
                    return Ok(());
                }
                match self.inner.need_control(OPERATION) {
                    Err(Error::NotPurgeable { .. }) => {
                        // Fails only where seals are sealed.
                        let _ = self.seal(SealFlags::GROW);
                        return Ok(());
                    }
                    control => control?,
                }
            }
            None => self.inner.need_control(OPERATION)?,
        };
        control.remove_protection(removed.difference(Protection::WRITE));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::Barrier;

    use rustix::fs::Mode;

    use super::*;
    use crate::sys::lock::{self, Kind};
    use crate::{Contents, MapOptions};

    const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

    fn duplicate(region: &Region) -> Region {
        Region::from_fd(region.as_fd().try_clone_to_owned().expect("a duplicate")).expect("a region")
    }

    fn mask(region: &Region) -> Protection {
        region.protection().expect("a mask")
    }

    fn has_control_block(region: &Region) -> bool {
        region.inner.status().expect("a status").has_control_mark
    }

    #[test]
    fn what_others_have_sealed_loses_read_all_the_same() {
        let others = [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL];
        for (seal, is_marked) in [
            (SealFlags::empty(), true),
            (SealFlags::WRITE, false),
            (SealFlags::WRITE, true),
            (SealFlags::FUTURE_WRITE, false),
            (SealFlags::FUTURE_WRITE, true),
        ] {
            for others in others {
                let fd = memfd::create(c"sealed").expect("a memfd");
                memfd::set_size(fd.as_fd(), 8192).expect("a size");
                memfd::add_seals(fd.as_fd(), seal | others).expect("seals");
                if is_marked {
                    // Without a control block: a forgery.
                    crate::sys::mode::set_control_mark(fd.as_fd()).expect("the owner may");
                }
                let before = fd.try_clone().expect("a duplicate");
                let Ok(region) = Region::from_fd(fd) else { continue };
                let Ok(()) = region.set_protection(Protection::empty()) else { continue };
                let received = Region::from_fd(before).expect("a region");
                for region in [&region, &received] {
                    assert_eq!(mask(region), Protection::empty(), "{seal:?} {others:?}");
                    assert!(region.map_read_only().is_err(), "{seal:?} {others:?}");
                }
            }
        }
    }

    /// A memfd of 8192 bytes that was made with this mode.
    fn foreign(mode: u32) -> Region {
        let fd = memfd::create(c"foreign").expect("a memfd");
        memfd::set_size(fd.as_fd(), 8192).expect("a size");
        // Without execute permissions, which are sealed.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o666)).expect("the owner may");
        Region::from_fd(fd).expect("a region")
    }

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
    fn the_file_ends_where_the_region_ends() {
        for bits in [READ_WRITE, Protection::READ, Protection::empty()] {
            let region = Region::create("mask", 5000).expect("a region");
            region.set_protection(bits).expect("bits go");
            let mut file = File::from(region.share_read_write().expect("reopened"));
            assert_eq!(file.seek(SeekFrom::End(0)).expect("moved"), 5000, "{bits}");
            assert_eq!(file.read(&mut [0; 8]).expect("read"), 0, "{bits}");
            let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0));
            assert_eq!(hole, Err(rustix::io::Errno::NXIO), "{bits}: nothing was written");
            let received = Region::from_fd(file.into()).expect("a region");
            assert_eq!((received.size(), mask(&received)), (5000, bits));
        }
    }

    #[test]
    fn a_forged_mark_hides_nothing() {
        let region = Region::create("mask", 8192).expect("a region");
        crate::sys::mode::set_control_mark(region.as_fd()).expect("the owner may");
        region.set_protection(Protection::READ | Protection::EXEC).expect("WRITE goes");
        assert_eq!(mask(&region), Protection::READ | Protection::EXEC);
    }

    #[test]
    fn a_new_holder_takes_the_rest_away() {
        let ends = [Protection::empty(), Protection::WRITE];
        for (unpinned, end) in [(false, ends[0]), (false, ends[1]), (true, ends[0]), (true, ends[1])] {
            let region = Region::create("mask", 8192).expect("a region");
            if unpinned {
                region.unpin(..).expect("unpinned");
            }
            let older = duplicate(&region);
            let start = if end.is_empty() { Protection::READ } else { READ_WRITE };
            region.set_protection(start).expect("bits go");
            assert_eq!((mask(&older), mask(&duplicate(&region))), (start, start));
            duplicate(&region).set_protection(end).expect("READ goes");
            assert_eq!((mask(&region), mask(&older), mask(&duplicate(&region))), (end, end, end));
            for denied in [&region, &older, &duplicate(&region)] {
                assert!(matches!(denied.map_read_only(), Err(Error::ProtectionDenied { .. })));
            }
            assert_eq!(has_control_block(&region), unpinned || end == Protection::WRITE);
        }
    }

    #[test]
    fn what_the_mode_cannot_say_is_in_the_control_block() {
        let region = Region::create("mask", 8192).expect("a region");
        region.set_protection(Protection::WRITE | Protection::EXEC).expect("READ goes");
        assert!(has_control_block(&region));
        duplicate(&region).set_protection(Protection::WRITE).expect("EXEC goes");
        assert_eq!((mask(&region), mask(&duplicate(&region))), (Protection::WRITE, Protection::WRITE));

        let unreadable = foreign(0o600);
        unreadable.set_protection(READ_WRITE).expect("EXEC goes");
        assert!(has_control_block(&unreadable));
        assert_eq!((unreadable.size(), mask(&duplicate(&unreadable))), (8192, READ_WRITE));
        duplicate(&unreadable).set_protection(Protection::empty()).expect("everything goes");
        assert_eq!(mask(&unreadable), Protection::empty());
    }

    #[test]
    fn where_there_cannot_be_a_control_block() {
        let region = Region::options().never_purgeable().create("mask", 8192).expect("a region");
        let refused = region.set_protection(Protection::WRITE | Protection::EXEC);
        assert!(matches!(refused, Err(Error::NotPurgeable { .. })), "{refused:?}");
        assert_eq!(mask(&region), Protection::all());
        region.set_protection(Protection::READ).expect("EXEC and WRITE go");
        region.set_protection(Protection::empty()).expect("READ goes");
        assert_eq!(mask(&duplicate(&region)), Protection::empty());

        let region = Region::options().no_further_seals().create("mask", 8192).expect("a region");
        assert!(region.set_protection(Protection::READ).is_err(), "WRITE stays");
        assert_eq!(mask(&region), READ_WRITE);
        region.set_protection(Protection::WRITE).expect("READ goes");
        assert_eq!(mask(&duplicate(&region)), Protection::WRITE);
    }

    #[test]
    fn unpinned_before_and_after() {
        for before in [true, false] {
            let region = Region::create("mask", 5000).expect("a region");
            if before {
                region.unpin(..).expect("unpinned");
            }
            region.set_protection(READ_WRITE).expect("EXEC goes");
            if !before {
                region.unpin(..).expect("unpinned");
            }
            region.map().expect("mapped").fill(0, 5000, 1).expect("written");
            assert!(region.purge().expect("purged") > 0);
            let other = duplicate(&region);
            assert_eq!((other.size(), mask(&other), mask(&region)), (5000, READ_WRITE, READ_WRITE));
            assert!(has_control_block(&region));
            // A purger outside of the file's group takes set-group-ID with it.
            rustix::fs::fchmod(&region, Mode::from_raw_mode(0o1666)).expect("the owner may");
            assert_eq!((mask(&other), mask(&duplicate(&region))), (READ_WRITE, READ_WRITE));
            assert_eq!(other.pin(..).expect("pinned"), Contents::Purged);
        }
    }

    #[test]
    fn without_write_the_size_is_final() {
        let region = Region::create("mask", 8192).expect("a region");
        region.set_protection(READ_WRITE).expect("EXEC goes");
        let seals = || memfd::seals(region.as_fd()).expect("seals");
        assert!(!seals().contains(SealFlags::GROW), "it can become purgeable");
        region.set_protection(Protection::READ).expect("WRITE goes");
        assert!(seals().contains(SealFlags::GROW | SealFlags::SHRINK));
        assert!(memfd::set_size(region.as_fd(), 8193).is_err());
        let refused = duplicate(&region).unpin(..);
        assert!(matches!(refused, Err(Error::NotPurgeable { .. })), "{refused:?}");
        assert_eq!(duplicate(&region).pin(..).expect("pinned from the start"), Contents::Intact);
    }

    #[test]
    fn foreign_modes_remove_nothing() {
        for mode in [0o666, 0o644, 0o640, 0o600, 0o400, 0o000] {
            let region = foreign(mode);
            assert_eq!(mask(&region), Protection::all(), "{mode:o}");
            region.set_protection(READ_WRITE).expect("EXEC goes");
            assert_eq!(mask(&duplicate(&region)), READ_WRITE, "{mode:o}");
            let now = rustix::fs::fstat(&region).expect("a status").st_mode;
            assert_eq!(now & 0o777, mode, "{mode:o}: nobody is let in or kept out");
        }
    }

    #[test]
    fn removing_and_appending_at_the_same_time_lose_nothing() {
        for _ in 0..200 {
            let region = Region::create("mask", 5000).expect("a region");
            let barrier = Barrier::new(3);
            let with_own = |action: &dyn Fn(&Region) -> Result<()>| {
                let own = Region::from_fd(region.share_read_write().expect("reopened")).expect("a region");
                barrier.wait();
                action(&own).expect("nobody is in the way for long");
            };
            std::thread::scope(|scope| {
                scope.spawn(|| with_own(&|own| own.unpin(..)));
                scope.spawn(|| {
                    with_own(&|own| {
                        own.set_protection(READ_WRITE).or_else(|error| match error {
                            // The other one was first.
                            Error::ProtectionAdded { .. } => Ok(()),
                            error => Err(error),
                        })
                    })
                });
                scope.spawn(|| with_own(&|own| own.set_protection(Protection::WRITE)));
            });
            let other = duplicate(&region);
            assert_eq!((mask(&region), mask(&other)), (Protection::WRITE, Protection::WRITE));
            assert!(has_control_block(&region));
            assert_eq!((other.size(), other.stats().expect("counted").unpinned_pages), (5000, 2));
            let control = other.inner.control().expect("opened").expect("appended");
            assert_eq!(control.removed_protection(), Protection::READ | Protection::EXEC);
        }
    }

    #[test]
    fn taking_write_away_while_somebody_appends_leaves_the_size() {
        for pause in 0..600 {
            let region = Region::create("mask", 5000).expect("a region");
            region.set_protection(READ_WRITE).expect("EXEC goes");
            let barrier = Barrier::new(2);
            let own = Region::from_fd(region.share_read_write().expect("reopened")).expect("a region");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    // Too late, or not.
                    let _ = own.unpin(..);
                });
                barrier.wait();
                (0..pause).for_each(|_| std::hint::spin_loop());
                region.set_protection(Protection::READ).expect("WRITE goes");
            });
            let other = duplicate(&region);
            assert_eq!((other.size(), mask(&other), mask(&own)), (5000, Protection::READ, Protection::READ));
        }
    }

    #[test]
    fn taking_write_away_finishes_an_append_that_was_cut_short() {
        let region = Region::create("mask", 5000).expect("a region");
        memfd::set_size(region.as_fd(), region.inner.layout().file_size())
            .expect("not sealed against growing");
        region.set_protection(Protection::READ).expect("EXEC and WRITE go");
        let other = duplicate(&region);
        assert_eq!((other.size(), mask(&other)), (5000, Protection::READ));
    }

    #[test]
    fn somebody_keeps_the_purge_lock() {
        let lock = |region: &Region| {
            let file = region.share_read_write().expect("reopened");
            let byte = region.inner.layout().control_start();
            assert_eq!(lock::try_set(file.as_fd(), Kind::Write, byte, byte + 1), Ok(true));
            file
        };
        let plain = Region::create("mask", 8192).expect("a region");
        let _locked = lock(&plain);
        let refused = plain.set_protection(Protection::READ);
        assert!(matches!(refused, Err(Error::PurgeLocked { .. })), "{refused:?}");
        // That nobody can keep.
        assert_eq!(mask(&plain), Protection::READ | Protection::EXEC);

        let purgeable = Region::options().purgeable().create("mask", 8192).expect("a region");
        let _locked = lock(&purgeable);
        purgeable.set_protection(Protection::READ).expect("there is a control block");
        assert_eq!(mask(&duplicate(&purgeable)), Protection::READ);
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
