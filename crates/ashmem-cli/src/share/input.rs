//! What is shared: a file, or standard input, read into a memfd.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use ashmem::Region;
use sha2::digest::FixedOutputReset;
use sha2::{Digest, Sha256};

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
    /// The SHA-256 of each part, if they were asked for.
    pub sums: Vec<[u8; 32]>,
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

    /// Reads all of it, into a memfd of that name. With `part`, sums of parts of so many bytes.
    pub fn read(&self, name: &str, part: Option<u64>) -> Result<Contents, Error> {
        let size = self.identity.map(|identity| identity.size);
        if let Some(size) = size {
            self.require_memory(0, size)?;
        }
        // Of a byte, for there is none of nothing; it may grow.
        let memory = File::from(Region::create(label(name), 1)?.into_fd()?);
        let mut progress = Progress::new("reading", size, true);
        let mut sums = Sums::new(part);
        let mut buffer = vec![0; STEP];
        let (mut done, mut looked) = (0, 0);
        loop {
            let read = match (&self.file).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Input { input: self.name.clone(), source }),
            };
            if size.is_none() && done - looked >= LOOK_EVERY {
                self.require_memory(done, LOOK_EVERY)?;
                looked = done;
            }
            if size.is_some_and(|size| done + read as u64 > size) {
                return Err(Error::Changed { path: self.path.clone() });
            }
            (&memory).write_all(&buffer[..read]).map_err(Error::Fill)?;
            sums.update(&buffer[..read]);
            done += read as u64;
            progress.add(read as u64);
        }
        if done == 0 {
            return Err(Error::Empty { input: self.name.clone() });
        }
        self.require_unchanged()?;
        Ok(Contents { memory: memory.into(), size: done, sums: sums.finish() })
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

/// The SHA-256 of a part.
pub fn sum(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Sums of parts, of bytes that come in pieces of any size.
struct Sums {
    part: Option<u64>,
    current: Sha256,
    /// Bytes of the current part.
    filled: u64,
    done: Vec<[u8; 32]>,
}

impl Sums {
    fn new(part: Option<u64>) -> Sums {
        Sums { part, current: Sha256::new(), filled: 0, done: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let Some(part) = self.part else { return };
        while !bytes.is_empty() {
            let left = usize::try_from(part - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.current.update(now);
            self.filled += now.len() as u64;
            if self.filled == part {
                self.end_part();
            }
            bytes = later;
        }
    }

    fn end_part(&mut self) {
        self.done.push(self.current.finalize_fixed_reset().into());
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<[u8; 32]> {
        if self.filled > 0 {
            self.end_part();
        }
        self.done
    }
}
