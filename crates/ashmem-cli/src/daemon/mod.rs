//! `ashmem daemon`: the driver daemon.

pub mod log;
mod passed;

use std::io::Write;
use std::path::{Path, PathBuf};

use ::log::LevelFilter;
use ashmem::driver::address;
use ashmem::pressure::{PressureSource, SystemPressure};
use ashmem_driver::{Audience, Driver, Listener, Policy};
use sd_notify::NotifyState;

use self::log::Journal;
use crate::error::Error;
use crate::signals::{Endings, Wish};
use crate::text::size;

/// Reclaim the unpinned memory of all processes, oldest first
///
/// Processes that use this library find the daemon by its socket, and hand it their regions; it takes unpinned pages
/// away when memory runs short, or when there are more of them than a budget. While there is no daemon, each process
/// does that for itself.
///
/// Stays in the foreground. SIGHUP reads the policy again, and opens the log again; SIGTERM and SIGINT end it, as
/// they should: its clients go on without it. Takes a socket from systemd, and tells it when it is ready.
///
/// Exit status: 0; 2 when it cannot start.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Serve all users, at /run/ashmem/driver, instead of one's own
    #[arg(long)]
    system: bool,
    /// Listen here; the directory must be one's own, and no other user may write to it
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The policy, instead of $XDG_CONFIG_HOME/ashmem/driver.toml, or /etc/ashmem/driver.toml with --system
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Write messages to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Also say who connects to no purpose, and why
    #[arg(long)]
    verbose: bool,
    /// Only see whether the policy makes sense
    #[arg(long)]
    check: bool,
}

/// Runs until it is told to end.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let policy = arguments.policy()?;
    if arguments.check {
        return Ok(());
    }
    // Before there are other threads, which get them otherwise.
    let signals = Endings::hold_back().map_err(Error::Signals)?;
    let level = if arguments.verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let journal = Journal::start(arguments.log.as_deref(), level)?;
    let listener = arguments.listen()?;
    let place = listener
        .path()
        .map_or_else(|| "a socket without a name".to_owned(), |path| path.display().to_string());
    let passed = if listener.is_passed() { ", passed by systemd" } else { "" };
    let driver = Driver::start(listener, policy)?;
    let whom = if arguments.system { "all users" } else { "this user" };
    ::log::info!("serving {whom} at {place}{passed}");
    describe_limits();
    say(&[NotifyState::Ready, NotifyState::Status(&format!("Serving {whom} at {place}"))]);
    while signals.next().map_err(Error::Signals)? == Wish::Reload {
        reload(arguments, &driver, journal);
    }
    say(&[NotifyState::Stopping]);
    let counters = driver.counters();
    driver.stop();
    ::log::info!("ended; {} taken away in {} purges", size(counters.freed_bytes), counters.purges);
    Ok(())
}

impl Arguments {
    fn audience(&self) -> Audience {
        if self.system { Audience::Everyone } else { Audience::OwnUser }
    }

    fn listen(&self) -> Result<Listener, Error> {
        if let Some(socket) = passed::socket()? {
            return Ok(Listener::passed(socket, self.audience())?);
        }
        let default = || if self.system { PathBuf::from(address::SYSTEM) } else { address::own() };
        let path = self.socket.clone().unwrap_or_else(default);
        Ok(Listener::bind(&path, self.audience())?)
    }

    /// The policy: a file that was named must be there, the usual one need not be.
    fn policy(&self) -> Result<Policy, Error> {
        let usual = || {
            let path = if self.system { Some("/etc/ashmem/driver.toml".into()) } else { own_policy() };
            path.filter(|path: &PathBuf| std::fs::symlink_metadata(path).is_ok())
        };
        match self.policy.clone().or_else(usual) {
            Some(path) => Ok(Policy::read(&path)?),
            None => Ok(Policy::default()),
        }
    }
}

fn own_policy() -> Option<PathBuf> {
    let is_absolute = |path: &PathBuf| path.is_absolute();
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(is_absolute);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")).filter(is_absolute);
    Some(config.or_else(home)?.join(Path::new("ashmem/driver.toml")))
}

fn describe_limits() {
    let mut source = SystemPressure::new();
    for limit in source.read().headrooms {
        ::log::info!("a limit of {}: {} available", size(limit.limit), size(limit.available));
    }
    source.describe().iter().for_each(|line| ::log::info!("watching {line}"));
}

fn reload(arguments: &Arguments, driver: &Driver, journal: &Journal) {
    let now = NotifyState::monotonic_usec_now().ok();
    say(&std::iter::once(NotifyState::Reloading).chain(now).collect::<Vec<_>>());
    if let Err(error) = journal.reopen() {
        ::log::error!("{}; the old file stays in use", crate::with_causes(&error));
    }
    match arguments.policy() {
        Ok(policy) => {
            driver.reload(policy);
            ::log::info!("the policy was read again");
        }
        Err(error) => ::log::error!("the old policy stays in force: {}", crate::with_causes(&error)),
    }
    say(&[NotifyState::Ready]);
}

/// Tells systemd, if that wants to know (`sd_notify(3)`).
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        let _ = writeln!(std::io::stderr(), "ashmem: systemd cannot be told: {error}");
    }
}
