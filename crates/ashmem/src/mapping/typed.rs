//! Values of plain types in a mapping, copied in and out.
#![allow(unsafe_code, reason = "copies into values that may have any bytes")]

use std::fmt;
use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, NoUninit};

use super::{Mapping, View};
use crate::Result;
use crate::sys::copy;

/// Values of types that are nothing but their bytes, in the byte order and layout of this machine. They are copied, so
/// that a peer may write them meanwhile, and may be at any offset.
///
/// What is read must be a type that has a value for any bytes ([`AnyBitPattern`]), as a peer may have written any; what
/// is written must have no padding ([`NoUninit`]). Use `#[repr(C)]` for structures: nothing else has one layout in two
/// programs.
impl Mapping {
    /// Copies the value at `offset` out of the mapping.
    ///
    /// ```
    /// # fn main() -> ashmem::Result<()> {
    /// let region = ashmem::Region::create("table", 8192)?;
    /// let mapping = region.map()?;
    /// mapping.write_value(100, &[0.5_f32, 2.0])?;
    /// assert_eq!(mapping.read_value::<[f32; 2]>(100)?, [0.5, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    #[inline]
    pub fn read_value<T: AnyBitPattern>(&self, offset: u64) -> Result<T> {
        let mut value = T::zeroed();
        self.read_slice(offset, std::slice::from_mut(&mut value))?;
        Ok(value)
    }

    /// Copies a value into the mapping at `offset`.
    ///
    /// # Errors
    /// As [`Mapping::write_at`].
    #[inline]
    pub fn write_value<T: NoUninit>(&self, offset: u64, value: &T) -> Result<()> {
        self.write_at(offset, bytemuck::bytes_of(value))
    }

    /// Copies values from `offset` on out of the mapping, as many as `into` has.
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    #[inline]
    pub fn read_slice<T: AnyBitPattern>(&self, offset: u64, into: &mut [T]) -> Result<()> {
        let len = size_of_val(into);
        let from = self.readable("read mapping", offset, len as u64)?;
        // SAFETY: `readable` checked the source for this length; `into` is memory of the caller alone, and any bytes are
        // values of its type.
        unsafe { copy::copy(from, into.as_mut_ptr().cast(), len) };
        Ok(())
    }

    /// Copies `count` values from `offset` on out of the mapping into a new vector.
    ///
    /// Nothing is allocated when the access is refused.
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    pub fn read_slice_vec<T: AnyBitPattern>(&self, offset: u64, count: u64) -> Result<Vec<T>> {
        let len = bytes_of_values::<T>(count);
        let from = self.readable("read mapping", offset, len)?;
        // No truncation: so many values fit into the mapping.
        let (len, count) = (len as usize, count as usize);
        let mut values: Vec<T> = Vec::with_capacity(count);
        // SAFETY: `readable` checked the source for this length; the vector has that much capacity.
        unsafe { copy::copy(from, values.as_mut_ptr().cast(), len) };
        // SAFETY: the copy initialised `count` values, and any bytes are one.
        unsafe { values.set_len(count) };
        Ok(values)
    }

    /// Copies `values` into the mapping from `offset` on.
    ///
    /// # Errors
    /// As [`Mapping::write_at`].
    #[inline]
    pub fn write_slice<T: NoUninit>(&self, offset: u64, values: &[T]) -> Result<()> {
        self.write_at(offset, bytemuck::cast_slice(values))
    }

    /// `count` values from `offset` on (in bytes), to be read and written by index.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`](crate::Error::AccessOutOfBounds) when they leave the mapping;
    /// [`Error::RangeEmpty`](crate::Error::RangeEmpty) when they have no bytes.
    pub fn typed<T>(&self, offset: u64, count: u64) -> Result<TypedView<'_, T>> {
        let len = bytes_of_values::<T>(count);
        self.span(offset, len)?;
        let view = self.view(offset..offset.saturating_add(len))?;
        Ok(TypedView { view, of: PhantomData })
    }
}

