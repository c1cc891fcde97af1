//! A content provider over SQLite, and its clients.
//!
//! The library is the provider and what clients use; these are the [commands](command).

mod command;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::{client, demo, output, serve};
use content_provider::DEFAULT_AUTHORITY;

/// Serve an SQLite database to other processes, or query, change and watch one that is served
///
/// Results of queries travel as cursor windows in shared memory. Providers are found by their authority among the services of the user, or
/// of the address in $ASHMEM_BINDER, unix:///DIRECTORY for instance.
///
/// Values are integers and numbers (42, 1.5), null:, text:TEXT, hex:00FF for bytes, or anything else for text.
///
/// Exit status: 0 when it was done, 1 when not, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "content_provider", version)]
struct Arguments {
    /// The provider's name
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_AUTHORITY)]
    authority: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Query(client::QueryCommand),
    Insert(client::Insert),
    Update(client::Update),
    Delete(client::Delete),
    Watch(client::Watch),
    /// List the tables and views of a provider
    Tables,
    Demo(demo::Demo),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let authority = &arguments.authority;
    let result = match arguments.command {
        Command::Serve(command) => command.run(authority),
        Command::Query(command) => command.run(authority),
        Command::Insert(command) => command.run(authority),
        Command::Update(command) => command.run(authority),
        Command::Delete(command) => command.run(authority),
        Command::Watch(command) => command.run(authority),
        Command::Tables => client::tables(authority),
        Command::Demo(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has what he wanted.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "content_provider: {}", output::printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
