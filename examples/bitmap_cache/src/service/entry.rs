//! One bitmap: its memory, and how its pixels get there.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ashmem::{BuildError, Purgeable, PurgeableOptions, Region, View, page_size};
use image::RgbaImage;
use rustix::fs::{FallocateFlags, fallocate, fstat};

use super::roots::Identity;
use super::{Refusal, Refused};
use crate::Size;

/// Smaller regions are never purged.
const SMALLEST: u64 = 8 << 10;

/// How long a client may keep the locks of a bitmap's memory before that counts as spoilt.
const PATIENCE: Duration = Duration::from_secs(5);

/// The head of a region's pin state, and what it has for each page of data, in bytes, at most.
const HEADER: u64 = 2048;
const STATE: u64 = 32;

/// What a bitmap is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: PathBuf,
    pub(super) size: Size,
}

/// A bitmap that somebody asked for, decoded or not.
///
/// Its memory comes into being when it is decoded for the first time, and is the same from then on. The pixels are decoded into memory of this
/// process first, and copied when they are whole. While that lasts the pages are purged, so that a service which dies there leaves nothing
/// that looks like a bitmap.
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) identity: Identity,
    memory: OnceLock<Memory>,
    building: Mutex<()>,
    /// Sessions and calls that have it. Only the table makes it more.
    pub(super) holders: AtomicUsize,
    /// When it was asked for last.
    pub(super) used: AtomicU64,
    /// Its memory was spoilt or taken: nobody is given it any more.
    pub(super) is_gone: AtomicBool,
}

struct Memory {
    contents: Purgeable<NotDecoded>,
    decoded: Arc<Mutex<Option<RgbaImage>>>,
    size: Size,
}

/// There are no pixels to write.
#[derive(Debug, thiserror::Error)]
enum NotDecoded {
    #[error("the picture has to be decoded first")]
    NotYet,
    #[error(transparent)]
    Memory(#[from] ashmem::Error),
}

/// That the caller is the one who builds.
pub(super) struct Building<'a>(#[allow(dead_code, reason = "held, not used")] MutexGuard<'a, ()>);

impl Entry {
    pub(super) fn new(number: u64, key: Key, identity: Identity) -> Entry {
        Entry {
            number,
            key,
            identity,
            memory: OnceLock::new(),
            building: Mutex::default(),
            holders: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
        }
    }

    /// The most bytes that a bitmap and its pin state take up.
    pub(super) fn most_bytes(size: Size) -> u64 {
        let data = size.bytes().max(SMALLEST).next_multiple_of(page_size());
        data + (HEADER + data / page_size() * STATE).next_multiple_of(page_size()) + page_size()
    }

    /// Waits until nobody else builds it.
    pub(super) fn start_building(&self) -> Building<'_> {
        Building(self.building.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the pixels are there now. To ask is to use them: they are young again.
    pub(super) fn is_intact(&self) -> Result<bool, Refused> {
        let Some(memory) = self.memory.get() else { return Ok(false) };
        match memory.contents.get() {
            Ok(_) => Ok(true),
            Err(BuildError::Builder(NotDecoded::NotYet)) => Ok(false),
            Err(BuildError::Builder(NotDecoded::Memory(error)) | BuildError::Region(error)) => {
                Err(Refused::memory(&error))
            }
        }
    }

    /// Puts the pixels into its memory.
    pub(super) fn build(&self, _: &Building<'_>, image: RgbaImage) -> Result<(), Refused> {
        let memory = self.memory_for(&image)?;
        *lock(&memory.decoded) = Some(image);
        let built = self.is_intact();
        // Where somebody has spoilt the pin state, they were not taken.
        *lock(&memory.decoded) = None;
        match built? {
            true => Ok(()),
            false => Err(Refused::new(Refusal::Memory, "the memory of a bitmap could not be written")),
        }
    }

    fn memory_for(&self, image: &RgbaImage) -> Result<&Memory, Refused> {
        let size = Size::new(image.width(), image.height())
            .map_err(|error| Refused::new(Refusal::Picture, error.to_string()))?;
        if let Some(memory) = self.memory.get() {
            // The same file, scaled to the same box.
            return if memory.size == size { Ok(memory) } else { Err(changed()) };
        }
        let decoded = Arc::new(Mutex::new(None));
        let source = Arc::clone(&decoded);
        let write = move |view: &View<'_>| {
            let image: RgbaImage = lock(&source).take().ok_or(NotDecoded::NotYet)?;
            Ok(view.write_at(0, image.as_raw())?)
        };
        let contents =
            PurgeableOptions::new().patience(PATIENCE).create("bitmap", size.bytes().max(SMALLEST), write);
        let contents = contents.map_err(|error| Refused::memory(&error))?;
        Ok(self.memory.get_or_init(|| Memory { contents, decoded, size }))
    }

    /// Its memory, once there is some.
    pub(super) fn region(&self) -> Option<&Region> {
        self.memory.get().map(|memory| memory.contents.region())
    }

    /// Width and height, once they are known.
    pub(super) fn size(&self) -> Option<Size> {
        self.memory.get().map(|memory| memory.size)
    }

    /// Bytes of memory that it takes up now, with its pin state.
    pub(super) fn allocated(&self) -> u64 {
        self.region().map_or(0, |region| allocated(region.as_fd()))
    }

    /// Whether a part of its pixels is not in memory. Asks the file, not the pin state, which a client may have spoilt.
    pub(super) fn is_incomplete(&self) -> bool {
        self.region().is_none_or(|region| allocated(region.as_fd()) < region.size())
    }

    /// Frees its memory, whoever leases it.
    pub(super) fn empty(&self) {
        let Some(region) = self.region() else { return };
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // It fails for a region that lost WRITE, which only a hostile client can do; then it is the client's memory.
        let _ = fallocate(region, how, 0, region.size().next_multiple_of(page_size()));
    }
}

#[allow(clippy::unnecessary_cast, reason = "it is of another type elsewhere")]
fn allocated(file: BorrowedFd<'_>) -> u64 {
    fstat(file).map_or(0, |stat| stat.st_blocks as u64 * 512)
}

fn changed() -> Refused {
    Refused::new(Refusal::Changed, "the picture changed while it was read")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_never_more_than_was_reserved() {
        for (width, height) in [(1, 1), (64, 64), (128, 96), (333, 777), (2000, 1500), (1, 8192), (8192, 600)]
        {
            let size = Size::new(width, height).unwrap();
            let contents = Purgeable::new("most", size.bytes().max(SMALLEST), move |view: &View<'_>| {
                view.fill(0, view.len(), 7)
            });
            let contents = contents.unwrap();
            // Held through counts and locks, purged in parts: all of the pin state is in use.
            drop(contents.get().unwrap());
            drop(contents.region().lease(..page_size()).unwrap());
            contents.region().purge().unwrap();
            drop(contents.get().unwrap());
            let file = fstat(contents.region()).unwrap();
            assert!(file.st_size as u64 <= Entry::most_bytes(size), "{size:?}");
            assert!(allocated(contents.region().as_fd()) <= Entry::most_bytes(size), "{size:?}");
        }
    }
}
