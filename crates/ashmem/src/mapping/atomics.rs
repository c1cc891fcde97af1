//! Words of a mapping as atomics, the way to agree with a peer on anything.
#![allow(unsafe_code, reason = "references to checked, aligned words of a mapping")]

use std::slice;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use crate::{Error, Mapping, Result};

/// Types that stand for as many bytes of a mapping, whatever the bytes are.
///
/// # Safety
/// An integer atomic of the standard library: every bit pattern is a value, and others may write it at any time.
unsafe trait Word: Sized {}

// SAFETY: an integer atomic.
unsafe impl Word for AtomicU8 {}
// SAFETY: an integer atomic.
unsafe impl Word for AtomicU32 {}
// SAFETY: an integer atomic.
unsafe impl Word for AtomicU64 {}

/// Words in the byte order of this machine. They stay where they are for as long as the mapping lives, so that
/// peers can synchronise through them: what one wrote before a `Release` store, another reads after the `Acquire`
/// load that saw it. In a private mapping only this process sees them.
///
/// Use one size of word for one place at a time: what threads see that store a `u64` and load one of its halves as
/// a `u32` is up to the machine.
///
/// Views need a mapping that is readable and writable, since a store through one that is not would be a SIGSEGV;
/// [`Mapping::load_u32`] and [`Mapping::load_u64`] need only a readable one.
impl Mapping {
    /// The byte at `offset`.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`]; [`Error::ReadOnly`] or [`Error::ProtectionDenied`] when the mapping is not
    /// writable or not readable.
    #[inline]
    pub fn atomic_u8(&self, offset: u64) -> Result<&AtomicU8> {
        self.word(offset)
    }

    /// The four bytes at `offset`, which must be a multiple of 4.
    ///
    /// ```
    /// # fn main() -> ashmem::Result<()> {
    /// use std::sync::atomic::Ordering;
    ///
    /// let region = ashmem::Region::create("counter", 8192)?;
    /// let (mine, yours) = (region.map()?, region.map()?);
    /// mine.atomic_u32(64)?.fetch_add(1, Ordering::Relaxed);
    /// yours.atomic_u32(64)?.fetch_add(1, Ordering::Relaxed);
    /// assert_eq!(region.map_read_only()?.load_u32(64)?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Mapping::atomic_u8`], and [`Error::AccessMisaligned`].
    #[inline]
    pub fn atomic_u32(&self, offset: u64) -> Result<&AtomicU32> {
        self.word(offset)
    }

    /// The eight bytes at `offset`, which must be a multiple of 8.
    ///
    /// # Errors
    /// As [`Mapping::atomic_u32`].
    #[inline]
    pub fn atomic_u64(&self, offset: u64) -> Result<&AtomicU64> {
        self.word(offset)
    }

    /// `count` words of four bytes at `offset`, which must be a multiple of 4.
    ///
    /// # Errors
    /// As [`Mapping::atomic_u32`].
    #[inline]
    pub fn atomic_u32s(&self, offset: u64, count: u64) -> Result<&[AtomicU32]> {
        self.words(offset, count)
    }

    /// `count` words of eight bytes at `offset`, which must be a multiple of 8.
    ///
    /// # Errors
    /// As [`Mapping::atomic_u32`].
    #[inline]
    pub fn atomic_u64s(&self, offset: u64, count: u64) -> Result<&[AtomicU64]> {
        self.words(offset, count)
    }

    /// Loads the four bytes at `offset`, a multiple of 4, with `Acquire` ordering.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`], [`Error::AccessMisaligned`], and [`Error::ProtectionDenied`] when the mapping
    /// is not readable.
    #[inline]
    pub fn load_u32(&self, offset: u64) -> Result<u32> {
        let word = self.readable_word::<AtomicU32>(offset)?;
        // SAFETY: `readable_word` checked place and alignment; loading the word does not write to it.
        let value = unsafe { &*word }.load(Ordering::Relaxed);
        // Only relaxed loads are allowed in read-only memory.
        fence(Ordering::Acquire);
        Ok(value)
    }

    /// Loads the eight bytes at `offset`, a multiple of 8, with `Acquire` ordering.
    ///
    /// # Errors
    /// As [`Mapping::load_u32`]. On a 32-bit machine the mapping must be writable too ([`Error::ReadOnly`]), since
    /// the machine may write to load eight bytes at once.
    #[inline]
    pub fn load_u64(&self, offset: u64) -> Result<u64> {
        if cfg!(not(target_pointer_width = "64")) {
            self.require_write("load from mapping")?;
        }
        let word = self.readable_word::<AtomicU64>(offset)?;
        // SAFETY: `readable_word` checked place and alignment; loading the word does not write to it, or may.
        let value = unsafe { &*word }.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Ok(value)
    }

    #[inline]
    fn word<T: Word>(&self, offset: u64) -> Result<&T> {
        self.require_write("view mapping as atomics")?;
        let word = self.readable_word::<T>(offset)?;
        // SAFETY: inside the mapping, which lives as long as the reference; aligned, readable and writable; a peer
        // writing to it is what the type is for.
        Ok(unsafe { &*word })
    }

