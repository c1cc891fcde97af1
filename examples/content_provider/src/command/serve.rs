//! The process that serves.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ashmem_binder::ServiceManager;
use clap::Args;
use content_provider::ContentProvider;
use rustix::process::{Signal, set_parent_process_death_signal};
use signal_hook::consts::SIGXFSZ;

use super::Result;

/// What it says when it can be found.
pub const READY: &str = "content_provider: ready";

/// Serve a database until it is killed
///
/// The database is put into the journal mode WAL, so that queries and changes do not wait for each other.
#[derive(Debug, Args)]
pub struct Serve {
    /// The database, which must be there
    #[arg(value_name = "DATABASE")]
    database: PathBuf,

    /// Take no changes, and leave the journal mode as it is
    #[arg(long)]
    read_only: bool,

    /// Size of cursor windows in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20, value_parser = clap::value_parser!(u32).range(4096..=128 << 20))]
    window_size: u32,

    /// How long one call may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    time_limit: u64,

    /// How long a cursor may be asked for nothing before its snapshot is given back, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..))]
    idle_limit: u64,

    /// Do not let the database grow beyond so many pages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_pages: Option<u32>,

    /// Read the result of each query into memory first
    #[arg(long, hide = true)]
    matrix: bool,

    /// End when standard input does, and with the process that started it
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

impl Serve {
    pub fn run(&self, authority: &str) -> Result<()> {
        if self.until_input_ends {
            // Its input ends as well, if it has a parent that is gone already.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
        }
        // Of a limit for files the kernel tells by a signal that ends the process; with a handler, by an error (setrlimit(2)).
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let mut options = ContentProvider::options()
            .read_only(self.read_only)
            .window_size(self.window_size)
            .time_limit(Duration::from_millis(self.time_limit))
            .idle_limit(Duration::from_millis(self.idle_limit))
            .matrix(self.matrix);
        if let Some(pages) = self.max_pages {
            options = options.max_pages(pages);
        }
        let provider = options.open(&self.database)?;
        provider.add_to(&ServiceManager::new()?, authority)?;
        let mut output = io::stdout();
        // Whoever started it may not want to know.
        let _ = writeln!(output, "{READY}").and_then(|()| output.flush());
        if self.until_input_ends {
            io::copy(&mut io::stdin().lock(), &mut io::sink())?;
            return Ok(());
        }
        // All is done by threads of the library.
        loop {
            thread::park();
        }
    }
}
