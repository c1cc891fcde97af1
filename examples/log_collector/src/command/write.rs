//! `write`: logs lines, like `logger(1)` and Android's `log`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use log_collector::{Level, Logger, MESSAGE_MAX, WhenFull};

use crate::Failure;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The log's directory, where a collector is at work, or will be soon
    directory: PathBuf,

    /// The lines to log [default: standard input]
    file: Option<PathBuf>,

    /// The tag of the records
    #[arg(long, default_value = "write")]
    tag: String,

    /// The level of the records: V, D, I, W, E or F
    #[arg(long, default_value = "I")]
    level: Level,

    /// How long to wait for a collector
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let input: Box<dyn Read> = match &arguments.file {
        Some(path) => {
            let opened = File::open(path);
            Box::new(
                opened
                    .map_err(|error| Failure::NotTried(format!("open {}: {error}", path.display()).into()))?,
            )
        }
        None => Box::new(io::stdin()),
    };
    let options = Logger::options().lanes(1).when_full(WhenFull::Wait(arguments.timeout));
    let logger = options.connect(&arguments.directory)?;
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    let mut lost: u64 = 0;
    // A line that is too long is several records.
    while input.by_ref().take(MESSAGE_MAX as u64).read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        lost += u64::from(!logger.log_bytes(arguments.level, arguments.tag.as_bytes(), text));
        line.clear();
    }
    if !logger.flush(arguments.timeout) {
        return Err("no collector has taken all lines".into());
    }
    if lost > 0 {
        return Err(format!("{lost} lines were lost: there was no room for them").into());
    }
    Ok(())
}
