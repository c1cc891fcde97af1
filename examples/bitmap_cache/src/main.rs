//! The bitmap service and its clients: see the library of the same name.

mod arguments;
mod bench;
mod get;
mod samples;
mod serve;
mod start;
mod viewer;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Work that could not be tried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Impossible(String);

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::View(view) => viewer::run(&view),
        Command::Serve(serve) => serve::run(&serve),
        Command::Get(get) => get::run(&get),
        Command::Bench(bench) => bench::run(&bench),
        Command::Samples(samples) => samples::run(&samples),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "bitmap_cache: {}", printable(&error.to_string()));
            ExitCode::from(if error.is::<Impossible>() { 2 } else { 1 })
        }
    }
}

/// A text of one line that does nothing to a terminal, whatever a file is called.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A line on standard output. Whoever read there may have gone.
fn say(line: &str) {
    let mut output = io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// `3.2 MiB`.
fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
