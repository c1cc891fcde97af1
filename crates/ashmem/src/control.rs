//! The control block: pin state at the end of the region's own file.
//!
//! ```text
//!   0                     page_align(size)                                                  st_size
//!   | data, zero-padded   | header | page words and their stamps | page stamps | holds | to a page | size % page |
//! ```
//!
//! The file's size says everything about the layout, and the kernel keeps it (SHRINK and GROW are sealed): so many whole
//! pages of data and control, and behind them as many bytes as the last data page has in use. That there is a control block is marked
//! by the file's sticky bit. Neither can be faked through the contents, and the contents are never trusted: every 64-bit value
//! in the block is valid. All zeros mean "everything pinned, nothing removed from the protection mask" (but see [`mode`]), so pages of the block
//! that were never used take no memory.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::page::{SIZE_MAX, page_align, page_size};
use crate::state::{Area, HEAD_WORDS, Holds, SLOTS, Table, row_words, slots};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::map::RawMap;
use crate::sys::memfd::{self, Status};
use crate::sys::mode;
use crate::{Error, Protection, Result};

/// Indices of the header's words. The area's words share a cache line of their own.
const VERSION: usize = 0;
const REMOVED_PROTECTION: usize = 1;
const IS_BUILT: usize = 2;
const AREA: usize = 8;
const AREA_STAMP: usize = 9;
const HOLD_SLOTS: usize = 10;
const HEADER_WORDS: usize = 16;

/// The layout that this crate writes: a block whose version is neither this nor 0 (not yet written) is refused.
const LAYOUT: u64 = 2;

/// The largest purgeable region in bytes: 1 TiB.
const PURGEABLE_MAX: u64 = 1 << 40;

pub(crate) const TOO_LARGE_TO_PURGE: Error = Error::NotPurgeable { reason: "it is larger than 1 TiB" };

// The layout crosses processes.
const _: () = assert!(size_of::<AtomicU64>() == 8 && align_of::<AtomicU64>() == 8);
const _: () = assert!(AREA * 8 % 64 == 0 && HOLD_SLOTS < HEADER_WORDS);

/// Where everything is in the file of a region of `size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
}

impl Layout {
    pub(crate) fn new(size: u64) -> Layout {
        debug_assert!(size > 0 && size <= SIZE_MAX);
        Layout { size }
    }

