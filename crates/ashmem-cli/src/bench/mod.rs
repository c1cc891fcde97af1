//! `ashmem bench`: what this machine does, measured.
//!
//! [`pressure`] is the one measurement that there is. A [`run`] has a [`cgroup`] with processes in it: [`member`] is what they
//! do, [`crew`] how their parent talks to them. [`report`] judges what was found, and [`plot`] draws it.

mod age;
mod cgroup;
mod crew;
mod daemon;
mod hierarchy;
mod member;
mod plot;
mod pressure;
mod report;
mod run;
mod sampler;
mod stop;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::text::size;

/// The subcommand of the processes in a cgroup.
pub const MEMBER_COMMAND: &str = "bench-member";

/// Measure what ashmem does on this machine
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Pressure(pressure::Arguments),
}

/// A process in the cgroup, or what becomes the daemon
#[derive(Debug, clap::Args)]
pub struct MemberArguments {
    /// Be the daemon with this socket
    #[arg(long)]
    daemon: Option<PathBuf>,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process may not make one.
    #[error("no memory cgroup can be made: {reason}")]
    NoCgroup {
        /// What was tried.
        reason: String,
    },
    /// Something cannot be read.
    #[error("{}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine would be short of memory itself.
    #[error("a limit of {limit} is more than half of the {available} that are available",
            limit = size(*limit), available = size(*available))]
    TooMuch {
        /// What was asked for.
        limit: u64,
        /// What there is.
        available: u64,
    },
    /// Processes take some memory themselves.
    #[error("the limit is too small: the least is {least}", least = size(*least))]
    TooLittle {
        /// The least.
        least: u64,
    },
    /// A process could not be started.
    #[error("start a process")]
    Start(#[source] io::Error),
    /// The connection to a process failed.
    #[error("talk to a process in the cgroup")]
    Talk(#[source] io::Error),
    /// A process could not do what it was told.
    #[error("a process in the cgroup: {0}")]
    Member(String),
    /// A process ended, and the kernel did not kill it.
    #[error("a process in the cgroup has ended ({0})")]
    Ended(ExitStatus),
    /// A process does not answer.
    #[error("a process in the cgroup says nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// The neighbour does not even fit alone.
    #[error("the neighbour was killed where nobody else is")]
    KilledAlone,
    /// The daemon.
    #[error("the daemon: {0}")]
    Daemon(String),
    /// There is no place for files.
    #[error("make a temporary directory")]
    Directory(#[source] io::Error),
    /// Signals.
    #[error("wait for signals")]
    Signals(#[source] io::Error),
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
    /// A result could not be written.
    #[error("write {}", path.display())]
    Output {
        /// The file, or standard output.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Measures. True when everything held that was promised.
pub fn run(arguments: &Arguments) -> Result<bool, Error> {
    match &arguments.what {
        What::Pressure(arguments) => pressure::run(arguments),
    }
}

/// One of the other processes.
pub fn run_member(arguments: &MemberArguments) -> Result<(), Error> {
    match &arguments.daemon {
        Some(socket) => Err(daemon::become_daemon(socket)),
        None => member::run(),
    }
}
