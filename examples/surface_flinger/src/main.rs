//! The program: a compositor, producers, both in one go, and what they take.

mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::commands::{bench, compositor, demo, producer};

/// Windows of many processes, composed by one
///
/// Producers draw into queues of shared buffers, a compositor shows them: as PNG files, and in a window of a Wayland compositor. They
/// find each other in the services of the user, or at the address in $ASHMEM_BINDER, unix:///DIRECTORY for instance.
///
/// Exit status: 0 when all was done, 1 when something failed, 2 when it could not be tried.
#[derive(Debug, Parser)]
#[command(name = "surface_flinger", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A compositor and four producers, each a process of its own
    Demo(demo::Arguments),
    /// Compose the windows of all producers
    Compositor(compositor::Arguments),
    /// Show an animation, or a picture, in a window
    Producer(producer::Arguments),
    /// Compose four 1080p producers on one core, and the same in one process
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Compositor(arguments) => compositor::run(&arguments),
        Command::Producer(arguments) => producer::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// A line on standard error. Where nobody reads it, the exit status still tells.
fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "surface_flinger: {}", printable(&what.to_string()));
}

/// A line on standard output. Whoever read there may have gone.
fn say(line: &str) {
    let mut output = io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// A text of one line that does nothing to a terminal, whatever the other process says.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
