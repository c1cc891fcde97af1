//! What the library costs, as ratios to what it stands on: system calls, `memcpy`, atomics.
//!
//! ```text
//! cargo bench                         everything, about two minutes
//! cargo bench -- pins                 what has "pins" in its name
//! cargo bench -- --quick              rough figures
//! cargo bench -- --strict             fails when a requirement is missed (or ASHMEM_BENCH_STRICT=1)
//! ```
//!
//! Criterion runs every case and keeps its statistics; [`pair`] runs the two sides of a ratio in turns, so
//! that a machine that gets slower or faster meanwhile changes both. The figures are printed at the end and written to
//! `ratios.md` and `ratios.json` in the target directory.
//!
//! The comparison with iceoryx2 is a package of its own, for its dependencies' sake: `ci/bench-iceoryx2` runs it.

mod binder;
mod contention;
mod cutils;
mod device;
mod frame;
mod java;
mod leases;
mod memory;
mod pair;
mod pins;
mod pool;
mod processes;
mod purge;
mod purgeable;
mod report;
mod ring;
mod suite;

use std::fmt::Display;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use suite::Suite;

const STRICT: &str = "ASHMEM_BENCH_STRICT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, rest @ ..] = &arguments[..] {
        if flag == processes::PEER {
            return processes::peer(rest);
        }
        if flag == ring::PEER {
            return ring::peer(rest);
        }
        if flag == binder::SERVER {
            return binder::server(rest);
        }
        if flag == device::WORKER {
            return device::worker(rest);
        }
        if flag == pool::CONSUMER {
            return pool::consumer(rest);
        }
    }
    if arguments.iter().any(|argument| argument == "--strict") {
        restart_strict(&arguments);
    }
    let mut suite = Suite::new(&arguments);
    pins::run(&mut suite);
    leases::run(&mut suite);
    memory::run(&mut suite);
    purge::run(&mut suite);
    purgeable::run(&mut suite);
    contention::run(&mut suite);
    processes::run(&mut suite);
    ring::run(&mut suite);
    pool::run(&mut suite);
    cutils::run(&mut suite);
    device::run(&mut suite);
    binder::run(&mut suite);
    java::run(&mut suite);
    let all_met = suite.finish();
    let strict = std::env::var_os(STRICT).is_some_and(|value| value != "0");
    if strict && !all_met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Criterion refuses arguments that it does not know, so this one becomes a variable of the environment.
fn restart_strict(arguments: &[String]) -> ! {
    let program = ok(std::env::current_exe());
    let others = arguments.iter().filter(|argument| *argument != "--strict");
    fail(Command::new(program).args(others).env(STRICT, "1").exec())
}

/// The value. A benchmark that cannot run ends the process.
#[inline]
fn ok<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(error),
    }
}

#[cold]
fn fail(error: impl Display) -> ! {
    eprintln!("cannot run the benchmarks: {error}");
    std::process::exit(1)
}
