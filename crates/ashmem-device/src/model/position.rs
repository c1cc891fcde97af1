//! `read`, `pread` and `lseek` of a descriptor.
//!
//! There are two file positions. `read` goes on at the descriptor's and moves both; `pread` moves that of the backing
//! file only; `lseek` moves that of the backing file, and what comes out becomes the descriptor's. So `SEEK_CUR` reports
//! where the last `pread` ended.

use rustix::io::Errno;

use super::Area;

/// The second argument of `lseek`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// `SEEK_SET`.
    Set,
    /// `SEEK_CUR`.
    Current,
    /// `SEEK_END`.
    End,
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl Whence {
    /// From the system call's argument.
    ///
    /// # Errors
    ///
    /// EINVAL: there is no such one.
    pub fn new(whence: u32) -> Result<Whence, Errno> {
        Ok(match whence {
            0 => Whence::Set,
            1 => Whence::Current,
            2 => Whence::End,
            3 => Whence::Data,
            4 => Whence::Hole,
            _ => return Err(Errno::INVAL),
        })
    }
}

impl Area {
    /// `read` (`offset` is `None`) or `pread` of `length` bytes: where in the backing file to read, or `None` for end of
    /// file without a look at it. The mask does not matter. [`did_read`](Area::did_read) is to follow.
    ///
    /// # Errors
    ///
    /// In the kernel's order. EINVAL: a negative offset. EBADF: opened write-only. EINVAL: the end would be past 2^63-1.
    /// EBADF: it has a size and was never mapped.
    pub fn check_read(&self, offset: Option<i64>, length: u64) -> Result<Option<u64>, Errno> {
        let offset = offset.map(|offset| u64::try_from(offset).map_err(|_| Errno::INVAL)).transpose()?;
        if !self.access().reads() {
            return Err(Errno::BADF);
        }
        let offset = offset.unwrap_or(self.position);
        if i64::try_from(offset.saturating_add(length)).is_err() {
            return Err(Errno::INVAL);
        }
        if self.size() == 0 {
            return Ok(None);
        }
        if !self.is_mapped() {
            return Err(Errno::BADF);
        }
        Ok(Some(offset))
    }

    /// `count` bytes were read; `offset` as it was asked.
    pub fn did_read(&mut self, offset: Option<i64>, count: u64) {
        if count == 0 {
            return;
        }
        match offset {
            None => {
                self.position = self.position.saturating_add(count);
                self.backing_position = self.position;
            }
            Some(offset) => self.backing_position = u64::try_from(offset).unwrap_or(0).saturating_add(count),
        }
    }

    /// What `write` answers, which is always an error: EBADF if opened read-only, otherwise EINVAL.
    #[must_use]
    pub fn write_error(&self) -> Errno {
        if self.access().writes() { Errno::INVAL } else { Errno::BADF }
    }

    /// Where the next `read` goes on: the `pos:` of `/proc/PID/fdinfo/FD`.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// `lseek`. `length` is the backing file's, in bytes; `find` answers SEEK_DATA and SEEK_HOLE of it for an offset
    /// inside and is called for nothing else. The answer is the new position.
    ///
    /// # Errors
    ///
    /// EINVAL: it has no size, or the position would be negative. EBADF: it has a size and was never mapped. ENXIO: no
    /// data from there on, or an offset outside for SEEK_DATA or SEEK_HOLE. Whatever `find` answers.
    pub fn seek(
        &mut self,
        offset: i64,
        whence: Whence,
        length: u64,
        find: &mut dyn FnMut(u64, Whence) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        if self.size() == 0 {
            return Err(Errno::INVAL);
        }
        if !self.is_mapped() {
            return Err(Errno::BADF);
        }
        let from = |base: u64| base.checked_add_signed(offset).ok_or(Errno::INVAL);
        let position = match whence {
            Whence::Set => from(0)?,
            Whence::Current => from(self.backing_position)?,
            Whence::End => from(length)?,
            Whence::Data | Whence::Hole => {
                let start = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
                if start >= length {
                    return Err(Errno::NXIO);
                }
                find(start, whence)?
            }
        };
        i64::try_from(position).map_err(|_| Errno::INVAL)?;
        self.backing_position = position;
        self.position = position;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Device, Flavour};
    use super::*;

    fn area(access: Access, test: impl FnOnce(&mut Area)) {
        let mut device = Device::new(4096, Flavour::Mainline);
        let id = device.open(access);
        test(device.area_mut(id).unwrap());
    }

    fn none(_: u64, _: Whence) -> Result<u64, Errno> {
        Err(Errno::NXIO)
    }

    #[test]
    fn before_size_and_before_mapping() {
        area(Access::ReadWrite, |area| {
            assert_eq!(area.check_read(None, 16), Ok(None));
            assert_eq!(area.check_read(Some(-1), 16), Err(Errno::INVAL));
            assert_eq!(area.seek(0, Whence::Set, 0, &mut none), Err(Errno::INVAL));
            area.set_size(100).unwrap();
            assert_eq!(area.check_read(Some(0), 16), Err(Errno::BADF));
            assert_eq!(area.seek(0, Whence::Set, 100, &mut none), Err(Errno::BADF));
        });
        area(Access::Write, |area| assert_eq!(area.check_read(None, 16), Err(Errno::BADF)));
    }

    #[test]
    fn pread_moves_what_seek_reports() {
        area(Access::ReadWrite, |area| {
            area.set_size(10_000).unwrap();
            area.mapped();
            assert_eq!(area.check_read(None, 10), Ok(Some(0)));
            area.did_read(None, 10);
            area.did_read(Some(8192), 10);
            assert_eq!(area.position(), 10);
            area.did_read(Some(100), 0);
            assert_eq!(area.seek(0, Whence::Current, 10_000, &mut none), Ok(8202));
            assert_eq!(area.position(), 8202);
        });
    }

    #[test]
    fn positions_stay_in_range() {
        area(Access::ReadWrite, |area| {
            area.set_size(100).unwrap();
            area.mapped();
            assert_eq!(area.seek(5, Whence::End, 100, &mut none), Ok(105));
            assert_eq!(area.seek(-101, Whence::End, 100, &mut none), Err(Errno::INVAL));
            assert_eq!(area.seek(i64::MAX, Whence::Set, 100, &mut none), Ok(i64::MAX as u64));
            assert_eq!(area.seek(1, Whence::Current, 100, &mut none), Err(Errno::INVAL));
            assert_eq!(area.check_read(None, 1), Err(Errno::INVAL));
            assert_eq!(area.seek(100, Whence::Data, 100, &mut |_, _| Ok(0)), Err(Errno::NXIO));
            assert_eq!(area.seek(99, Whence::Hole, 100, &mut |_, _| Ok(100)), Ok(100));
            assert_eq!(Whence::new(5), Err(Errno::INVAL));
        });
    }
}
