//! The log on disk: segments, each of which is a sequence of frames.
//!
//! A **segment** is a file `log.NUMBER.zst`. The collector appends to the one with the highest number; when that has its size, it begins the next,
//! and removes the oldest beyond the number to be kept. A **frame** is what one write appended: records, compressed, and before them
//! what is to be known without decompressing. For `zstd` the first part is a skippable frame, so `zstd -d` reads the files, too.
//!
//! The frame says of each lane how far its records are in the log. That makes the files the truth about what is safe: a collector that was killed
//! after a write and before it told the lane is followed by one that finds it here.

mod batch;
mod frame;
mod query;
mod reader;
mod segment;
mod store;

pub(crate) use self::{
    batch::{Batch, Origin},
    frame::{ENTRIES_MAX, HOMELESS, Progress, RAW_TARGET},
    store::{Store, Storing},
};
pub use self::{query::Query, reader::LogReader};