/// A part of a [`Mapping`] as an array of values that are copied in and out; made by [`Mapping::typed`].
///
/// ```
/// # fn main() -> ashmem::Result<()> {
/// let region = ashmem::Region::create("samples", 8192)?;
/// let mapping = region.map()?;
/// let samples = mapping.typed::<i16>(1, 1000)?;
/// samples.set(999, -7)?;
/// assert_eq!(samples.get(999)?, -7);
/// assert!(samples.get(1000).is_err());
///
/// samples.write(0, &[1, 2, 3])?;
/// let sum = samples.iter().sum::<ashmem::Result<i16>>()?;
/// assert_eq!(sum, 1 + 2 + 3 - 7);
/// # Ok(())
/// # }
/// ```
pub struct TypedView<'a, T> {
    view: View<'a>,
    of: PhantomData<fn() -> T>,
}

impl<T> TypedView<'_, T> {
    /// How many values there are: never 0.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> u64 {
        self.view.len() / size_of::<T>().max(1) as u64
    }

    /// The same part as bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &View<'_> {
        &self.view
    }
}

impl<T: AnyBitPattern> TypedView<'_, T> {
    /// A copy of the value at `index`.
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    #[inline]
    pub fn get(&self, index: u64) -> Result<T> {
        self.view.read_value(bytes_of_values::<T>(index))
    }

    /// Copies values from index `from` on, as many as `into` has.
    ///
    /// # Errors
    /// As [`Mapping::read_at`].
    #[inline]
    pub fn read(&self, from: u64, into: &mut [T]) -> Result<()> {
        self.view.read_slice(bytes_of_values::<T>(from), into)
    }

    /// Copies of all values, one after the other. Each is an error when the mapping is not readable.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<T>> + DoubleEndedIterator + '_ {
        // No truncation: so many values are mapped.
        (0..self.len() as usize).map(|index| self.get(index as u64))
    }
}

impl<T: NoUninit> TypedView<'_, T> {
    /// Replaces the value at `index`.
    ///
    /// # Errors
    /// As [`Mapping::write_at`].
    #[inline]
    pub fn set(&self, index: u64, value: T) -> Result<()> {
        self.view.write_value(bytes_of_values::<T>(index), &value)
    }

    /// Replaces the values from index `from` on.
    ///
    /// # Errors
    /// As [`Mapping::write_at`].
    #[inline]
    pub fn write(&self, from: u64, values: &[T]) -> Result<()> {
        self.view.write_slice(bytes_of_values::<T>(from), values)
    }
}

impl<T> fmt::Debug for TypedView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedView")
            .field("type", &std::any::type_name::<T>())
            .field("view", &self.view)
            .finish()
    }
}

