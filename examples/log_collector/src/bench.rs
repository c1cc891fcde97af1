//! `bench`: what a record costs the thread that logs it, beside copying it and one atomic operation.

use std::cell::RefCell;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use log_collector::{Clock, Level, Logger};
use serde::Serialize;

use crate::command::demo::{App, collector};
use crate::command::script::Tally;
use crate::{Failure, go_on, plot, temporary};

/// Threads that log.
const THREADS: usize = 2;
const TAG: &str = "bench";
/// Bytes of a record: tag and message.
const RECORD: usize = 100;
/// Bytes of memory that each thread fills and fills again, and of a record's place there.
const MEMORY: usize = 256 << 10;
const PLACE: usize = 104;
/// Records between two rests, in which the memory is emptied off the clock: so many fit.
const BURST: u64 = 2000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often each way is measured; the medians are shown
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,

    /// How many records each of the two threads logs in a round
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,

    /// Draw the figures, too
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Print the figures as one JSON document
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A copy, and a store that publishes it.
    CopyAndStore,
    /// A copy, and an atomic addition to a position of the thread's own.
    CopyAndAdd,
    /// A copy, and an atomic addition to a position that the threads share.
    CopyAndSharedAdd,
    /// A record with the time of the last tick of a millisecond, in a lane that the thread has in its hands.
    ThreadTicks,
    /// The same, in a lane that is found for each record.
    LogTicks,
    /// A record with the time to the nanosecond.
    LogPrecise,
}

impl Way {
    pub const ALL: [Way; 6] = [
        Way::CopyAndStore,
        Way::CopyAndAdd,
        Way::CopyAndSharedAdd,
        Way::ThreadTicks,
        Way::LogTicks,
        Way::LogPrecise,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Way::CopyAndStore => "memcpy, release store",
            Way::CopyAndAdd => "memcpy, one atomic addition",
            Way::CopyAndSharedAdd => "the same, on a shared counter",
            Way::ThreadTicks => "ThreadLogger::log, ticks",
            Way::LogTicks => "Logger::log, ticks",
            Way::LogPrecise => "Logger::log, precise times",
        }
    }
}

/// What a record takes in one way.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub way: Way,
    /// Of one thread, while the other does the same.
    pub nanoseconds: f64,
    /// Of both threads.
    records_per_second: f64,
    /// Times the cost of a copy and an atomic addition.
    ratio: f64,
}

/// What arrives in files while two threads log as fast as they can.
#[derive(Debug, Serialize)]
struct EndToEnd {
    records: u64,
    seconds: f64,
    records_per_second: f64,
    /// Bytes of tags and messages, and of the files.
    bytes: u64,
    file_bytes: u64,
    is_right: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    figures: Vec<Figure>,
    end_to_end: EndToEnd,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let report = Report { figures: measure(arguments)?, end_to_end: end_to_end(arguments.records)? };
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::draw(&report.figures))
            .map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    let mut output = io::stdout().lock();
    if arguments.json {
        writeln!(output, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&mut output, &report)?;
    }
    if !report.end_to_end.is_right {
        return Err("the log does not have what was logged".into());
    }
    Ok(())
}

fn print(output: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(output, "A record of {RECORD} bytes, from each of two threads at once:\n")?;
    for Figure { way, nanoseconds, records_per_second, ratio } in &report.figures {
        let millions = records_per_second / 1e6;
        writeln!(output, "  {:30} {nanoseconds:6.1} ns  {millions:6.1} M/s  {ratio:5.2} x", way.name())?;
    }
    let EndToEnd { records, seconds, records_per_second, bytes, file_bytes, .. } = report.end_to_end;
    writeln!(
        output,
        "\nInto files: {records} records in {seconds:.2} s, {:.2} M/s; {:.1} MB became {:.1} MB.",
        records_per_second / 1e6,
        bytes as f64 / 1e6,
        file_bytes as f64 / 1e6
    )
}

fn measure(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let (_kept, nowhere) = temporary()?;
    let logger = |clock| Logger::options().lane_size(MEMORY as u64).clock(clock).connect(&nowhere);
    let loggers = [logger(Clock::Ticks)?, logger(Clock::Precise)?];
    let shared = AtomicU64::new(0);
    let mut times = Way::ALL.map(|_| Vec::new());
    // The first round warms up.
    for round in 0..=arguments.rounds {
        for (way, times) in Way::ALL.into_iter().zip(&mut times) {
            go_on()?;
            let bursts = time(way, arguments.records, &loggers, &shared)?;
            if round > 0 {
                times.extend(bursts);
            }
        }
    }
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    });
    let [_, base, ..] = medians;
    let figures = Way::ALL.into_iter().zip(medians).map(|(way, nanoseconds)| Figure {
        way,
        nanoseconds,
        records_per_second: THREADS as f64 * 1e9 / nanoseconds,
        ratio: nanoseconds / base,
    });
    Ok(figures.collect())
}

