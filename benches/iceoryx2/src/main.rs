//! A stream of 64 MiB frames to another process: this library's pool against iceoryx2's publish and subscribe.
//!
//! ```text
//! ci/bench-iceoryx2               half a minute, longer when others use the cores
//! ci/bench-iceoryx2 --strict      fails when the pool is behind
//! ```
//!
//! Both sides keep their memory mapped in both processes and fill and sum it with the same code; what differs is how a frame is had,
//! handed over and given back. The pool runs twice, as it is and with its option for huge pages, for which iceoryx2 has no counterpart:
//! it is what puts the pool ahead. All run in turns, frame by frame, in several sessions with fresh processes and fresh memory,
//! because which physical pages a side happened to get makes more of a difference than what it does.
//!
//! iceoryx2 is used as its examples show for large data: one publisher, one subscriber, no history, slices that are
//! loaned uninitialised and written in place, and events of the same name to wake the receiver, there and back.
//!
//! The consumer is this program again. Services carry the process's number in their names, under a prefix of their own, so what a
//! killed run has left is in nobody's way; iceoryx2 removes it when the next run makes its first node.

#[path = "../../frame.rs"]
#[allow(dead_code, reason = "the workspace's benchmarks use the rest")]
mod frame;
mod iceoryx;

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ashmem::Pool;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use frame::{FRAME, Link, consume_pooled, produce_pooled};
use iceoryx::{Publisher, consume_published};

/// Times that everything is made anew, as far as there is time.
const SESSIONS: usize = 20;
const LONGEST: Duration = Duration::from_secs(120);

/// Frames of each side in a session that count, after some that do not.
const ROUNDS: usize = 200;
const WARM_UP: usize = 5;

const CONSUMER: &str = "--consumer";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => compare(false),
        ["--strict"] => compare(true),
        [CONSUMER, cpu, ref rest @ ..] => consume(ok(cpu.parse()), rest),
        _ => fail("the only argument is --strict"),
    }
}

/// The sides, in the order of their figures.
const NAMES: [&str; 3] = ["pool", "pool with huge pages", "iceoryx2"];
const PLAIN: usize = 0;
const HUGE: usize = 1;
const THEIRS: usize = 2;

fn compare(strict: bool) -> ExitCode {
    let cpus = two_cpus();
    stay_on(cpus[0]);
    let start = Instant::now();
    let mut all = Vec::new();
    for session in (0..SESSIONS).take_while(|_| start.elapsed() < LONGEST) {
        let rounds = measure(session, cpus[1]);
        println!("session {:2}: {}; huge {}", session + 1, ratio(&rounds, PLAIN), ratio(&rounds, HUGE));
        all.extend(rounds);
    }
    for (side, name) in NAMES.iter().enumerate() {
        let Spread { low, median, .. } = Spread::of(all.iter().map(|round| round[side]));
        let speed = |seconds: f64| FRAME as f64 / 1e9 / seconds;
        println!("{name}: {:.2} GB/s, the faster quarter above {:.2} GB/s", speed(median), speed(low));
    }
    println!("speed over iceoryx2's, median of {} rounds (and half of them), required: 1", all.len());
    for side in [PLAIN, HUGE] {
        println!("{}: {}", NAMES[side], ratio(&all, side));
    }
    if strict && ratio(&all, HUGE).median < 1.0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A side's speed by iceoryx2's in the same round.
fn ratio(rounds: &[[f64; 3]], side: usize) -> Spread {
    Spread::of(rounds.iter().map(|round| round[THEIRS] / round[side]))
}

/// Seconds that a frame took on each side, in each round of a session.
fn measure(session: usize, cpu: usize) -> Vec<[f64; 3]> {
    // Who comes first gets the better memory, maybe.
    let mut sides: [Option<Box<dyn Produce>>; 3] = [None, None, None];
    for place in 0..sides.len() {
        let side = (session + place) % sides.len();
        sides[side] = Some(match side {
            PLAIN => Box::new(Pooled::start(cpu, false)),
            HUGE => Box::new(Pooled::start(cpu, true)),
            _ => Box::new(Publisher::start(cpu, session)),
        });
    }
    let mut rounds = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let value = (round + 1) as u8;
        let mut times = [0.0; 3];
        for place in 0..sides.len() {
            // Who comes next finds the caches as the last one has left them: each is before and after each other one.
            let step = if round.is_multiple_of(2) { place } else { sides.len() - place };
            let side = (round + step) % sides.len();
            if let Some(producer) = &sides[side] {
                times[side] = seconds(|| producer.produce(value));
            }
        }
        if round >= WARM_UP {
            rounds.push(times);
        }
    }
    rounds
}

/// A side's producer, with its consumer.
trait Produce {
    /// Has a frame of this value summed by the consumer.
    fn produce(&self, value: u8);
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// This library's side.
struct Pooled {
    pool: Pool,
    /// None only while it is dropped: the consumer ends with it.
    link: Option<Link>,
    consumer: Child,
}

impl Pooled {
    fn start(cpu: usize, huge_pages: bool) -> Pooled {
        let options = Pool::options();
        let pool = if huge_pages { options.huge_pages() } else { options }.build();
        let (ours, theirs) = ok(UnixStream::pair());
        let consumer = spawn_consumer(cpu, &["pool"], Stdio::from(OwnedFd::from(theirs)));
        Pooled { pool, link: Some(Link::new(ours)), consumer }
    }
}

impl Produce for Pooled {
    fn produce(&self, value: u8) {
        match &self.link {
            Some(link) => produce_pooled(&self.pool, link, value),
            None => fail("the consumer has ended"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.link = None;
        ok(self.consumer.wait());
    }
}

fn spawn_consumer(cpu: usize, arguments: &[&str], stdin: Stdio) -> Child {
    ok(Command::new(ok(std::env::current_exe()))
        .args([CONSUMER, &cpu.to_string()])
        .args(arguments)
        .stdin(stdin)
        .spawn())
}

/// The main function of the consumer.
fn consume(cpu: usize, arguments: &[&str]) -> ExitCode {
    // One that waits for iceoryx2's events would not notice that its producer was killed.
    ok(set_parent_process_death_signal(Some(Signal::KILL)));
    if getppid().is_none_or(|parent| parent.is_init()) {
        fail("the producer has ended");
    }
    stay_on(cpu);
    match arguments {
        ["pool"] => consume_pooled(&Link::new(ok(std::io::stdin().as_fd().try_clone_to_owned()).into())),
        ["iceoryx2", name] => consume_published(name),
        _ => fail("a consumer needs to know of whom"),
    }
    ExitCode::SUCCESS
}

/// The first two cores that this process may use.
fn two_cpus() -> [usize; 2] {
    let allowed = ok(sched_getaffinity(None));
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => [first, second],
        _ => fail("two cores are needed"),
    }
}

fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    ok(sched_setaffinity(None, &only));
}

/// The median, and what half of the values are between.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        Spread { low: at(1), median: at(2), high: at(3) }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.low, self.high)
    }
}

/// The value. A benchmark that cannot run ends the process.
fn ok<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(error),
    }
}

#[cold]
fn fail(error: impl Display) -> ! {
    eprintln!("cannot run the comparison: {error}");
    std::process::exit(1)
}
