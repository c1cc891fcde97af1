//! `show`: what is in a log, as text like `logcat`'s.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use log_collector::{Error, Level, LogReader, Query};

use crate::{Failure, complain};

/// How often to look for more.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The log's directory
    directory: PathBuf,

    /// Only this level and more serious ones: V, D, I, W, E or F
    #[arg(long)]
    level: Option<Level>,

    /// Only this tag, or one of these
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Only records with this text in the message
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only records of this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Only records since then: a time in UTC, as it is printed, or how long ago: 90s, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<u64>,

    /// Wait for more at the end
    #[arg(long)]
    follow: bool,

    /// Print a JSON object for each record
    #[arg(long)]
    json: bool,
}

fn parse_since(text: &str) -> Result<u64, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    since.ok_or_else(|| "a time like 2026-01-31 23:59:59.5, or how long ago: 90s, 2h".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let query = Query {
        level: arguments.level,
        tags: arguments.tags.clone(),
        search: arguments.search.clone(),
        process: arguments.pid,
        since: arguments.since,
    };
    let mut reader =
        LogReader::open(&arguments.directory, query).map_err(|error| Failure::NotTried(error.into()))?;
    let mut output = BufWriter::new(io::stdout().lock());
    match print(&mut reader, &mut output, arguments) {
        // Whoever read there has seen enough.
        Err(Failure::Failed(error)) if is_broken_pipe(&*error) => Ok(()),
        done => done,
    }
}

fn print(reader: &mut LogReader, output: &mut impl Write, arguments: &Arguments) -> Result<(), Failure> {
    let mut damages: u64 = 0;
    loop {
        match reader.next_records() {
            Ok(Some(records)) => {
                for record in records {
                    if arguments.json {
                        writeln!(output, "{}", record.to_json())?;
                    } else {
                        writeln!(output, "{record}")?;
                    }
                }
            }
            Ok(None) if arguments.follow => {
                output.flush()?;
                std::thread::sleep(PAUSE);
            }
            Ok(None) => break,
            Err(error @ Error::Damaged { .. }) => {
                damages += 1;
                complain(&error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    output.flush()?;
    if damages > 0 {
        return Err("not everything in the log could be read".into());
    }
    Ok(())
}

fn is_broken_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