    /// The layout of a file of `file_size` bytes that has a control block; `None` when there is none of that size.
    pub(crate) fn from_file_size(file_size: u64) -> Option<Layout> {
        let page = page_size();
        let (total, tail) = (file_size / page, file_size % page);
        // Pages of data and control together grow with the pages of data: the only candidate by bisection.
        let (mut low, mut high) = (1, total.min(SIZE_MAX / page));
        while low < high {
            let middle = low + (high - low) / 2;
            if middle.checked_add(control_pages(middle)?)? < total {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let data = low;
        if data.checked_add(control_pages(data)?)? != total {
            return None;
        }
        let size = if tail == 0 { data.checked_mul(page)? } else { (data - 1).checked_mul(page)? + tail };
        (size > 0 && size <= PURGEABLE_MAX).then_some(Layout { size })
    }

    pub(crate) fn pages(self) -> u64 {
        self.size.div_ceil(page_size())
    }

    /// Where the control block starts, in bytes. The lock on this byte is the purge lock.
    pub(crate) fn control_start(self) -> u64 {
        page_align(self.size)
    }

    /// Length of the control block in bytes, in whole pages.
    pub(crate) fn control_len(self) -> u64 {
        // A layout exists only for sizes up to SIZE_MAX, far from overflow.
        control_pages(self.pages()).unwrap_or(0) * page_size()
    }

    /// Size of a file with data and control block.
    pub(crate) fn file_size(self) -> u64 {
        self.control_start() + self.control_len() + self.size % page_size()
    }

    /// Whether there can be a control block: the bookkeeping for larger regions takes too long to walk.
    pub(crate) fn is_purgeable(self) -> bool {
        self.size <= PURGEABLE_MAX
    }
}

fn control_pages(data_pages: u64) -> Option<u64> {
    if data_pages > SIZE_MAX / page_size() {
        return None;
    }
    let words = HEADER_WORDS as u64 + slots(data_pages) + stamp_words(data_pages) + hold_words(data_pages);
    Some((words * size_of::<AtomicU64>() as u64).div_ceil(page_size()))
}

/// Words of the holds: the heads of the slots, and their rows.
fn hold_words(pages: u64) -> u64 {
    HEAD_WORDS as u64 + SLOTS as u64 * row_words(pages)
}

/// Words of the page stamps, in whole cache lines.
fn stamp_words(pages: u64) -> u64 {
    pages.next_multiple_of(8)
}

/// A control block, mapped.
#[derive(Debug)]
pub(crate) struct Control {
    map: RawMap,
    layout: Layout,
    pages: u64,
    /// Slots of the table.
    slots: usize,
    /// Where the holds start, in words: the heads, and behind them so many words of rows.
    holds: (usize, usize),
    writable: bool,
    /// What the file was when the block was mapped.
    file: Status,
}

impl Control {
    /// Maps the control block of a region of `size` bytes, if its file has one.
    ///
    /// # Errors
    /// [`Error::NotARegion`] when the file is marked but its size, seals or version do not fit.
    pub(crate) fn open(fd: BorrowedFd<'_>, size: u64) -> Result<Option<Control>> {
        // Much cheaper than looking for the mark, and seals come first.
        let seals = memfd::seals(fd).map_err(Error::system("read seals"))?;
        if !seals.contains(SealFlags::GROW) {
            return Ok(None);
        }
        // Only what is sealed stays true, so this comes after reading the seals.
        let status = look(fd)?;
        if !status.has_control_mark {
            return Ok(None);
        }
        if !seals.contains(SealFlags::SHRINK) {
            let reason = "a control block needs a file sealed against shrinking";
            return Err(Error::NotARegion { reason });
        }
        let layout = Layout::new(size);
        if !layout.is_purgeable() || status.size != layout.file_size() {
            return Err(Error::NotARegion { reason: "the file's size does not fit its control block" });
        }
        let length = layout.control_len() as usize;
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        let map = |prot| RawMap::new(fd, layout.control_start(), length, prot, MapFlags::SHARED);
        let (map, writable) = match map(read_write) {
            Ok(map) => (map, true),
            // A read-only descriptor, or a file sealed against new writable mappings.
            Err(Errno::ACCESS | Errno::PERM) => {
                // Old kernels refuse a shared mapping of a sealed file through a writable descriptor, even for reading.
                let private =
                    |_| RawMap::new(fd, layout.control_start(), length, ProtFlags::READ, MapFlags::PRIVATE);
                let map = map(ProtFlags::READ).or_else(private);
                (map.map_err(Error::system("map control block"))?, false)
            }
            Err(errno) => return Err(Error::system("map control block")(errno)),
        };
        let pages = layout.pages();
        let table = slots(pages);
        let start = HEADER_WORDS + (table + stamp_words(pages)) as usize;
        let holds = (start, SLOTS * row_words(pages) as usize);
        let control = Control { map, layout, pages, slots: table as usize, holds, writable, file: status };
        match control.words()[VERSION].load(Ordering::Relaxed) {
            0 | LAYOUT => Ok(Some(control)),
            _ => Err(Error::NotARegion { reason: "the control block has an unknown version" }),
        }
    }

    /// Whether a descriptor still names the block's file. Programs in C close descriptors that are not theirs.
    pub(crate) fn is_of(&self, fd: BorrowedFd<'_>) -> Result<bool> {
        Ok(self.file.is_same_file(&look(fd)?))
    }

    /// Grows the file of a region of `layout.size` bytes by an empty control block and marks it. The caller holds the
    /// purge lock. Any step may have been done before by a process that died; a holder that knows the region's size finishes it.
    /// (Who receives the descriptor in between, for the first time, takes the grown file for a plain region: the data is
    /// where it was, with zeros behind it.)
    pub(crate) fn append(fd: BorrowedFd<'_>, layout: Layout) -> Result<()> {
        let status = look(fd)?;
        if status.has_control_mark {
            return Ok(());
        }
        if status.size != layout.size && status.size != layout.file_size() {
            return Err(Error::NotARegion { reason: "the file's size has changed" });
        }
        let seals = memfd::seals(fd).map_err(Error::system("read seals"))?;
        if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
            return Err(Error::NotPurgeable { reason: "it is sealed against writing" });
        }
        if !layout.is_purgeable() {
            return Err(TOO_LARGE_TO_PURGE);
        }
        if status.size == layout.size && seals.contains(SealFlags::GROW) {
            return Err(Error::NotPurgeable { reason: "it is sealed against growing" });
        }
        let wanted = SealFlags::SHRINK | SealFlags::GROW;
        if seals.contains(SealFlags::SEAL) && !seals.contains(wanted) {
            return Err(Error::NotPurgeable { reason: "it cannot be sealed" });
        }
        mode::check_owner(fd).map_err(|errno| match errno {
            Errno::PERM => {
                Error::NotPurgeable { reason: "only its owner may do that; it can be created purgeable" }
            }
            errno => Error::system("append control block")(errno),
        })?;
        memfd::set_size(fd, layout.file_size()).map_err(Error::system("append control block"))?;
        // Sealed before it is marked: who sees no seal need not look for a mark.
        memfd::add_seals(fd, wanted).map_err(Error::system("seal region"))?;
        if !status.removed.is_empty() {
            // Whoever punches holes from now on could make the mode lose it. Fails when WRITE was taken away just now, and nobody
            // will; or for want of memory, and then the mode still says it. What has grown must be marked in any case.
            let word = u64::from(status.removed.bits()).to_ne_bytes();
            let place = layout.control_start() + (REMOVED_PROTECTION * size_of::<AtomicU64>()) as u64;
            let _ = memfd::write(fd, &word, place);
        }
        mode::set_control_mark(fd).map_err(Error::system("mark control block"))
    }

    /// Gives up what looking at the block takes of this process's memory, until the next look.
    pub(crate) fn forget(&self) {
        // A private mapping is read only, so there is nothing to lose either.
        self.map.forget();
    }

    /// Marks the layout's version, once the block is writable.
    pub(crate) fn initialise(&self) {
        if self.writable {
            let version = &self.words()[VERSION];
            // A failed exchange means that a peer was first.
            let _ = version.compare_exchange(0, LAYOUT, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    #[allow(unsafe_code, reason = "a view of the mapping as atomics")]
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is shared and the file sealed against shrinking, as `open` saw to. Where the mapping is read-only,
        // every store in this crate is behind `is_writable`.
        unsafe { self.map.words() }
    }

    /// Whether pin state may be changed through this mapping.
    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    #[inline]
    pub(crate) fn area(&self) -> Area<'_> {
        let words = self.words();
        Area { word: &words[AREA], stamp: &words[AREA_STAMP] }
    }

    #[inline]
    pub(crate) fn table(&self) -> Table<'_> {
        let (slots, page_stamps) = self.words()[HEADER_WORDS..].split_at(self.slots);
        Table {
            area: self.area(),
            slots,
            page_stamps: &page_stamps[..self.pages as usize],
            pages: self.pages,
        }
    }

    #[inline]
    pub(crate) fn holds(&self) -> Holds<'_> {
        let words = self.words();
        let (start, rows) = self.holds;
        // Without panics, so that what a caller does not need costs nothing.
        let holds = words.get(start..).unwrap_or_default();
        let rows = holds.get(HEAD_WORDS..).and_then(|rest| rest.get(..rows));
        Holds {
            opened: &words[HOLD_SLOTS],
            heads: holds.get(..HEAD_WORDS).unwrap_or_default(),
            rows: rows.unwrap_or_default(),
        }
    }

