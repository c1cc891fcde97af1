//! Why a command about shared heaps could not do its work.

use std::io;
use std::path::PathBuf;

use crate::text::size;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Binder, the services, or a heap.
    #[error(transparent)]
    Binder(#[from] ashmem_binder::Error),
    /// The same, with the name of the service.
    #[error("{name}")]
    Service {
        /// Of the service.
        name: String,
        /// What was wrong with it.
        source: ashmem_binder::Error,
    },
    /// A region.
    #[error(transparent)]
    Region(#[from] ashmem::Error),
    /// Something cannot be read.
    #[error("{input}")]
    Input {
        /// The file, or standard input.
        input: String,
        /// Why not.
        source: io::Error,
    },
    /// A heap has at least a byte.
    #[error("{input} is empty: there is nothing to share")]
    Empty {
        /// The file, or standard input.
        input: String,
    },
    /// A file was written meanwhile.
    #[error("{} has changed since it was opened to be shared", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// What cannot be read again.
    #[error("{input}: --purgeable needs a regular file, which can be read again")]
    NotAgain {
        /// The file, or standard input.
        input: String,
    },
    /// More than fits into memory.
    #[error("{input}: after {read} it needs more memory than there is ({available} are available)",
            read = size(*read), available = size(*available))]
    TooLarge {
        /// The file, or standard input.
        input: String,
        /// Bytes that were read.
        read: u64,
        /// What the kernel reports as available.
        available: u64,
    },
    /// The region's memory could not be filled.
    #[error("copy into shared memory")]
    Fill(#[source] io::Error),
    /// Seals, which the kernel has refused.
    #[error("seal shared memory")]
    Seal(#[source] io::Error),
    /// The service is something else.
    #[error("{name} is no heap and no window of one: its interface is {interface:?}")]
    NoMemory {
        /// Of the service.
        name: String,
        /// What it says that it is.
        interface: String,
    },
    /// Contents are not there, however often they were built.
    #[error("{name}: its contents are purged again each time that they are built")]
    StaysPurged {
        /// Of the service.
        name: String,
    },
    /// Bytes of a heap could not be read.
    #[error("read shared memory")]
    Read(#[source] io::Error),
    /// Standard output.
    #[error("write to standard output")]
    Output(#[source] io::Error),
    /// Signals.
    #[error("wait for the end")]
    Signals(#[source] io::Error),
}
