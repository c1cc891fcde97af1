//! Logs that survive their writers.
//!
//! An app writes its log into memory that it shares with a collector, a record in some ten nanoseconds, without locks or system calls. The collector
//! compresses the records of all apps and writes them into files. Whoever is killed, whenever: no record is lost that [`Logger::log`]
//! has taken, as long as one of the two lives, and none is in the files twice.
//!
//! - [`Logger`]: the app's side. It is a [`log::Log`], too.
//! - [`Collector`]: writes the files.
//! - [`LogReader`]: reads them.
//!
//! What Android has in `liblog` and `logd`, with a shared region in place of a socket.

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod collector;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod files;
#[cfg_attr(loom, allow(dead_code, unused_imports, reason = "loom runs the lanes alone"))]
mod lane;
mod level;
#[cfg(not(loom))]
mod logger;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod socket;
mod sync;

pub use self::lane::{MESSAGE_MAX, TAG_MAX};
pub use self::level::{Level, UnknownLevel};
#[cfg(not(loom))]
pub use self::{
    clock::Clock,
    collector::{Collector, CollectorOptions, Step},
    error::{Error, Result},
    files::{LogReader, Query},
    logger::{Logger, LoggerOptions, ThreadLogger, WhenFull},
    record::Record,
};
