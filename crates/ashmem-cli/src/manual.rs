//! `ashmem completions` and `ashmem manual`: what shells and `man` show, from the same definitions as `--help`.

use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::error::Error;
use crate::tools::say;

/// Write the completions for a shell to standard output
#[derive(Debug, clap::Args)]
pub struct Completions {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Write a manual page for each command
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Where to; it must be there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Writes the completions.
pub fn run_completions(arguments: &Completions) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut visible(), "ashmem", &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Writes the pages.
pub fn run_manual(arguments: &Manual) -> Result<(), Error> {
    clap_mangen::generate_to(visible(), &arguments.directory)
        .map_err(|source| Error::Input { input: arguments.directory.display().to_string(), source })
}

/// The commands that are for people.
fn visible() -> Command {
    let all = crate::Arguments::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("ashmem")
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .subcommands(shown)
}
