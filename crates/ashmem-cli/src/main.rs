//! The `ashmem` command: shared, purgeable memory on a stock Linux kernel, for the shell and shown at work.

mod bench;
mod cat;
mod daemon;
mod demo;
mod doctor;
mod error;
mod manual;
mod memory;
mod metrics;
mod progress;
mod run;
mod seccomp_agent;
mod served;
mod services;
mod share;
mod signals;
mod text;
mod tools;
mod top;

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
    Share(share::Arguments),
    Cat(cat::Arguments),
    Services(services::Arguments),
    Ls(tools::ls::Arguments),
    Stat(tools::stat::Arguments),
    Purge(tools::purge::Arguments),
    Top(top::Arguments),
    Metrics(metrics::Arguments),
    Doctor(doctor::Arguments),
    Demo(demo::Arguments),
    Daemon(daemon::Arguments),
    Run(run::Arguments),
    SeccompAgent(seccomp_agent::Arguments),
    Bench(bench::Arguments),
    #[command(hide = true)]
    Completions(manual::Completions),
    #[command(hide = true)]
    Manual(manual::Manual),
    /// The other process of `ashmem demo`.
    #[command(hide = true, name = demo::VIEWER_COMMAND)]
    Viewer,
    #[command(hide = true, name = run::SERVER_COMMAND)]
    DeviceServer(run::ServerArguments),
    /// A process of `ashmem bench`.
    #[command(hide = true, name = bench::MEMBER_COMMAND)]
    BenchMember(bench::MemberArguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Command::Run(arguments) = &command {
        return run::run(arguments);
    }
    match run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_CHECK_FAILED),
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "ashmem: {}", with_causes(&*error));
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// Whether everything held that was to be checked.
fn run(command: &Command) -> Result<bool, Box<dyn Error>> {
    match command {
        Command::Share(arguments) => share::run(arguments)?,
        Command::Cat(arguments) => cat::run(arguments)?,
        Command::Services(arguments) => services::run(arguments)?,
        Command::Ls(arguments) => tools::ls::run(arguments)?,
        Command::Stat(arguments) => tools::stat::run(arguments)?,
        Command::Top(arguments) => top::run(arguments)?,
        Command::Metrics(arguments) => metrics::run(arguments)?,
        Command::Purge(arguments) => return Ok(tools::purge::run(arguments)?),
        Command::Doctor(arguments) => return Ok(doctor::run(arguments)?),
        Command::Completions(arguments) => manual::run_completions(arguments)?,
        Command::Manual(arguments) => manual::run_manual(arguments)?,
        Command::Daemon(arguments) => daemon::run(arguments)?,
        Command::SeccompAgent(arguments) => seccomp_agent::run(arguments)?,
        Command::Demo(arguments) => return Ok(demo::run(arguments)?),
        Command::Bench(arguments) => return Ok(bench::run(arguments)?),
        Command::Viewer => demo::run_viewer()?,
        Command::DeviceServer(arguments) => run::run_server(arguments)?,
        // Its exit status is that of the program.
        Command::Run(_) => {}
        Command::BenchMember(arguments) => bench::run_member(arguments)?,
    }
    Ok(true)
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
    text::printable(&line)
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
    }
}
