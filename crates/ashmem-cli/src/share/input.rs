//! What is shared: a file, or standard input, read into a memfd.

use std::collections::hash_map::RandomState;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use ashmem::Region;

use crate::error::Error;
use crate::memory;
use crate::progress::Progress;
use crate::text::label;

/// Bytes that are read and written at a time: few system calls, and the copy between them stays in a processor's cache.
const STEP: usize = 1 << 20;
/// How often to look whether there is memory left, in bytes.
const LOOK_EVERY: u64 = 64 << 20;
/// So many bytes are left to the system.
const RESERVE: u64 = 64 << 20;

/// An open file or standard input.
pub struct Input {
    /// What to call it in messages.
    name: String,
    path: PathBuf,
    file: File,
    /// Of a regular file whose size is known: what it looked like when it was opened.
    identity: Option<Identity>,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn new(status: &Metadata) -> Identity {
        Identity { size: status.len(), modified: (status.mtime(), status.mtime_nsec()) }
    }
}

/// What was read.
pub struct Contents {
    /// The memfd that has it, of exactly its size.
    pub memory: OwnedFd,
    /// Size in bytes, never 0.
    pub size: u64,
    /// Sums of its blocks, if they were asked for.
    pub sums: Sums,
}

impl Input {
    /// Opens a file, or takes standard input for `-`.
    pub fn open(path: &Path) -> Result<Input, Error> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let trouble = |source| Error::Input { input: name.clone(), source };
        let file = if is_stdin {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(trouble)?)
        } else {
            File::open(path).map_err(trouble)?
        };
        let status = file.metadata().map_err(trouble)?;
        // Files of the kernel's say 0, and have something in them all the same; of a redirected file a part may be read already.
        let is_known = !is_stdin && status.is_file() && status.len() > 0;
        let identity = is_known.then(|| Identity::new(&status));
        Ok(Input { name, path: path.to_owned(), file, identity })
    }

    /// Whether it can be read again, and would be the same.
    pub fn is_lasting(&self) -> bool {
        self.identity.is_some()
    }

    /// Reads all of it, into a memfd of that name. With sums, if it is to be known
    /// again.
    pub fn read(&self, name: &str, with_sums: bool) -> Result<Contents, Error> {
        let size = self.identity.map(|identity| identity.size);
        if let Some(size) = size {
            self.require_memory(0, size)?;
        }
        // Of a byte, for there is none of nothing; it may grow.
        let memory = File::from(Region::create(label(name), 1)?.into_fd()?);
        let mut progress = Progress::new("reading", size, true);
        let mut sums = Sums::default();
        let mut buffer = vec![0; STEP];
        let (mut done, mut looked) = (0, 0);
        loop {
            let read = fill(&self.file, &mut buffer)
                .map_err(|source| Error::Input { input: self.name.clone(), source })?;
            if size.is_none() && done - looked >= LOOK_EVERY {
                self.require_memory(done, LOOK_EVERY)?;
                looked = done;
            }
            if size.is_some_and(|size| done + read as u64 > size) {
                return Err(Error::Changed { path: self.path.clone() });
            }
            (&memory).write_all(&buffer[..read]).map_err(Error::Fill)?;
            if with_sums && read > 0 {
                sums.add(&buffer[..read]);
            }
            done += read as u64;
            progress.add(read as u64);
            if read < buffer.len() {
                // Not asked again: at a terminal the end would have to be typed twice.
                break;
            }
        }
        if done == 0 {
            return Err(Error::Empty { input: self.name.clone() });
        }
        self.require_unchanged()?;
        Ok(Contents { memory: memory.into(), size: done, sums })
    }

    /// Reads bytes again, of a file that [lasts](Input::is_lasting).
    pub fn read_again(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        self.require_unchanged()?;
        self.file.read_exact_at(into, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Changed { path: self.path.clone() },
            _ => Error::Input { input: self.name.clone(), source },
        })?;
        self.require_unchanged()
    }

    /// Says that it does not last.
    pub fn cannot_last(&self) -> Error {
        Error::NotAgain { input: self.name.clone() }
    }

    /// Says that the file is not what it was.
    pub fn changed(&self) -> Error {
        Error::Changed { path: self.path.clone() }
    }

    fn require_unchanged(&self) -> Result<(), Error> {
        let Some(before) = self.identity else { return Ok(()) };
        let status =
            self.file.metadata().map_err(|source| Error::Input { input: self.name.clone(), source })?;
        if Identity::new(&status) == before { Ok(()) } else { Err(self.changed()) }
    }

    /// An error is better than what the kernel does when memory runs out.
    fn require_memory(&self, read: u64, more: u64) -> Result<(), Error> {
        match memory::obtainable() {
            Some(available) if available < more.saturating_add(RESERVE) => {
                Err(Error::TooLarge { input: self.name.clone(), read, available })
            }
            _ => Ok(()),
        }
    }
}

/// Sums of blocks of [`STEP`] bytes, by which a file is known again. (SipHash with keys of this process's own.)
#[derive(Default)]
pub struct Sums {
    keys: RandomState,
    blocks: Vec<u64>,
}

impl Sums {
    /// Whether these are the bytes that were read at the start of a block.
    pub fn are_right(&self, offset: u64, bytes: &[u8]) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        let known = self.blocks.get(offset / STEP..).unwrap_or(&[]).iter().copied();
        let blocks = bytes.chunks(STEP);
        offset % STEP == 0
            && blocks.len() <= known.len()
            && blocks.map(|block| self.sum(block)).zip(known).all(|(a, b)| a == b)
    }

    /// The next block. All but the last must be whole.
    fn add(&mut self, block: &[u8]) {
        self.blocks.push(self.sum(block));
    }

    fn sum(&self, block: &[u8]) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write(block);
        hasher.finish()
    }
}

/// Fills a buffer, unless the input ends.
fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_its_place_count() {
        let bytes: Vec<u8> = (0..2 * STEP + 100).map(|n| (n / STEP) as u8).collect();
        let mut sums = Sums::default();
        bytes.chunks(STEP).for_each(|block| sums.add(block));
        let step = STEP as u64;
        assert!(sums.are_right(0, &bytes) && sums.are_right(step, &bytes[STEP..]));
        assert!(sums.are_right(2 * step, &bytes[2 * STEP..]));
        assert!(!sums.are_right(step, &bytes[..STEP]), "elsewhere");
        assert!(!sums.are_right(1, &bytes[1..STEP]), "not the start of a block");
        assert!(!sums.are_right(3 * step, &bytes[..1]) && !sums.are_right(u64::MAX, &bytes[..1]));
        for at in [0, STEP - 1, STEP, 2 * STEP + 99] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!sums.are_right(0, &other), "byte {at}");
        }
        assert!(!sums.are_right(0, &bytes[..2 * STEP + 99]));
    }
}