/// Nanoseconds of a record in each burst of both threads.
fn time(way: Way, records: u64, loggers: &[Logger; 2], shared: &AtomicU64) -> Result<Vec<f64>, Failure> {
    let barrier = Barrier::new(THREADS);
    let bursts = thread::scope(|scope| {
        let started: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut memory = vec![1; MEMORY];
                    barrier.wait();
                    match way {
                        Way::ThreadTicks => time_thread_logger(&loggers[0], records),
                        Way::LogTicks => time_log(&loggers[0], records),
                        Way::LogPrecise => time_log(&loggers[1], records),
                        Way::CopyAndSharedAdd => time_copy(&mut memory, records, |place| {
                            _ = shared.fetch_add(place, Ordering::AcqRel)
                        }),
                        Way::CopyAndAdd => {
                            let own = Padded(AtomicU64::new(0));
                            time_copy(&mut memory, records, |place| {
                                _ = own.0.fetch_add(place, Ordering::AcqRel)
                            })
                        }
                        Way::CopyAndStore => {
                            let own = Padded(AtomicU64::new(0));
                            let position = |place| own.0.load(Ordering::Relaxed) + place;
                            time_copy(&mut memory, records, |place| {
                                own.0.store(position(place), Ordering::Release)
                            })
                        }
                    }
                })
            })
            .collect();
        let bursts = started.into_iter().map(|thread| thread.join().map_err(|_| "a thread has panicked"));
        bursts.collect::<Result<Vec<_>, &str>>()
    })?;
    Ok(bursts.concat())
}

/// In cache lines of its own.
#[repr(align(128))]
struct Padded(AtomicU64);

/// The records of a thread: of one length, which the compiler does not know.
fn text() -> String {
    black_box("0123456789".repeat(RECORD / 10))
}

/// Nanoseconds of a record in each burst: a median of many short ones tells of the work, and not of what else the machine does.
fn bursts(records: u64, mut burst: impl FnMut(), mut rest: impl FnMut()) -> Vec<f64> {
    let one = || {
        let start = Instant::now();
        burst();
        let time = start.elapsed();
        rest();
        time.as_nanos() as f64 / BURST as f64
    };
    std::iter::repeat_with(one).take(records.div_ceil(BURST) as usize).collect()
}

fn time_copy(memory: &mut [u8], records: u64, publish: impl Fn(u64)) -> Vec<f64> {
    let text = text();
    let burst = || {
        for place in black_box(&mut *memory).chunks_exact_mut(PLACE).take(BURST as usize) {
            let bytes = black_box(text.as_bytes());
            if let Some(place) = place.get_mut(..bytes.len()) {
                place.copy_from_slice(bytes);
            }
            publish(PLACE as u64);
        }
    };
    bursts(records, burst, || {})
}

fn time_log(logger: &Logger, records: u64) -> Vec<f64> {
    let text = text();
    let message = &text[TAG.len()..];
    let burst = || {
        for _ in 0..BURST {
            logger.log(Level::Info, TAG, black_box(message));
        }
    };
    bursts(records, burst, || logger.discard())
}

fn time_thread_logger(logger: &Logger, records: u64) -> Vec<f64> {
    let text = text();
    let message = &text[TAG.len()..];
    let Some(log) = logger.for_thread() else { return Vec::new() };
    // Both the burst and the rest need it.
    let log = RefCell::new(log);
    let burst = || {
        let mut log = log.borrow_mut();
        for _ in 0..BURST {
            log.log(Level::Info, TAG, black_box(message));
        }
    };
    bursts(records, burst, || log.borrow().discard())
}

/// Two threads of another process log as fast as they can, and a collector writes files.
fn end_to_end(records: u64) -> Result<EndToEnd, Failure> {
    let (_kept, directory) = temporary()?;
    let _collector = collector(&directory, &["--segments=1000"])?;
    let start = Instant::now();
    let app = App::start(&directory, THREADS as u64, &[format!("--records={records}")])?;
    let id = app.process.id();
    if !app.process.wait()? {
        return Err("the app has failed".into());
    }
    let seconds = start.elapsed().as_secs_f64();
    let tally = Tally::read(&directory)?;
    let is_right =
        tally.wrong.is_none() && (0..THREADS as u64).all(|thread| tally.count(id, thread) == records);
    let mut file_bytes = 0;
    for entry in std::fs::read_dir(&directory)? {
        file_bytes += entry?.metadata()?.len();
    }
    let records = records * THREADS as u64;
    let bytes = tally.bytes;
    Ok(EndToEnd {
        records,
        seconds,
        records_per_second: records as f64 / seconds,
        bytes,
        file_bytes,
        is_right,
    })
}