    #[inline]
    fn words<T: Word>(&self, offset: u64, count: u64) -> Result<&[T]> {
        self.require_write("view mapping as atomics")?;
        let len = count.saturating_mul(size_of::<T>() as u64);
        let start = self.readable("view mapping as atomics", offset, len)?;
        require_aligned::<T>(start, offset)?;
        // SAFETY: as in `word`, for `count` of them, which is no more than the mapping has bytes.
        Ok(unsafe { slice::from_raw_parts(start.cast(), count as usize) })
    }

    /// Address of a word that may be loaded.
    #[inline]
    fn readable_word<T: Word>(&self, offset: u64) -> Result<*const T> {
        let word = self.readable("load from mapping", offset, size_of::<T>() as u64)?;
        require_aligned::<T>(word, offset)?;
        Ok(word.cast())
    }
}

/// What is at `offset` may be at any address, if the mapping is a view.
#[inline]
pub(super) fn require_aligned<T>(address: *const u8, offset: u64) -> Result<()> {
    if address.addr() % align_of::<T>() == 0 {
        Ok(())
    } else {
        Err(Error::AccessMisaligned { offset, align: align_of::<T>() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{MapOptions, Protection, Region};

    #[test]
    fn words_are_the_bytes_of_the_mapping() {
        let region = Region::create("words", 8192).unwrap();
        let mapping = region.map().unwrap();
        mapping.atomic_u64(8).unwrap().store(0x0102_0304_0506_0708, Ordering::Relaxed);
        assert_eq!(mapping.read_vec(8, 8).unwrap(), 0x0102_0304_0506_0708_u64.to_ne_bytes());
        mapping.write_at(4, &7_u32.to_ne_bytes()).unwrap();
        assert_eq!(mapping.atomic_u32(4).unwrap().load(Ordering::Relaxed), 7);
        assert_eq!(mapping.load_u32(4).unwrap(), 7);
        assert_eq!(mapping.load_u64(8).unwrap(), 0x0102_0304_0506_0708);
        mapping.atomic_u8(8191).unwrap().store(9, Ordering::Relaxed);
        assert_eq!(mapping.read_vec(8191, 1).unwrap(), [9]);
        let last = mapping.atomic_u32s(8192 - 12, 3).unwrap();
        assert_eq!(last.len(), 3);
        assert_eq!(last[2].load(Ordering::Relaxed).to_ne_bytes()[3], 9);
        assert_eq!(mapping.atomic_u64s(0, 1024).unwrap().len(), 1024);
        assert!(mapping.atomic_u64s(8192, 0).unwrap().is_empty());
    }

    #[test]
    fn misaligned_words_are_refused() {
        let region = Region::create("aligned", 8192).unwrap();
        let mapping = region.map().unwrap();
        let refusals = [
            mapping.atomic_u32(2).map(drop),
            mapping.atomic_u64(4).map(drop),
            mapping.atomic_u32s(1, 2).map(drop),
            mapping.atomic_u64s(12, 2).map(drop),
            mapping.load_u32(3).map(drop),
            mapping.load_u64(4).map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::AccessMisaligned { .. })), "{refusal:?}");
        }
        assert!(mapping.atomic_u8(3).is_ok());
    }

    #[test]
    fn words_outside_are_refused() {
        let region = Region::create("outside", 8192).unwrap();
        let mapping = region.map().unwrap();
        let refusals = [
            mapping.atomic_u8(8192).map(drop),
            mapping.atomic_u32(8192).map(drop),
            mapping.atomic_u64(8192 - 4).map(drop),
            mapping.atomic_u64(u64::MAX - 7).map(drop),
            mapping.atomic_u32s(8, u64::MAX / 4 + 1).map(drop),
            mapping.atomic_u64s(8, 1024).map(drop),
            mapping.atomic_u64s(0, u64::MAX).map(drop),
            mapping.load_u32(8190).map(drop),
            mapping.load_u64(u64::MAX).map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::AccessOutOfBounds { .. })), "{refusal:?}");
        }
    }

    #[test]
    fn views_need_reading_and_writing() {
        let region = Region::create("rights", 8192).unwrap();
        let reader = region.map_read_only().unwrap();
        assert!(matches!(reader.atomic_u8(0), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.atomic_u32(0), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.atomic_u64s(0, 1), Err(Error::ReadOnly { .. })));
        assert_eq!(reader.load_u32(0).unwrap(), 0);
        let write_only = MapOptions::new().protection(Protection::WRITE).map(&region).unwrap();
        assert!(matches!(write_only.atomic_u64(0), Err(Error::ProtectionDenied { .. })));
        assert!(matches!(write_only.load_u64(0), Err(Error::ProtectionDenied { .. })));
    }

    #[test]
    fn a_private_word_stays_private() {
        let region = Region::create("private word", 8192).unwrap();
        let private = MapOptions::new().private().map(&region).unwrap();
        private.atomic_u32(0).unwrap().store(5, Ordering::Relaxed);
        assert_eq!(private.load_u32(0).unwrap(), 5);
        assert_eq!(region.map().unwrap().load_u32(0).unwrap(), 0);
    }

    #[test]
    fn two_mappings_count_together() {
        const ROUNDS: u64 = 10_000;
        let region = Region::create("count", 8192).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                let mapping = region.map().unwrap();
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        mapping.atomic_u64(16).unwrap().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(region.map().unwrap().load_u64(16).unwrap(), 2 * ROUNDS);
    }
}
