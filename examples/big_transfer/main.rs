//! The same payload from one process to another in five ways: in a Binder parcel, over a Unix socket, a pipe and TCP, and as shared
//! memory.
//!
//! [`receiver`] is the other process, [`ways`] are the five, [`measure`] takes the time, [`report`] and [`plot`] show it.

mod measure;
mod payload;
mod plot;
mod receiver;
mod report;
mod sender;
mod ways;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Hand a payload of each size to another process in a Binder parcel, over a Unix socket, a pipe, TCP, and as shared memory
///
/// The time goes from a payload that is whole in the sender's memory to one that the receiver can read. For shared memory that is a
/// call with a descriptor and a mapping; the receiver reads every byte afterwards, in all ways, which is the second table.
///
/// Exit status: 0 when every payload arrived as it was sent, 1 when one did not, 2 when it could not be tried.
#[derive(Debug, Parser)]
#[command(name = "big_transfer", version)]
struct Arguments {
    /// Smallest payload: a number of bytes, or with a unit: 64K, 16M, 1G
    #[arg(long, value_name = "SIZE", default_value = "1K", value_parser = parse_size)]
    from: u64,

    /// Largest payload; each is four times the one before it [default: 1G, or a sixth of the available memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    to: Option<u64>,

    /// How often each payload is sent at least; the medians are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Draw the figures, too
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Print the figures as one JSON document
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The other process; it ends with its standard input
    #[command(hide = true)]
    Receiver,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::Receiver) => receiver::run().map(|()| true),
        None => run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "big_transfer: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let to = match arguments.to {
        Some(to) => to,
        // The payload is there three times: as bytes, as a region, and at the receiver.
        None => (1 << 30).min(available_memory()? / 6).max(arguments.from),
    };
    if arguments.from > to {
        return Err("the smallest payload is larger than the largest one".into());
    }
    let sizes: Vec<u64> =
        std::iter::successors(Some(arguments.from), |size| size.checked_mul(4).filter(|size| *size <= to))
            .collect();
    let figures = measure::run(&sizes, arguments.rounds)?;
    if let Some(path) = &arguments.plot {
        let svg = plot::draw(&figures);
        std::fs::write(path, svg).map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    let text =
        if arguments.json { serde_json::to_string_pretty(&figures)? } else { report::tables(&figures) };
    // Whoever read there may have gone.
    let _ = writeln!(io::stdout(), "{text}");
    Ok(figures.iter().all(|figure| figure.is_right))
}

/// Bytes that the kernel says can be had without swapping.
fn available_memory() -> Result<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .ok_or("/proc/meminfo does not say how much memory is available")?;
    Ok(kib << 10)
}

/// Bytes of a size like `1000`, `512K`, `64M`, `64MiB` or `1G`.
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
    let number: u64 = number.parse().map_err(|_| "a number with a unit, like 64M".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|size| (1..=receiver::LARGEST).contains(size))
        .ok_or_else(|| "from 1 byte to 16G".to_owned())
}
