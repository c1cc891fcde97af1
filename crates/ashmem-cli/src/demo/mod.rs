//! `ashmem demo`: an owner and a viewer, in two processes, go through what ashmem is for.
//!
//! [`share`] is the first half of the story, [`reclaim`] the second; [`report`] tells both. The other process is in
//! [`viewer`]; [`peer`] is how the owner shares heaps with it, and talks to it over a [`channel`].

mod channel;
mod digest;
mod peer;
mod reclaim;
mod report;
mod share;
mod source;
mod table;
mod tiles;
mod viewer;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use ashmem::{Policy, Reclaimer, page_size};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::channel::ChannelError;
use self::digest::WINDOW;
use self::peer::Peer;
pub use self::peer::own_executable;
use self::report::Report;
use self::source::Sources;
use crate::memory::memory_of_system;
use crate::tools::purge::parse_bytes;

/// The subcommand of the viewer process.
pub const VIEWER_COMMAND: &str = "demo-viewer";

/// Show shared, purgeable memory at work, in two processes
///
/// An owner shares each file as a heap over Binder; a viewer in another process
/// finds it by name, maps it and answers its SHA-256, in place. The same bytes go
/// through a Unix stream socket for comparison. Then the owner unpins the regions
/// in order, and a budget of half the bytes makes the reclaimer take the oldest.
/// The owner pins them all again, rebuilds from the files what was taken, and the
/// viewer checks all sums once more.
///
/// A file that makes up more than a quarter of all bytes is split into regions of
/// at most an eighth, so that half of the regions is half of the bytes. Empty files
/// are skipped.
///
/// With --cache, this is a process that keeps a cache of tiles instead, to be
/// looked at with `ashmem top`: unpinned, used at random, and built again where they
/// were taken away. Each second it says how much there is, and who takes it: the
/// process itself, or the driver daemon (`ashmem daemon`).
///
/// Exit status: 0 when every check held, 1 when one did not, 2 when the
/// demonstration could not be given.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Files to share; by default this program's own executable
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Keep a cache of that size until Ctrl-C: bytes, or with K, M or G so many KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with_all = ["files", "json"])]
    cache: Option<u64>,
    /// Keep it for so long
    #[arg(long, value_name = "N", requires = "cache")]
    seconds: Option<u64>,
}

/// Why the demonstration could not be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be shared.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Only empty files.
    #[error("nothing to share: every file is empty")]
    NothingToShare,
    /// More than fits into memory.
    #[error("the files have {needed} MiB, but only {available} MiB of memory are available")]
    TooLarge {
        /// Their size in MiB.
        needed: u64,
        /// What the kernel reports as available, in MiB.
        available: u64,
    },
    /// The library said no.
    #[error(transparent)]
    Region(#[from] ashmem::Error),
    /// Binder said no.
    #[error(transparent)]
    Binder(#[from] ashmem_binder::Error),
    /// There is no place for the services.
    #[error("make a temporary directory")]
    Directory(#[source] io::Error),
    /// A file's bytes could not be copied into a region.
    #[error("copy a file into its region")]
    Fill(#[source] io::Error),
    /// The viewer could not be started.
    #[error("start the viewer process")]
    Spawn(#[source] io::Error),
    /// The connection to the viewer failed.
    #[error("talk to the viewer process")]
    Channel(#[source] ChannelError),
    /// The viewer died.
    #[error("the viewer process has ended early ({0})")]
    ViewerEnded(ExitStatus),
    /// The viewer could not do what it was asked.
    #[error("the viewer process: {0}")]
    ViewerRefused(String),
    /// The viewer answered another question.
    #[error("the viewer process gave an answer that does not fit the request")]
    WrongReply,
    /// Waiting for the reclaimer failed.
    #[error("wait for the reclaimer")]
    Wait(#[source] io::Error),
    /// The report could not be written.
    #[error("write to standard output")]
    Output(#[source] io::Error),
    /// The connection that the viewer was started with does not work.
    #[error("talk to the owner process")]
    Owner(#[source] ChannelError),
}

/// Gives the demonstration. True when every check held.
pub fn run(arguments: &Arguments) -> Result<bool, Error> {
    if let Some(bytes) = arguments.cache {
        return tiles::run(bytes, arguments.seconds.map(Duration::from_secs));
    }
    let executable = [peer::own_executable()];
    let files = if arguments.files.is_empty() { &executable[..] } else { &arguments.files };
    let progress = Progress { visible: !arguments.json && io::stderr().is_terminal() };
    let report = demonstrate(&Sources::open(files)?, &progress)?;
    progress.clear();
    let text = if arguments.json { report.to_json() } else { report.to_text() };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Whoever read has seen enough, and the exit code tells the rest.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(Error::Output)?,
    }
    Ok(report.all_held)
}

/// The other process.
pub fn run_viewer() -> Result<(), Error> {
    viewer::run().map_err(Error::Owner)
}

fn demonstrate(sources: &Sources, progress: &Progress) -> Result<Report, Error> {
    let pieces = sources.pieces(page_size());
    require_memory(pieces.iter().map(|piece| piece.size.next_multiple_of(page_size())).sum())?;
    raise_descriptor_limit();

    // Before the reclaimer's thread starts, and so before anything is unpinned.
    let mut peer = Peer::spawn()?;
    // Nothing is to be taken before everything is unpinned, not even where memory is scarce.
    let reclaimer = Reclaimer::builder().policy(Policy::new().reserve(0)).build();
    let mut window = vec![0; WINDOW];
    let shared = share::share(sources, pieces, &reclaimer, &mut peer, &mut window, progress)?;
    let reclaimed = reclaim::reclaim(sources, &shared, &reclaimer, &mut peer, &mut window, progress)?;
    Ok(Report::new(sources, peer.process(), &shared, &reclaimed))
}

fn require_memory(bytes: u64) -> Result<(), Error> {
    match memory_of_system("MemAvailable") {
        Some(available) if available < bytes => {
            Err(Error::TooLarge { needed: bytes >> 20, available: available >> 20 })
        }
        _ => Ok(()),
    }
}

/// As many descriptors as the process may have: each file and each region needs one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, few files may still do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// One line on the terminal that says what is going on.
pub struct Progress {
    visible: bool,
}

impl Progress {
    /// Shows `what`, in place of what was shown before.
    pub fn say(&self, what: &str) {
        if self.visible {
            let what: String = what.chars().take(70).collect();
            // Without it the demonstration is still worth giving.
            let _ = write!(io::stderr(), "\r\x1b[K{what} …");
        }
    }

    /// Makes room for the report.
    pub fn clear(&self) {
        if self.visible {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
