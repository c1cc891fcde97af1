//! `collect`: the collector.

use std::path::PathBuf;
use std::time::Duration;

use log_collector::{Collector, Error};

use crate::{Failure, complain, parse_size};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the log is; made if there is none
    directory: PathBuf,

    /// Size from which on the next file is begun
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_size)]
    segment_size: u64,

    /// How many files are kept
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    segments: u16,

    /// zstd's level
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,

    /// How often to look for records; sooner when a lane fills up
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// Wait for the disk at each write, so that the log survives a loss of power
    #[arg(long)]
    sync: bool,

    /// End with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.with_parent {
        super::child::end_with_parent();
    }
    let opened = Collector::options()
        .segment_size(arguments.segment_size)
        .segments(arguments.segments.into())
        .compression(arguments.compression)
        .interval(arguments.interval)
        .synchronous(arguments.sync)
        .open(&arguments.directory);
    let mut collector = opened.map_err(|error| match error {
        Error::InUse { .. } => Failure::NotTried(error.into()),
        error => Failure::Failed(error.into()),
    })?;
    loop {
        for error in collector.step()?.errors {
            complain(&error);
        }
    }
}
