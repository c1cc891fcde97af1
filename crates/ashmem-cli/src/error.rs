//! Why a command could not do its work.

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
    /// The daemon.
    #[error(transparent)]
    Driver(#[from] ashmem_driver::Error),
    /// The daemon's policy.
    #[error(transparent)]
    Policy(#[from] ashmem_driver::PolicyError),
    /// The daemon's log.
    #[error("open the log {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What systemd has passed.
    #[error("take the sockets that were passed")]
    Passed(#[source] io::Error),
    /// Standard output.
    #[error("write to standard output")]
    Output(#[source] io::Error),
    /// Signals.
    #[error("wait for the end")]
    Signals(#[source] io::Error),
    /// Processes.
    #[error("look through /proc")]
    Processes(#[source] io::Error),
    /// Nobody holds a region of that name.
    #[error("no region is called {name}{}", hidden_processes(*hidden))]
    NoRegion {
        /// As it was asked for.
        name: String,
        /// Processes that could not be looked at.
        hidden: u64,
    },
    /// The name is not enough.
    #[error("{count} regions are called {name}: {places}")]
    SeveralRegions {
        /// As it was asked for.
        name: String,
        /// How many.
        count: usize,
        /// A descriptor of each.
        places: String,
    },
    /// A descriptor is something else.
    #[error("{place} is no memfd of ordinary pages")]
    NoMemfd {
        /// As PID:FD.
        place: String,
    },
    /// A descriptor of another process cannot be opened.
    #[error("open {place}")]
    Descriptor {
        /// As PID:FD, or several of those.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A region that some process holds.
    #[error("{place}")]
    Held {
        /// As PID:FD, or several of those.
        place: String,
        /// What was wrong with it.
        source: ashmem::Error,
    },
    /// The driver daemon was not asked, or has not answered.
    #[error(transparent)]
    Asking(#[from] ashmem_driver::ask::Error),
    /// Nobody can be asked.
    #[error("there is no driver daemon{places}")]
    NoDriver {
        /// Where it was looked for, and what to do.
        places: String,
    },
    /// The screen cannot be drawn on, or no keys be read.
    #[error("use the terminal")]
    Terminal(#[source] io::Error),
    /// There is no screen to draw on.
    #[error("this is no terminal: ashmem top --json prints documents instead")]
    NoTerminal,
    /// The processes that hold a region do not show it.
    #[error("{}", if *hidden { "its holders may not be looked at" } else { "none of its holders has it open any more" })]
    NotShown {
        /// Whether that is for want of permission.
        hidden: bool,
    },
    /// Less was freed than there is.
    #[error("{count} purges failed: regions are sealed, or somebody keeps their purge lock")]
    NotPurged {
        /// Of runs of pages.
        count: u64,
    },
}

fn hidden_processes(count: u64) -> String {
    if count == 0 { String::new() } else { format!(", but {}", not_looked_at(count)) }
}

/// Says how many processes could not be looked at.
pub fn not_looked_at(count: u64) -> String {
    format!("{count} {} could not be looked at", if count == 1 { "process" } else { "processes" })
}