    /// Where a slot's row is in the file, in bytes.
    pub(crate) fn row_bytes(&self, slot: usize) -> Range<u64> {
        let row = self.holds().row_place(slot);
        let place = |word: usize| {
            self.layout.control_start() + ((self.holds.0 + HEAD_WORDS + word) * size_of::<AtomicU64>()) as u64
        };
        place(row.start)..place(row.end)
    }

    /// Protection bits that were removed without a seal to enforce it, as far as the block says so.
    pub(crate) fn removed_protection(&self) -> Protection {
        Protection::from_bits_truncate(self.words()[REMOVED_PROTECTION].load(Ordering::Acquire) as u32)
    }

    /// Removes protection bits for good.
    pub(crate) fn remove_protection(&self, bits: Protection) {
        self.words()[REMOVED_PROTECTION].fetch_or(u64::from(bits.bits()), Ordering::AcqRel);
    }

    /// Says that only builders write to purged pages of this region: what is in them when nobody builds is nobody's.
    pub(crate) fn set_built(&self) {
        if self.writable {
            self.words()[IS_BUILT].store(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_built(&self) -> bool {
        self.words()[IS_BUILT].load(Ordering::Relaxed) != 0
    }

    /// Where word `index` behind the header is, in bytes from the start of the block.
    pub(crate) fn place(index: usize) -> usize {
        (HEADER_WORDS + index) * size_of::<AtomicU64>()
    }

    /// The low half of the area word, as the futex that waits for the end of a purge.
    #[allow(unsafe_code, reason = "half of an atomic word")]
    pub(crate) fn futex(&self) -> &std::sync::atomic::AtomicU32 {
        let half = if cfg!(target_endian = "little") { 0 } else { 4 };
        let place = self.map.start().wrapping_add(AREA * 8 + half).cast();
        // SAFETY: aligned to 4, inside the mapping, and alive as long as `self`; the kernel and `Table` both access it
        // atomically.
        unsafe { std::sync::atomic::AtomicU32::from_ptr(place) }
    }
}

fn look(fd: BorrowedFd<'_>) -> Result<Status> {
    memfd::status(fd).map_err(Error::system("look at region"))
}

pub(crate) fn too_large(size: u64) -> Error {
    Error::InvalidSize { size, max: SIZE_MAX.min(usize::MAX as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_size_says_the_region_size() {
        let p = page_size();
        for pages in [1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 4096, 1 << 20, PURGEABLE_MAX / p] {
            for size in [pages * p - p + 1, pages * p - 1, pages * p] {
                let layout = Layout::new(size);
                assert_eq!(Layout::from_file_size(layout.file_size()), Some(layout), "{size}");
            }
        }
    }

    #[test]
    fn sizes_that_no_region_has() {
        let p = page_size();
        for file_size in [0, 1, p - 1, p, p + 1, u64::MAX, u64::MAX / 2, i64::MAX as u64] {
            assert_eq!(Layout::from_file_size(file_size), None, "{file_size}");
        }
        // Every size is refused or is the size of exactly one layout.
        for file_size in (0..4000 * p).step_by(p as usize / 2) {
            if let Some(layout) = Layout::from_file_size(file_size) {
                assert_eq!(layout.file_size(), file_size);
            }
        }
    }
}
