//! What a lookup gives.

use std::fmt;
use std::ops::Deref;

use crate::Mapping;
use crate::mapping::View;
use crate::region::Hold;

/// The contents of one entry of a [`Cache`](super::Cache), as a [`Mapping`]. Nobody takes them away while this lives; when it is dropped, the entry is
/// the youngest.
#[must_use = "the contents may go when the entry is dropped"]
pub struct CacheEntry<'a> {
    pub(super) hold: Hold<'a>,
    pub(super) view: View<'a>,
    pub(super) is_built: bool,
}

impl CacheEntry<'_> {
    /// Whether the contents were built for this lookup: they were not there, and nobody else was building them.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.is_built
    }

    /// Ends it without making the pages any younger: they were another entry's, or nothing was in them.
    pub(super) fn forget(mut self) {
        self.hold.for_nothing();
    }
}

impl Deref for CacheEntry<'_> {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.view
    }
}

impl Drop for CacheEntry<'_> {
    #[inline]
    fn drop(&mut self) {
        self.hold.end();
    }
}

impl fmt::Debug for CacheEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry")
            .field("len", &self.view.len())
            .field("is_built", &self.is_built)
            .finish_non_exhaustive()
    }
}

/// What a cache knows of a key.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// The contents.
    Hit(CacheEntry<'a>),
    /// They were there, or were to be built, and are not now.
    Purged,
    /// The cache does not know the key.
    Missing,
}

impl<'a> Lookup<'a> {
    /// The contents, if they are there.
    pub fn hit(self) -> Option<CacheEntry<'a>> {
        match self {
            Lookup::Hit(entry) => Some(entry),
            _ => None,
        }
    }
}
