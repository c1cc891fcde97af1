//! `ashmem seccomp-agent`: `/dev/ashmem` for containers, and the seccomp profile that they need.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ashmem_device::agent::{self, Agent, Listener};
use ashmem_device::filter::{self, Abi, BaseError};
use ashmem_device::{Options, Server};
use log::LevelFilter;
use sd_notify::NotifyState;

use crate::daemon::log::Journal;
use crate::signals::{Endings, Wish};

/// Where the shipped profiles have it.
const SOCKET: &str = "/run/ashmem/seccomp-agent.sock";

/// Give containers a /dev/ashmem
///
/// Container runtimes (runc, crun) send the notifications of a container's system calls here when its seccomp profile says
/// so, and the agent answers them: the container needs no device, no module and no privilege. One agent serves all
/// containers; it must be running when they start, and as long as they run.
///
/// Stays in the foreground. SIGHUP opens the log again; SIGTERM and SIGINT end it. Tells systemd when it is ready.
/// With --print-profile it only writes the profile for containers, and ends.
///
/// Exit status: 0; 2 when it cannot start.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Listen here; the directory must be one's own or root's, and no other user may write to it
    #[arg(long, visible_alias = "socket", value_name = "SOCKET", default_value = SOCKET)]
    listen: PathBuf,
    /// Write messages to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Also write down what is of use only when something does not work
    #[arg(long)]
    verbose: bool,
    /// Print the seccomp profile for containers, and do nothing else
    #[arg(long)]
    print_profile: bool,
    /// Print this profile with ours added, instead of one that forbids nothing: that of Docker or Podman, say
    #[arg(long, value_name = "FILE", requires = "print_profile")]
    base: Option<PathBuf>,
    /// Print it for containers of this machine
    #[arg(long, value_name = "MACHINE", requires = "print_profile")]
    machine: Option<Machine>,
}

/// A machine that there is a profile for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Machine {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command's surroundings: signals, the log, standard output.
    #[error(transparent)]
    Command(#[from] crate::error::Error),
    /// The socket.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// Who answers the system calls.
    #[error(transparent)]
    Device(#[from] ashmem_device::Error),
    /// A profile cannot be read.
    #[error("read {}", path.display())]
    Base {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A profile is of no use.
    #[error("{}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: BaseError,
    },
    /// Runtimes connect from another directory.
    #[error("{}: runtimes need an absolute path, in UTF-8", path.display())]
    Socket {
        /// Where the agent was to listen.
        path: PathBuf,
    },
}

/// Runs until it is told to end.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    if arguments.print_profile {
        return print_profile(arguments);
    }
    // Before there are other threads, which get them otherwise.
    let signals = Endings::hold_back().map_err(crate::error::Error::Signals)?;
    let level = if arguments.verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let journal = Journal::start(arguments.log.as_deref(), level)?;
    let listener = Listener::bind(&arguments.listen)?;
    let server = Server::new(Options::default())?;
    let agent = Agent::start(listener, move |fd, _| server.attach(fd))?;
    let place = arguments.listen.display();
    log::info!("waiting for containers at {place}");
    say(&[NotifyState::Ready, NotifyState::Status(&format!("Waiting for containers at {place}"))]);
    while signals.next().map_err(crate::error::Error::Signals)? == Wish::Reload {
        match journal.reopen() {
            Ok(()) => log::info!("the log was opened again"),
            Err(error) => log::error!("{}; the old file stays in use", crate::with_causes(&error)),
        }
    }
    say(&[NotifyState::Stopping]);
    drop(agent);
    log::info!("ended; containers that still run have no /dev/ashmem any more");
    Ok(())
}

/// Writes the profile to standard output.
fn print_profile(arguments: &Arguments) -> Result<(), Error> {
    let socket = &arguments.listen;
    if !socket.is_absolute() || socket.to_str().is_none() {
        return Err(Error::Socket { path: socket.clone() });
    }
    let abis: &[Abi] = match arguments.machine {
        None => Abi::native(),
        Some(Machine::X86_64) => &[Abi::X86_64, Abi::I386],
        Some(Machine::Aarch64) => &[Abi::Aarch64, Abi::Arm],
    };
    let profile = match &arguments.base {
        None => filter::profile(abis, socket),
        Some(path) => {
            let profile = filter::add_to(read(path)?, abis, socket);
            profile.map_err(|source| Error::Profile { path: path.clone(), source })?
        }
    };
    let written = writeln!(io::stdout(), "{profile:#}");
    Ok(written.map_err(crate::error::Error::Output)?)
}

fn read(path: &Path) -> Result<serde_json::Value, Error> {
    let base = |source| Error::Base { path: path.to_owned(), source };
    let text = fs::read(path).map_err(base)?;
    serde_json::from_slice(&text).map_err(|error| base(error.into()))
}

/// Tells systemd, if that wants to know (`sd_notify(3)`).
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        let _ = writeln!(io::stderr(), "ashmem: systemd cannot be told: {error}");
    }
}
