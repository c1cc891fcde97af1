//! Two services that share memory with their clients, each in a process of its own.
//!
//! [`memory`] is the first: it keeps a number in a memory file and hands out the descriptor, so clients read it where it is.
//! [`message`] is the second: its clients send the descriptor, and it reads their text. [`server`] registers both, [`client`] is
//! what uses them, [`terminal`] what a person can do with that, and [`demo`] runs one of each.

mod client;
mod demo;
mod memory;
mod message;
mod server;
mod terminal;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A service keeps a number in shared memory, its clients read it there; another reads texts out of memory that it is sent
///
/// Without a command it starts the server as a process of its own, and is its client. Services are those of the user, or of the
/// address in $ASHMEM_BINDER, unix:///DIRECTORY for instance.
#[derive(Debug, Parser)]
#[command(name = "memory_service", version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serve both, until it is killed
    Server {
        /// End when standard input does
        #[arg(long, hide = true)]
        until_input_ends: bool,
    },
    /// Use both: write each VALUE and read it back, then send a text; without a VALUE, do what standard input says
    Client {
        #[arg(value_name = "VALUE", allow_negative_numbers = true)]
        values: Vec<i32>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().role {
        None => demo::run(),
        Some(Role::Server { until_input_ends }) => server::run(until_input_ends),
        Some(Role::Client { values }) if values.is_empty() => terminal::run(),
        Some(Role::Client { values }) => client::run(&values),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "memory_service: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// A line on standard output. Whoever read there may have gone.
fn say(line: &str) {
    let mut output = io::stdout();
    let _ = writeln!(output, "{}", printable(line)).and_then(|()| output.flush());
}

/// A text of one line that does nothing to a terminal, whatever the other process says.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
