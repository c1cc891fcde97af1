//! Windows of any size from one heap.

/// A part of a dealer's heap, which goes back to it on drop.
pub(crate) struct Block;
