//! Logs that survive their writers: the collector, and what is to be done with its files.

mod bench;
mod command;
mod plot;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Collect the logs of apps from shared memory into compressed files, and look at them
///
/// Exit status: 0 when it was done, 1 when it failed or the log is damaged, 2 for wrong usage or what could not be tried.
#[derive(Debug, Parser)]
#[command(name = "log_collector", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect the logs of all apps that connect, until it is killed
    Collect(command::collect::Arguments),
    /// Log the lines of a file, or of standard input
    Write(command::write::Arguments),
    /// Print what is in a log
    Show(command::show::Arguments),
    /// Log from two processes, kill one and the collector, and compare what is in the files with what was logged
    Demo(command::demo::Arguments),
    /// Measure what a record costs, beside copying it
    Bench(bench::Arguments),
    /// An app of the demo, the benchmark and the tests; its standard input is a region for its counts
    #[command(hide = true)]
    Worker(command::worker::Arguments),
}

/// Why a command did not do what it was to do.
#[derive(Debug)]
enum Failure {
    /// It failed.
    Failed(Box<dyn Error + Send + Sync>),
    /// It could not be tried.
    NotTried(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Collect(arguments) => command::collect::run(&arguments),
        Command::Write(arguments) => command::write::run(&arguments),
        Command::Show(arguments) => command::show::run(&arguments),
        Command::Demo(arguments) => command::demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Worker(arguments) => command::worker::run(&arguments),
    };
    let (error, status) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => (error, 1),
        Err(Failure::NotTried(error)) => (error, 2),
    };
    complain(&error);
    ExitCode::from(status)
}

/// Says what went wrong. Where nobody reads it, the exit status still tells.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "log_collector: {error}");
}

/// Bytes of a size like `1000`, `512K`, `64M` or `1G`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("the unit is K, M or G".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(1 << shift)).filter(|size| *size > 0);
    size.ok_or_else(|| "a number with a unit, like 64M".to_owned())
}

/// Whether the program was told to end.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// A directory that is there until the end of the run. Signals end that in order from now on, as far as [`go_on`] is asked; the second one
/// does at once.
fn temporary() -> Result<(tempfile::TempDir, PathBuf), Failure> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&STOP))?;
        flag::register(signal, Arc::clone(&STOP))?;
    }
    let directory = tempfile::tempdir().map_err(|error| Failure::NotTried(error.into()))?;
    let path = directory.path().join("log");
    Ok((directory, path))
}

/// An error once the program was told to end.
fn go_on() -> Result<(), Failure> {
    if STOP.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}
