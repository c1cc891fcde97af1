//! The index of a cache that several processes share: which pages belong to which key.
//!
//! ```text
//!   0                                                                    first data page
//!   | header: magic, sets | counters | hashes | records | zeros to a page | data ...     | region's end
//! ```
//!
//! One region, mapped writable by everybody who has its descriptor, holds the index and the data. The index says no more
//! than *these pages belong to this key*. Whether the contents are there is the pin state of the pages: pages that are
//! PURGED are not built yet, or were taken away.
//!
//! The table is set-associative: a key lives in one of the sixteen records of its *set*, which its hash selects. So a lookup
//! ends after sixteen hashes, nothing ever moves, and removing leaves nothing behind. The price is that an insert into a full
//! set has to evict one of that set, although there may be room elsewhere. There are twice as many records as entries asked
//! for, so until the table has that many, about one insert in a thousand meets a full set.
//!
//! A record has a version, a run of pages, a length in bytes and the key. Its hash lies apart, with the fifteen others of the
//! set in two cache lines, so that a lookup reads those two lines and then one record, and a walk reads no record that was
//! never used.
//!
//! # Rules
//!
//! 1. A record is **live** while its version is odd, and empty while it is even; every change of state adds one, and versions
//!    never go back. All zeros are an empty table.
//! 2. Removing is one store: the version becomes even. Inserting writes hash, run, length and key of a record that is
//!    empty, and last makes the version odd. A writer that is killed before that leaves a record that is as empty as
//!    before: there is nothing to repair, and whoever inserts next writes over it.
//! 3. All stores are `Release`, and who has read a record makes an `Acquire` fence before it looks at the version again. So
//!    who saw any word of a newer entry sees the newer version too. Readers take no lock and never wait or try again: a record
//!    that changes under them is absent.
//! 4. Writers ([`Index::room`], [`Index::insert`], [`Index::remove`]) hold the cache's lock, which is the caller's: one that
//!    the kernel frees when its holder dies.
//! 5. Which pages are free is written nowhere: those that no live record covers. So nothing can disagree about it.
//! 6. Every word is hostile input. A record whose run leaves the data, whose length is more than its run, or whose key has
//!    an impossible length, is empty. The sizes are read once ([`Geometry::read`]); indices come from them and from hashes,
//!    never from a record.
//!
//! # What a cache has to do around it
//!
//! - The pages before [`Geometry::data`] stay pinned.
//! - A reader finds, leases the pages, looks at their pin state, and asks [`Index::is_current`]. If that says yes, the pages were
//!   the key's when the state was looked at, and stay so while the lease is held, because
//! - who removes an entry first excludes leases on its pages, until the version is even; and
//! - who inserts first makes all pages of the run PURGED: they still have the state and the contents that they had under
//!   another key, or that a writer left who was killed between removing and inserting.

mod counter;
mod entry;
mod evict;
mod index;
mod key;
mod layout;
mod options;
mod record;
mod room;
mod shared;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod thread_tests;

pub use entry::{CacheEntry, Lookup};
pub use options::CacheOptions;
pub use shared::{Cache, CacheStats};

use counter::Counter;
use index::{Found, Index, Place, Room};
use key::{KEY_MAX, Key};
use layout::Geometry;
use shared::LOCK;

/// An empty cache with so many pages of data.
#[cfg(test)]
fn mapped(data_pages: u64, entries: u64) -> (crate::Region, crate::Mapping, Geometry) {
    let geometry = Geometry::new(data_pages * crate::page_size(), entries).unwrap();
    let region = crate::Region::create("cache", geometry.size()).unwrap();
    let mapping = region.map().unwrap();
    geometry.write(&mapping).unwrap();
    (region, mapping, geometry)
}
