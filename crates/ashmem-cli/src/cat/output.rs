//! How bytes of a region get to standard output.
//!
//! Into a pipe there is a way without a copy: `splice(2)` puts references to the region's own pages into it. But such bytes are not
//! written yet when the call returns: whoever writes to the pages changes them in the pipe, after the lease has ended and even after
//! this program has. So that is for regions which the kernel has sealed against every write, and with it against purging. All others
//! are copied through a buffer that stays in the processor's cache, which is quicker than `write(2)` from a mapping: that has to
//! fault in every page.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ashmem::Region;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, SealFlags, fcntl_get_seals, fstat};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, splice};

use crate::error::Error;

/// Bytes that are copied at a time.
const STEP: usize = 128 * 1024;
/// What a pipe is enlarged to where it is smaller: as much as any user may have. Writer and reader then take turns less often.
const PIPE: usize = 1 << 20;

/// Standard output.
pub struct Output {
    file: OwnedFd,
    way: Way,
}

enum Way {
    /// Into a pipe, of what cannot change.
    Splice,
    Copy(Vec<u8>),
}

impl Output {
    /// Standard output, for `size` bytes of this region.
    pub fn new(region: &Region, size: u64) -> Result<Output, Error> {
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?;
        let is_pipe =
            fstat(&file).is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Fifo);
        if is_pipe && size > STEP as u64 && fcntl_getpipe_size(&file).is_ok_and(|pipe| pipe < PIPE) {
            // Not where the user's pipes have all that they may have.
            let _ = fcntl_setpipe_size(&file, PIPE);
        }
        let is_constant = fcntl_get_seals(region.as_fd()).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
        let way = if is_pipe && is_constant { Way::Splice } else { Way::Copy(vec![0; STEP]) };
        Ok(Output { file, way })
    }

    /// Writes bytes of the region.
    pub fn write(&mut self, region: BorrowedFd<'_>, mut bytes: Range<u64>) -> Result<(), Error> {
        while bytes.start < bytes.end {
            let left = usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX);
            let written = match &mut self.way {
                Way::Splice => {
                    let mut offset = bytes.start;
                    let out = self.file.as_fd();
                    match retry(out, || {
                        splice(region, Some(&mut offset), out, None, left, SpliceFlags::empty())
                    }) {
                        // A pipe that is opened for appending takes none.
                        Err(Errno::INVAL) => {
                            self.way = Way::Copy(vec![0; STEP]);
                            continue;
                        }
                        result => result.map_err(output)?,
                    }
                }
                Way::Copy(buffer) => {
                    let buffer = &mut buffer[..left.min(STEP)];
                    let read = retry(region, || rustix::io::pread(region, &mut *buffer, bytes.start));
                    let read = read.map_err(|errno| Error::Read(errno.into()))?;
                    write_all(self.file.as_fd(), &buffer[..read])?;
                    read
                }
            };
            if written == 0 {
                // A mapping of a region keeps its file from shrinking.
                return Err(Error::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            bytes.start += written as u64;
        }
        Ok(())
    }
}

fn write_all(out: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        match retry(out, || rustix::io::write(out, bytes)).map_err(output)? {
            0 => return Err(Error::Output(io::ErrorKind::WriteZero.into())),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

fn output(errno: Errno) -> Error {
    Error::Output(errno.into())
}

/// Calls again what a signal interrupted, and what would have waited once it need not.
fn retry<T>(file: BorrowedFd<'_>, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Whoever shares the file may have made it so that it does not wait.
                let mut waiting = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
                match poll(&mut waiting, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            result => return result,
        }
    }
}
