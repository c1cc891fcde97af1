//! What is kept in the mode of a region's file, where its contents cannot fake it and only its owner can change it.
//!
//! | bits | say |
//! |---|---|
//! | sticky | there is a control block |
//! | set-group-ID | EXEC was removed from the protection mask |
//! | set-group-ID without group-read | READ was removed, too |
//! | others may write, and the group may not | it is a device area: the pin state is in a file of its own |
//! | the same, and sticky | it is such a file of pin state |
//!
//! A memfd has none of these unless somebody sets them. The kernel keeps set-group-ID under conditions: `fchmod(2)` by an owner
//! outside of the file's group drops it without a word, and so do writes and holes by processes outside of that group, or by any
//! process while the group may execute the file; root is free to do all of it. Writes and holes end when WRITE is taken away. As
//! long as there are any, a control block keeps the same record, if there is one. (Set-user-ID would be dropped by them everywhere; permissions
//! to read and write stay.)

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, SealFlags};
use rustix::io::Errno;

use crate::Protection;

const CONTROL_MARK: Mode = Mode::SVTX;

/// Execute permissions cannot be changed (`F_SEAL_EXEC`, Linux 6.3).
const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);

const EXECUTABLE: Mode = Mode::XUSR.union(Mode::XGRP).union(Mode::XOTH);

/// Whether the file is marked as having a control block.
pub(crate) fn has_control_mark(mode: Mode) -> bool {
    mode.contains(CONTROL_MARK)
}

/// Whether the file is part of a device area: its contents, or, with a control block, its pin state.
pub(crate) fn has_device_mark(mode: Mode) -> bool {
    mode.contains(Mode::WOTH) && !mode.contains(Mode::WGRP)
}

/// Marks the file as part of a device area. Only its owner may.
pub(crate) fn set_device_mark(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fchmod(fd, (mode(fd)? | Mode::WOTH).difference(Mode::WGRP))
}

/// The protection bits that the mode says were removed.
pub(crate) fn removed_protection(mode: Mode) -> Protection {
    match (mode.contains(Mode::SGID), mode.contains(Mode::RGRP)) {
        (false, _) => Protection::empty(),
        (true, true) => Protection::EXEC,
        (true, false) => Protection::READ | Protection::EXEC,
    }
}

/// Marks the file as having a control block. Only its owner may. Who shares the file holds the purge lock meanwhile.
pub(crate) fn set_control_mark(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fchmod(fd, mode(fd)? | CONTROL_MARK)
}

/// Whether [`set_control_mark`] will be allowed, and lose nothing: EPERM if not.
pub(crate) fn check_owner(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !keeps_set_group_id(mode, stat.st_gid)? {
        return Err(Errno::PERM);
    }
    rustix::fs::fchmod(fd, mode)
}

/// Records that READ or EXEC, or both, were removed. False when the mode cannot say so, or this process may not: then it is as it
/// was. Who shares the file holds the purge lock meanwhile.
pub(crate) fn remove_protection(fd: BorrowedFd<'_>, bits: Protection) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let old = Mode::from_raw_mode(stat.st_mode);
    let known = removed_protection(old);
    let removed = known | bits.difference(Protection::WRITE);
    if removed == known {
        return Ok(true);
    }
    let goes = |bit| removed.contains(bit);
    // READ alone; or nobody in the group may read anyway, and is not to be allowed to for this.
    if !goes(Protection::EXEC) || !(goes(Protection::READ) || old.contains(Mode::RGRP)) {
        return Ok(false);
    }
    if !keeps_set_group_id(old, stat.st_gid)? {
        return Ok(false);
    }
    let mut new = old | Mode::SGID;
    if old.intersects(EXECUTABLE) {
        if !rustix::fs::fcntl_get_seals(fd)?.contains(SEAL_EXEC) {
            new.remove(EXECUTABLE);
        } else if old.contains(Mode::XGRP) {
            return Ok(false);
        }
    }
    new.set(Mode::RGRP, !goes(Protection::READ));
    match rustix::fs::fchmod(fd, new) {
        Err(Errno::PERM) => return Ok(false),
        answer => answer?,
    }
    if removed_protection(mode(fd)?).contains(removed) {
        return Ok(true);
    }
    rustix::fs::fchmod(fd, old)?;
    Ok(false)
}