/// Bytes of `count` values; more than any mapping has where that overflows.
#[inline]
fn bytes_of_values<T>(count: u64) -> u64 {
    count.saturating_mul(size_of::<T>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MapOptions, Protection, Region};

    /// Has padding, so it can be read and not written.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Padded {
        small: u8,
        large: u32,
    }

    // SAFETY: integers.
    unsafe impl bytemuck::Zeroable for Padded {}
    // SAFETY: integers, and padding that nobody looks at.
    unsafe impl AnyBitPattern for Padded {}

    #[test]
    fn values_come_back_from_any_offset() {
        let region = Region::create("values", 8192).unwrap();
        let mapping = region.map().unwrap();
        mapping.write_value(3, &0x0102_0304_u32).unwrap();
        assert_eq!(mapping.read_vec(3, 4).unwrap(), 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(mapping.read_value::<u32>(3).unwrap(), 0x0102_0304);
        mapping.write_value(8184, &u64::MAX).unwrap();
        assert_eq!(mapping.read_value::<[u32; 2]>(8184).unwrap(), [u32::MAX; 2]);
        mapping.write_at(17, &[7, 1, 1, 1, 1, 0, 0, 0]).unwrap();
        let padded: Padded = mapping.read_value(17).unwrap();
        assert_eq!((padded.small, padded.large), (7, u32::from_ne_bytes([1, 0, 0, 0])));
    }

    #[test]
    fn slices_come_back() {
        let region = Region::create("slices", 8192).unwrap();
        let mapping = region.map().unwrap();
        let values: Vec<u16> = (0..1000).map(|i| i * 37).collect();
        mapping.write_slice(101, &values).unwrap();
        let mut read = [0_u16; 1000];
        mapping.read_slice(101, &mut read).unwrap();
        assert_eq!(read[..], values);
        assert_eq!(mapping.read_slice_vec::<u16>(103, 999).unwrap(), values[1..]);
        assert_eq!(mapping.read_vec(100, 1).unwrap(), [0]);
        assert_eq!(mapping.read_vec(2101, 2).unwrap(), [0, 0]);
    }

    #[test]
    fn accesses_outside_change_nothing() {
        let region = Region::create("bounds", 8192).unwrap();
        let mapping = region.map().unwrap();
        let part = mapping.view(..4096).unwrap();
        let typed = part.typed::<u32>(6, 1000).unwrap();
        let mut into = [7_u32; 2];
        let refusals = [
            part.write_value(4093, &1_u32),
            part.read_value::<u32>(4093).map(drop),
            part.read_value::<u32>(u64::MAX).map(drop),
            part.write_slice(4089, &[1_u32; 2]),
            part.read_slice(4089, &mut into),
            part.read_slice_vec::<u64>(0, u64::MAX).map(drop),
            part.read_slice_vec::<u64>(0, u64::MAX / 8 + 2).map(drop),
            part.read_slice_vec::<u64>(0, 513).map(drop),
            part.typed::<u64>(0, 513).map(drop),
            part.typed::<u64>(8, u64::MAX / 8 + 1).map(drop),
            part.typed::<u64>(u64::MAX, 1).map(drop),
            typed.set(1000, 1),
            typed.get(1000).map(drop),
            typed.set(u64::MAX / 4 + 1, 1),
            typed.get(u64::MAX).map(drop),
            typed.write(999, &[1; 2]),
            typed.read(999, &mut into),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::AccessOutOfBounds { .. })), "{refusal:?}");
        }
        assert_eq!(into, [7; 2]);
        assert_eq!(mapping.read_vec(0, 8192).unwrap(), vec![0; 8192]);
    }

    #[test]
    fn a_typed_view_is_an_array_in_its_place() {
        let region = Region::create("typed", 8192).unwrap();
        let mapping = region.map().unwrap();
        let typed = mapping.typed::<u32>(6, 10).unwrap();
        assert_eq!((typed.len(), typed.as_bytes().len(), typed.as_bytes().offset()), (10, 40, 6));
        for index in 0..10 {
            typed.set(index, index as u32 + 1).unwrap();
        }
        let all: Vec<u32> = typed.iter().collect::<Result<_>>().unwrap();
        assert_eq!(all, (1..=10).collect::<Vec<_>>());
        assert_eq!(mapping.read_value::<u32>(6 + 9 * 4).unwrap(), 10);
        typed.write(8, &[80, 90]).unwrap();
        let mut last = [0; 3];
        typed.read(7, &mut last).unwrap();
        assert_eq!(last, [8, 80, 90]);
        assert!(matches!(mapping.typed::<u32>(6, 0), Err(Error::RangeEmpty { .. })));
        assert!(matches!(mapping.typed::<()>(6, 5), Err(Error::RangeEmpty { .. })));
    }

    #[test]
    fn what_the_mapping_forbids_is_refused() {
        let region = Region::create("rights", 8192).unwrap();
        let reader = region.map_read_only().unwrap();
        assert!(matches!(reader.write_value(0, &1_u8), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.typed::<u8>(0, 1).unwrap().set(0, 1), Err(Error::ReadOnly { .. })));
        let blind = MapOptions::new().protection(Protection::WRITE).map(&region).unwrap();
        let typed = blind.typed::<u16>(0, 3).unwrap();
        typed.set(0, 1).unwrap();
        assert_eq!(typed.iter().len(), 3);
        assert!(typed.iter().all(|value| matches!(value, Err(Error::ProtectionDenied { .. }))));
    }
}
