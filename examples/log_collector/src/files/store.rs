//! Writing the log.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use super::Batch;
use super::frame::{Encoder, Progress};
use super::segment::{self, Scan};
use crate::shared::RegionId;
use crate::{Error, Result};

/// What is kept, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storing {
    /// Bytes of a segment from which on the next one is begun.
    pub(crate) segment_size: u64,
    /// How many segments are kept.
    pub(crate) segments: usize,
    /// zstd's level.
    pub(crate) compression: i32,
    /// Whether each write waits for the disk.
    pub(crate) is_synchronous: bool,
}

/// The log of a directory, for its one writer.
pub(crate) struct Store {
    directory: PathBuf,
    storing: Storing,
    encoder: Encoder,
    /// Locked for as long as this lives.
    _lock: File,
    numbers: Vec<u64>,
    segment: Option<Segment>,
    /// How far lanes are that were written from before: what they themselves may not know.
    known: HashMap<(RegionId, u32), Progress>,
}

struct Segment {
    file: File,
    path: PathBuf,
    end: u64,
    /// Something is behind the end that has to go first.
    is_torn: bool,
}

impl Store {
    /// Takes the directory, which is made if there is none, and cuts off what a killed writer left half written.
    pub(crate) fn open(directory: &Path, storing: Storing) -> Result<Store> {
        // What apps say is no business of others.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(Error::file("make", directory))?;
        let lock = lock(directory)?;
        let encoder = Encoder::new(storing.compression).map_err(Error::system("start zstd"))?;
        let numbers = segment::list(directory)?;
        let mut store = Store {
            directory: directory.to_owned(),
            storing,
            encoder,
            _lock: lock,
            numbers,
            segment: None,
            known: HashMap::new(),
        };
        store.recover()?;
        Ok(store)
    }

    fn recover(&mut self) -> Result<()> {
        let newest = self.numbers.last().copied();
        for number in self.numbers.clone() {
            let path = segment::path(&self.directory, number);
            let is_newest = Some(number) == newest;
            let file = segment::open(&path, is_newest)?;
            let Scan { progress, end, is_torn, is_damaged } =
                segment::scan(&file).map_err(Error::file("read", &path))?;
            for entry in progress {
                self.known.insert((entry.region, entry.lane), entry);
            }
            // Behind damage, there may be more that is worth keeping: nothing is appended there, and nothing cut off.
            if is_newest && !is_damaged {
                let mut segment = Segment { file, path, end, is_torn };
                segment.cut()?;
                self.segment = Some(segment);
            }
        }
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How far a lane is, as far as the log knew when it was opened.
    pub(crate) fn known(&self, region: RegionId, lane: u32) -> Option<Progress> {
        self.known.get(&(region, lane)).copied()
    }

    /// Appends a frame with the batch: all of it, or nothing. What is written by then survives the process, and with `is_synchronous` the
    /// machine.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<()> {
        let is_full = self.segment.as_ref().is_none_or(|segment| segment.end >= self.storing.segment_size);
        if is_full {
            self.begin()?;
        }
        let frame = self.encoder.encode(batch).map_err(Error::system("compress"))?;
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.cut()?;
        segment.is_torn = true;
        let written = segment
            .file
            .write_all_at(frame, segment.end)
            .and_then(|()| if self.storing.is_synchronous { segment.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // What is left of it goes now, or before the next one.
            let _ = segment.cut();
            return Err(Error::file("write", &segment.path)(error));
        }
        segment.is_torn = false;
        segment.end += frame.len() as u64;
        Ok(())
    }

    /// Begins the next segment, and removes the oldest.
    fn begin(&mut self) -> Result<()> {
        let number = self.numbers.last().map_or(Some(1), |last| last.checked_add(1));
        let number = number.ok_or(Error::Options("there is no number left for another segment"))?;
        let path = segment::path(&self.directory, number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::file("make", &path))?;
        if self.storing.is_synchronous {
            let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
            if let Err(error) = directory {
                // It will be made again.
                let _ = fs::remove_file(&path);
                return Err(Error::file("write", &self.directory)(error));
            }
        }
        self.numbers.push(number);
        self.segment = Some(Segment { file, path, end: 0, is_torn: false });
        while self.numbers.len() > self.storing.segments.max(1) {
            let path = segment::path(&self.directory, self.numbers.remove(0));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Segment {
    /// Cuts off what is behind the end.
    fn cut(&mut self) -> Result<()> {
        if self.is_torn {
            self.file.set_len(self.end).map_err(Error::file("cut", &self.path))?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// Makes sure that there is one writer. The kernel takes the lock from one that dies.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { path: directory.to_owned() }),
        Err(error) => Err(Error::file("lock", &path)(error.into())),
    }
}
