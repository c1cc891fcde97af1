//! The `ashmem` command: shared, purgeable memory on a stock Linux kernel, shown at work.

mod demo;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Not everything that was promised held.
const EXIT_CHECK_FAILED: u8 = 1;
/// The command could not do its work: wrong usage, unreadable files, a system call that failed.
const EXIT_TROUBLE: u8 = 2;

/// Android's ashmem for a stock Linux kernel: shared memory whose pages can be taken away while nobody needs them.
#[derive(Parser)]
#[command(name = "ashmem", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    /// The other process of `ashmem demo`.
    #[command(hide = true, name = demo::VIEWER_COMMAND)]
    Viewer,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Viewer => demo::run_viewer().map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_CHECK_FAILED),
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "ashmem: {}", with_causes(&error));
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// An error and its causes in one line. A cause that its effect quotes already is not said twice.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    printable(&line)
}

/// A text of one line that does nothing to a terminal, whatever a file is called.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn causes_are_said_once_and_in_one_line() {
        let cause = io::Error::from_raw_os_error(12);
        let system = ashmem::Error::System { operation: "map region", source: cause };
        let line = with_causes(&demo::Error::Region(system));
        assert_eq!(line.matches("Cannot allocate memory").count(), 1, "{line}");
        assert_eq!(printable("a\nb\x1b[K"), "a\u{fffd}b\u{fffd}[K");
    }
}
