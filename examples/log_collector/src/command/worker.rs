//! `worker`: an app whose records are known in advance, and which counts, in memory of who started it, what it has logged.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ashmem::{Mapping, Region};
use log_collector::{Clock, Logger, WhenFull};

use super::child::end_with_parent;
use super::script::{THREADS_MAX, count_at, level, message, tag};
use crate::Failure;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    directory: PathBuf,

    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX))]
    threads: u64,

    /// How many records each thread logs
    #[arg(long)]
    records: u64,

    /// How long a thread waits for room in its lane, in milliseconds
    #[arg(long, default_value_t = 60_000)]
    patience: u64,

    #[arg(long, default_value_t = 1 << 20)]
    lane_size: u64,

    #[arg(long)]
    precise: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    end_with_parent();
    let counts = Region::from_fd(io::stdin().as_fd().try_clone_to_owned()?)?.map()?;
    let clock = if arguments.precise { Clock::Precise } else { Clock::Ticks };
    let logger = Logger::options()
        .lane_size(arguments.lane_size)
        .when_full(WhenFull::Wait(Duration::from_millis(arguments.patience)))
        .clock(clock)
        .connect(&arguments.directory)?;
    let threads = 0..arguments.threads;
    thread::scope(|scope| {
        let started: Vec<_> = threads
            .map(|thread| {
                let (logger, counts) = (&logger, &counts);
                scope.spawn(move || log(logger, counts, thread, arguments.records))
            })
            .collect();
        started.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread has panicked")?)
    })?;
    if !logger.flush(Duration::from_secs(60)) {
        return Err("no collector has taken all records".into());
    }
    Ok(())
}

/// Logs, and counts each record right behind that.
fn log(
    logger: &Logger,
    counts: &Mapping,
    thread: u64,
    records: u64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let count = counts.atomic_u64(count_at(thread))?;
    let tag = tag(thread);
    let mut text = String::new();
    for number in 0..records {
        message(number, &mut text);
        if !logger.log(level(number), &tag, &text) {
            return Err("a record was lost".into());
        }
        count.store(number + 1, Ordering::Release);
    }
    Ok(())
}
