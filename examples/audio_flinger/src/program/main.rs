//! The program: a mixer, its clients, and all of them at once.

mod bench;
mod figures;
mod mixer;
mod play;
mod player;
mod plot;
mod process;
mod report;
mod tone;
mod track;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Sound of many processes, mixed by one: each client decodes a file into shared memory, the mixer resamples and adds
///
/// Services are those of the user, or of the address in $ASHMEM_BINDER, unix:///DIRECTORY for instance; `play` and `bench` have their
/// own. Exit status: 0 when all went well, 1 when something could not be played or written, 2 for what could not be tried.
#[derive(Debug, Parser)]
#[command(name = "audio_flinger", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play files at the same time: a mixer, and a client for each file
    Play(play::Arguments),
    /// Run a mixer alone, until its input ends
    Mixer(mixer::Arguments),
    /// Play one file through a mixer that runs
    Track(track::Arguments),
    /// Make a sound to play: a tone, as a WAV file
    Tone(tone::Arguments),
    /// Measure: many low-latency tracks in real time, all processes on one core, and the same sound mixed in one process
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Play(arguments) => play::run(&arguments),
        Command::Mixer(arguments) => mixer::run(&arguments),
        Command::Track(arguments) => track::run(&arguments),
        Command::Tone(arguments) => tone::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // In one piece, as several processes may have something to say. Where nobody reads it, the exit code still tells.
            let message = format!("audio_flinger: {}\n", printable(&error.to_string()));
            let _ = io::stderr().write_all(message.as_bytes());
            ExitCode::from(if error.is::<Unusable>() { 2 } else { 1 })
        }
    }
}

/// What cannot be tried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unusable(String);

/// A line on standard output. Whoever read there may have gone.
fn say(line: &str) {
    let mut output = io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// A text of one line that does nothing to a terminal, whatever a file is called.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
