//! What a cache counts, over all its processes.

/// One of the counts in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Lookups that found an entry with its contents.
    Hits,
    /// Lookups that found no entry.
    Misses,
    /// Lookups that found an entry whose contents had been purged.
    Purged,
    /// Entries whose contents were built again.
    Rebuilt,
    /// Entries removed to make room for another.
    Evicted,
    /// Entries inserted.
    Inserted,
}

impl Counter {
    pub(crate) const ALL: [Counter; 6] = [
        Counter::Hits,
        Counter::Misses,
        Counter::Purged,
        Counter::Rebuilt,
        Counter::Evicted,
        Counter::Inserted,
    ];
}
