//! `demo`: two apps, of which one is killed, and two collectors, of which the first is. The files must have every record.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ashmem::{Mapping, Region};
use log_collector::{LogReader, Query};

use super::child::Process;
use super::script::{COUNTS, Tally, count_at};
use crate::{Failure, go_on, temporary};

const THREADS: u64 = 2;
/// Lanes that are small, and more records than there is room for in one: who logs so many has a collector.
const LANE_SIZE: u64 = 64 << 10;
const MANY: u64 = 2000;
/// After so long, what should happen does not.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many records each of the four threads logs
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    records: u64,
}

/// An app, and what it says it has logged.
pub struct App {
    pub process: Process,
    counts: Mapping,
}

impl App {
    pub fn start(directory: &Path, threads: u64, arguments: &[String]) -> Result<App, Failure> {
        let region = Region::create("counts", COUNTS)?;
        let counts = region.map()?;
        let stdin: OwnedFd = region.as_fd().try_clone_to_owned()?;
        let process = Process::start(stdin, |command| {
            command.arg("worker").arg(directory).arg(format!("--threads={threads}")).args(arguments);
        });
        Ok(App { process: process.map_err(|error| Failure::NotTried(error.into()))?, counts })
    }

    /// Records that a thread has counted.
    pub fn count(&self, thread: u64) -> Result<u64, Failure> {
        Ok(self.counts.load_u64(count_at(thread))?)
    }

    fn wait_for(&self, records: u64) -> Result<(), Failure> {
        let start = Instant::now();
        while self.count(0)? < records {
            go_on()?;
            if start.elapsed() > DEADLINE {
                return Err("an app does not log".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Starts a collector.
pub fn collector(directory: &Path, arguments: &[&str]) -> Result<Process, Failure> {
    let process = Process::start(std::process::Stdio::null(), |command| {
        command.arg("collect").arg(directory).arg("--with-parent").args(arguments);
    });
    process.map_err(|error| Failure::NotTried(error.into()))
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_kept, directory) = temporary()?;
    let records = arguments.records;
    let mut output = io::stdout().lock();
    let first = collector(&directory, &["--segments=1000"])?;
    let app = |records: u64| {
        let arguments = [format!("--records={records}"), format!("--lane-size={LANE_SIZE}")];
        App::start(&directory, THREADS, &arguments)
    };
    // The one that is to be killed does not end before.
    let (killed, whole) = (app(u64::MAX)?, app(records)?);
    writeln!(
        output,
        "Two apps with two threads each log, one of them {records} records a thread, the other without end."
    )?;

    killed.wait_for(records / 2)?;
    first.kill()?;
    writeln!(output, "The collector is killed. The apps go on.")?;
    let logged = killed.count(0)?;
    let _second = collector(&directory, &["--segments=1000"])?;
    // Who is killed before the second collector has the memory takes it along.
    killed.wait_for(logged + MANY)?;
    let ids = [killed.process.id(), whole.process.id()];
    let counts = killed.counts;
    killed.process.kill()?;
    let counted = [counts.load_u64(count_at(0))?, counts.load_u64(count_at(1))?];
    writeln!(
        output,
        "App {} is killed. It says that it had logged {} and {} records.",
        ids[0], counted[0], counted[1]
    )?;
    if !whole.process.wait()? {
        return Err("the other app has failed".into());
    }

    let tally = settled(&directory, ids[0], counted)?;
    let found = [tally.count(ids[0], 0), tally.count(ids[0], 1)];
    writeln!(output, "The log has {} and {} of them,", found[0], found[1])?;
    let [one, two] = [tally.count(ids[1], 0), tally.count(ids[1], 1)];
    writeln!(output, "and {one} and {two} of app {}, which was not killed. Its end:\n", ids[1])?;
    show_end(&directory, &mut output)?;

    if let Some(wrong) = tally.wrong {
        return Err(format!("a record is not as it should be: {wrong}").into());
    }
    // The last record may be there, and not counted any more.
    let is_right = |found: u64, counted: u64| found == counted || found == counted + 1;
    if [one, two] != [records; 2]
        || !found.into_iter().zip(counted).all(|(found, counted)| is_right(found, counted))
    {
        return Err("the log does not have what was logged".into());
    }
    writeln!(output, "\nEvery record is there, once, in its thread's order, to the byte.")?;
    Ok(())
}

/// The log, once it has what an app that is gone has counted.
fn settled(directory: &Path, process: u32, counted: [u64; 2]) -> Result<Tally, Failure> {
    let start = Instant::now();
    loop {
        go_on()?;
        let tally = Tally::read(directory)?;
        let is_there = (0..).zip(counted).all(|(thread, counted)| tally.count(process, thread) >= counted);
        if is_there || start.elapsed() > DEADLINE {
            return Ok(tally);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn show_end(directory: &Path, output: &mut impl Write) -> Result<(), Failure> {
    let mut reader = LogReader::open(directory, Query::default())?;
    let mut last = Vec::new();
    while let Some(records) = reader.next_records()? {
        last = records;
    }
    for record in last.iter().rev().take(5).rev() {
        writeln!(output, "{record}")?;
    }
    Ok(())
}
