//! A part of a ring's data, which may go round its end.

use crate::{Error, Mapping, Result, View};

/// Bytes in a ring, without a copy: those that a producer has reserved, or those of a message that a consumer looks at.
///
/// They may be in two pieces, at the end of the ring's memory and at its start; offsets count over both. The peer can write them at
/// any time, whatever it promised, so they are copied or seen through a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    mapping: &'a Mapping,
    /// Where in the mapping the two pieces are: the first from `start`, the second from `wrapped`.
    start: u64,
    wrapped: u64,
    /// Bytes of the first piece.
    first: u64,
    len: u64,
}

impl<'a> Window<'a> {
    #[inline]
    pub(super) fn new(mapping: &'a Mapping, data: u64, place: u64, before_wrap: u64, len: u64) -> Window<'a> {
        Window { mapping, start: data + place, wrapped: data, first: before_wrap.min(len), len }
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes: a message may have none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes at `offset` out of the ring, as many as `into` has.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`].
    #[inline]
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let (first, rest) = self.split(offset, into.len())?;
        let (before, behind) = into.split_at_mut(first);
        if !before.is_empty() {
            self.mapping.read_at(self.start + offset, before)?;
        }
        if !behind.is_empty() {
            self.mapping.read_at(self.wrapped + rest, behind)?;
        }
        Ok(())
    }

    /// Copies `bytes` into the ring at `offset`.
    ///
    /// # Errors
    /// [`Error::AccessOutOfBounds`]. Nothing is written then.
    #[inline]
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (first, rest) = self.split(offset, bytes.len())?;
        let (before, behind) = bytes.split_at(first);
        if !before.is_empty() {
            self.mapping.write_at(self.start + offset, before)?;
        }
        if !behind.is_empty() {
            self.mapping.write_at(self.wrapped + rest, behind)?;
        }
        Ok(())
    }

    /// The pieces in order, those that are not empty: one or two, or none.
    pub fn views(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let pieces = [(self.start, self.first), (self.wrapped, self.len - self.first)];
        let mapping = self.mapping;
        // Both are inside, and a view of nothing is an error.
        pieces.into_iter().filter_map(move |(start, len)| mapping.view(start..start + len).ok())
    }

    /// How many of `len` bytes at `offset` are in the first piece, and where in the second the others start.
    #[inline]
    fn split(&self, offset: u64, len: usize) -> Result<(usize, u64)> {
        let wanted = len as u64;
        if wanted > self.len || offset > self.len - wanted {
            return Err(Error::AccessOutOfBounds { offset, len: wanted, size: self.len });
        }
        // No truncation: at most `len`.
        let first = self.first.saturating_sub(offset).min(wanted) as usize;
        Ok((first, offset.saturating_sub(self.first)))
    }
}
