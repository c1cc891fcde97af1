//! Copies between a mapping and memory of this process, and between mappings.
#![allow(unsafe_code, reason = "raw copies, each right behind its bounds check")]

use std::ptr;

use crate::sys::copy;
use crate::{Mapping, Result};

/// Bytes that [`Mapping::copy_to`] takes at a time where two mappings may show the same memory.
const STEP: usize = 16 * 1024;

impl Mapping {
    /// Copies the bytes at `offset` out of the mapping, as many as `into` has.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`](crate::Error::AccessOutOfBounds), and
    /// [`Error::ProtectionDenied`](crate::Error::ProtectionDenied) when the mapping is not readable.
    #[inline]
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let from = self.readable("read mapping", offset, into.len() as u64)?;
        // SAFETY: `readable` checked the source for this length; `into` is memory of the caller alone.
        unsafe { copy::copy(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies `len` bytes at `offset` out of the mapping into a new vector.
    ///
    /// Nothing is allocated when the access is refused.
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    pub fn read_vec(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let from = self.readable("read mapping", offset, len)?;
        // No truncation: `len` fits into the mapping.
        let len = len as usize;
        let mut bytes = Vec::with_capacity(len);
        // SAFETY: `readable` checked the source for this length; the vector has that much capacity.
        unsafe { copy::copy(from, bytes.as_mut_ptr(), len) };
        // SAFETY: the copy initialised `len` bytes.
        unsafe { bytes.set_len(len) };
        Ok(bytes)
    }

    /// Copies `bytes` into the mapping at `offset`.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`](crate::Error::AccessOutOfBounds), and
    /// [`Error::ReadOnly`](crate::Error::ReadOnly) when the mapping is not writable. Nothing is written then.
    #[inline]
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let to = self.writable("write mapping", offset, bytes.len() as u64)?;
        // SAFETY: `writable` checked the destination for this length; no slice points into a mapping.
        unsafe { copy::copy(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Sets `len` bytes at `offset` to `value`.
    ///
    /// # Errors
    /// As [`Mapping::write_at`].
    #[inline]
    pub fn fill(&self, offset: u64, len: u64, value: u8) -> Result<()> {
        let to = self.writable("fill mapping", offset, len)?;
        // SAFETY: `writable` checked the destination for this length.
        unsafe { copy::fill(to, value, len as usize) };
        Ok(())
    }

    /// Copies `len` bytes at `from_offset` of this mapping to `to_offset` of `dest`.
    ///
    /// The result is that of a copy through a buffer of `len` bytes, also when the ranges overlap: in one mapping,
    /// or in two mappings of one region.
    ///
    /// # Errors
    /// Those of [`Mapping::read_at`] for this mapping and of [`Mapping::write_at`] for `dest`. Nothing is written
    /// then.
    pub fn copy_to(&self, from_offset: u64, dest: &Mapping, to_offset: u64, len: u64) -> Result<()> {
        let from = self.readable("copy from mapping", from_offset, len)?;
        let to = dest.writable("copy to mapping", to_offset, len)?;
        // Two mappings of one region overlap by their place in the region, which addresses do not show. Whether
        // they are of one region is not known here; where they are not, the careful way is only slower.
        let shift = (self.offset() + from_offset).abs_diff(dest.offset() + to_offset);
        if !ptr::eq(self, dest) && shift != 0 && shift < len {
            return self.copy_in_steps(from_offset, dest, to_offset, len as usize);
        }
        // SAFETY: both ranges were checked for this length.
        unsafe { copy::copy_within(from, to, len as usize) };
        Ok(())
    }

    /// [`Mapping::copy_to`] in the order that reads every byte before it is overwritten.
    fn copy_in_steps(&self, from_offset: u64, dest: &Mapping, to_offset: u64, len: usize) -> Result<()> {
        let backwards = dest.offset() + to_offset > self.offset() + from_offset;
        let mut buffer = [0; STEP];
        let steps = len.div_ceil(STEP);
        for step in 0..steps {
            let start = STEP * if backwards { steps - 1 - step } else { step };
            let bytes = &mut buffer[..STEP.min(len - start)];
            self.read_at(from_offset + start as u64, bytes)?;
            dest.write_at(to_offset + start as u64, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MapOptions, Protection, Region, page_size};

    fn numbered(len: u64) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn all(mapping: &Mapping) -> Vec<u8> {
        mapping.read_vec(0, mapping.len()).unwrap()
    }

    #[test]
    fn bytes_come_back() {
        let region = Region::create("copies", 8192).unwrap();
        let mapping = region.map().unwrap();
        assert_eq!(all(&mapping), vec![0; 8192]);
        mapping.write_at(4000, &numbered(200)).unwrap();
        let mut read = [0; 200];
        mapping.read_at(4000, &mut read).unwrap();
        assert_eq!(read[..], numbered(200));
        mapping.fill(4100, 100, 0xAA).unwrap();
        assert_eq!(mapping.read_vec(4099, 102).unwrap(), [&[99][..], &[0xAA; 100], &[0]].concat());
    }

    #[test]
    fn accesses_outside_change_nothing() {
        let region = Region::create("bounds", 8192).unwrap();
        let mapping = region.map().unwrap();
        mapping.fill(0, 8192, 7).unwrap();
        let mut into = [1; 2];
        let refusals = [
            mapping.read_at(8191, &mut into),
            mapping.read_at(u64::MAX, &mut into),
            mapping.write_at(8191, &[9; 2]),
            mapping.write_at(u64::MAX - 1, &[9; 2]),
            mapping.fill(1, u64::MAX, 9),
            mapping.fill(8000, 193, 9),
            mapping.copy_to(0, &mapping, 8191, 2),
            mapping.copy_to(8191, &mapping, 0, 2),
            mapping.copy_to(u64::MAX, &mapping, u64::MAX, u64::MAX),
            mapping.read_vec(0, u64::MAX).map(drop),
            mapping.read_vec(8193, 0).map(drop),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::AccessOutOfBounds { size: 8192, .. })), "{refusal:?}");
        }
        assert_eq!(into, [1; 2]);
        assert_eq!(all(&mapping), vec![7; 8192]);
    }

    #[test]
    fn empty_accesses_at_the_end_are_fine() {
        let region = Region::create("empty", 8192).unwrap();
        let mapping = region.map().unwrap();
        mapping.read_at(8192, &mut []).unwrap();
        mapping.write_at(8192, &[]).unwrap();
        mapping.fill(8192, 0, 1).unwrap();
        mapping.copy_to(8192, &mapping, 8192, 0).unwrap();
        assert!(mapping.read_vec(8192, 0).unwrap().is_empty());
    }

    #[test]
    fn size_ends_inside_a_page() {
        let region = Region::create("tail", 5000).unwrap();
        let mapping = region.map().unwrap();
        mapping.write_at(4999, &[1]).unwrap();
        assert!(matches!(mapping.write_at(5000, &[1]), Err(Error::AccessOutOfBounds { size: 5000, .. })));
    }

    #[test]
    fn read_only_mappings_refuse_writes() {
        let region = Region::create("read only", 8192).unwrap();
        let mapping = region.map_read_only().unwrap();
        assert!(matches!(mapping.write_at(0, b"x"), Err(Error::ReadOnly { .. })));
        assert!(matches!(mapping.fill(0, 1, 1), Err(Error::ReadOnly { .. })));
        assert!(matches!(mapping.copy_to(0, &mapping, 1, 1), Err(Error::ReadOnly { .. })));
        assert_eq!(mapping.read_vec(0, 1).unwrap(), [0]);
    }

    #[test]
    fn unreadable_mappings_refuse_reads() {
        let region = Region::create("unreadable", 8192).unwrap();
        for protection in [Protection::empty(), Protection::WRITE] {
            let mapping = MapOptions::new().protection(protection).map(&region).unwrap();
            let refusals = [
                mapping.read_at(0, &mut [0]),
                mapping.read_vec(0, 1).map(drop),
                mapping.copy_to(0, &region.map().unwrap(), 0, 1),
            ];
            for refusal in refusals {
                assert!(
                    matches!(refusal, Err(Error::ProtectionDenied { needed: Protection::READ, .. })),
                    "{refusal:?}"
                );
            }
        }
        let write_only = MapOptions::new().protection(Protection::WRITE).map(&region).unwrap();
        write_only.write_at(3, b"blind").unwrap();
        assert_eq!(region.map().unwrap().read_vec(3, 5).unwrap(), b"blind");
    }

    #[test]
    fn mappings_of_one_region_see_each_other() {
        let region = Region::create("two views", 8192).unwrap();
        let (one, two) = (region.map().unwrap(), region.map().unwrap());
        one.write_at(10, b"from one").unwrap();
        assert_eq!(two.read_vec(10, 8).unwrap(), b"from one");
        two.write_at(8000, b"from two").unwrap();
        assert_eq!(one.read_vec(8000, 8).unwrap(), b"from two");
    }

    #[test]
    fn copies_between_regions() {
        let source = Region::create("source", 8192).unwrap().map().unwrap();
        let dest = Region::create("dest", 8192).unwrap().map().unwrap();
        source.write_at(0, &numbered(8192)).unwrap();
        source.copy_to(100, &dest, 200, 5000).unwrap();
        assert_eq!(dest.read_vec(200, 5000).unwrap(), source.read_vec(100, 5000).unwrap());
        assert_eq!(dest.read_vec(0, 200).unwrap(), [0; 200]);
        assert_eq!(dest.read_vec(5200, 100).unwrap(), [0; 100]);
    }

    /// Every overlap against `slice::copy_within`, through one mapping and through two of the same memory.
    #[test]
    fn overlapping_copies() {
        let p = page_size();
        let size = 16 * p;
        let region = Region::create("overlap", size).unwrap();
        let one = region.map().unwrap();
        let two = region.map().unwrap();
        let part = MapOptions::new().range(p..).map(&region).unwrap();
        let len = 12 * p;
        for (from, to) in
            [(p, p), (p, p + 1), (p + 1, p), (p, 3 * p + 5), (3 * p + 5, p), (2 * p, 2 * p + 100)]
        {
            let mut expected = numbered(size);
            expected.copy_within(from as usize..(from + len) as usize, to as usize);
            for (source, dest) in [(&one, &one), (&one, &two), (&part, &one), (&one, &part)] {
                one.write_at(0, &numbered(size)).unwrap();
                source.copy_to(from - source.offset(), dest, to - dest.offset(), len).unwrap();
                assert!(all(&two) == expected, "{from} to {to}");
            }
        }
    }
}
