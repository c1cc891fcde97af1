//! What the daemon says of itself: a JSON document. Sizes are in bytes.

use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The process.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: f64,
    /// The limits on memory that it watches: the system's first, then cgroups.
    pub limits: Vec<Limit>,
    /// Who has registered regions.
    pub users: Vec<User>,
    /// The regions that this asker may see, in no order that means anything.
    pub regions: Vec<Region>,
    /// The last purges of those, the latest last.
    pub purges: Vec<Purge>,
    /// Counts since the start.
    pub counters: Counters,
}

/// A limit on memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// `system`, or the directory of a cgroup.
    pub name: String,
    /// The limit; nothing for a cgroup that has a budget and no limit.
    pub limit: u64,
    /// What can still be allocated below it.
    pub available: u64,
    /// What is to stay available.
    pub reserve: u64,
    /// Unpinned memory that may stay below it.
    pub budget: Option<u64>,
    /// Registered regions below it.
    pub regions: u64,
}

/// What one user has registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// The number of the user.
    pub user: u32,
    /// Processes that are connected.
    pub connections: u64,
    /// Regions.
    pub regions: u64,
    /// Their sizes together.
    pub size: u64,
    /// Regions that were not taken, so far.
    pub refused: u64,
}

/// A region. The fields have the names that `ashmem ls --json` gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Region {
    /// Its name, as far as it is UTF-8.
    pub name: String,
    /// The inode of its file.
    pub inode: u64,
    /// Its size.
    pub size: u64,
    /// In memory or swap.
    pub resident: u64,
    /// What nobody may take away, be it pinned or held by a lease or guard.
    pub pinned: u64,
    /// What may be taken away.
    pub unpinned: u64,
    /// What was taken away.
    pub purged: u64,
    /// How long ago the last of the unpinned pages was unpinned.
    pub unpinned_for_seconds: Option<f64>,
    /// The processes that have registered it.
    pub holders: Vec<Holder>,
}

/// A process that has registered a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// The name of its program, as far as the kernel keeps that.
    pub command: String,
}

/// Pages that were taken away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purge {
    /// Counts all purges since the start, so that an asker knows which ones are new.
    pub number: u64,
    /// How long ago.
    pub ago_seconds: f64,
    /// The name of the region.
    pub name: String,
    /// The inode of the region's file.
    pub inode: u64,
    /// Where the pages start in it.
    pub start: u64,
    /// Where they end.
    pub end: u64,
    /// Memory that this freed.
    pub freed: u64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Times that it looked at the memory that is left.
    pub looks: u64,
    /// Looks that found too little memory left below a limit.
    pub shortages: u64,
    /// Looks that found processes stalled for memory.
    pub stalls: u64,
    /// Looks that found more unpinned memory than a budget.
    pub over_budget: u64,
    /// Runs of pages that it took away.
    pub purges: u64,
    /// Pages that it took away, in memory or not.
    pub purged_pages: u64,
    /// Memory that this freed.
    pub freed_bytes: u64,
    /// Purges that failed.
    pub failures: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that it ended, because of what was said or sent.
    pub expelled: u64,
    /// Regions that were registered.
    pub registered: u64,
    /// Regions that were released.
    pub released: u64,
    /// Regions that were not taken.
    pub refused: u64,
    /// Messages to processes that did not read them in time.
    pub dropped_messages: u64,
}