fn mode(fd: BorrowedFd<'_>) -> Result<Mode, Errno> {
    Ok(Mode::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Whether set-group-ID, where it is set, stays when this process changes the mode: it is in the file's group, or root.
fn keeps_set_group_id(mode: Mode, group: u32) -> Result<bool, Errno> {
    let is_free = !mode.contains(Mode::SGID)
        || rustix::process::geteuid().is_root()
        || rustix::process::getegid().as_raw() == group;
    Ok(is_free || rustix::process::getgroups()?.iter().any(|own| own.as_raw() == group))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;
    use crate::sys::memfd;

    const READ_EXEC: Protection = Protection::READ.union(Protection::EXEC);

    fn file(bits: u32) -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(c"mode", flags).expect("a memfd");
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(bits)).expect("the owner may");
        fd
    }

    fn bits(fd: &OwnedFd) -> u32 {
        mode(fd.as_fd()).expect("a mode").as_raw_mode()
    }

    fn remove(fd: &OwnedFd, bits: Protection) -> bool {
        remove_protection(fd.as_fd(), bits).expect("looked at")
    }

    #[test]
    fn ordinary_modes_say_nothing() {
        for bits in 0..0o2000 {
            assert_eq!(removed_protection(Mode::from_raw_mode(bits)), Protection::empty(), "{bits:o}");
        }
        for bits in [0o777, 0o666, 0o644, 0o600, 0o400, 0o1777] {
            let status = memfd::status(file(bits).as_fd()).expect("a status");
            assert_eq!(status.removed, Protection::empty(), "{bits:o}");
        }
    }

    #[test]
    fn other_bits_stay_and_nobody_is_let_in() {
        for (old, after_exec, after_both) in [
            (0o666, 0o2666, 0o2626),
            (0o777, 0o2666, 0o2626),
            (0o1744, 0o3644, 0o3604),
            (0o640, 0o2640, 0o2600),
        ] {
            let fd = file(old);
            assert!(remove(&fd, Protection::EXEC) && remove(&fd, Protection::EXEC | Protection::WRITE));
            assert_eq!(bits(&fd), after_exec);
            assert!(remove(&fd, Protection::READ) && remove(&fd, Protection::EXEC));
            assert_eq!(bits(&fd), after_both);
            let fd = file(old);
            assert!(remove(&fd, READ_EXEC));
            assert_eq!(bits(&fd), after_both);
            set_control_mark(fd.as_fd()).expect("the owner may");
            assert_eq!(bits(&fd), after_both | 0o1000);
        }
    }

    #[test]
    fn what_a_mode_cannot_say_changes_nothing() {
        for (old, removed) in [
            (0o666, Protection::READ),
            (0o600, Protection::EXEC),
            (0o600, Protection::READ),
            (0o700, Protection::EXEC),
        ] {
            let fd = file(old);
            assert!(!remove(&fd, removed));
            assert_eq!(bits(&fd), old);
            assert!(remove(&fd, READ_EXEC));
            assert_eq!(bits(&fd), 0o2000 | (old & 0o626));
        }
    }

    #[test]
    fn sealed_execute_permissions_stay() {
        for (old, recorded) in [(0o767, Some(0o2767)), (0o777, None), (0o666, Some(0o2666))] {
            let fd = file(old);
            match memfd::add_seals(fd.as_fd(), SEAL_EXEC) {
                // A kernel without that seal.
                Err(Errno::INVAL) => return,
                answer => answer.expect("sealed"),
            }
            assert_eq!(remove(&fd, Protection::EXEC), recorded.is_some());
            assert_eq!(bits(&fd), recorded.unwrap_or(old));
        }
    }

    #[test]
    fn writes_and_holes_leave_the_record() {
        let fd = file(0o777);
        memfd::set_size(fd.as_fd(), 8192).expect("a size");
        assert!(remove(&fd, READ_EXEC));
        memfd::write(fd.as_fd(), b"data", 0).expect("written");
        memfd::populate(fd.as_fd(), 0, 8192).expect("allocated");
        memfd::punch(fd.as_fd(), 0, 4096).expect("punched");
        memfd::set_size(fd.as_fd(), 12288).expect("a size");
        assert_eq!(memfd::status(fd.as_fd()).expect("a status").removed, READ_EXEC);
    }
}
