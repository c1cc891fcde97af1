//! The program: decodes files, serves codecs, compares.

mod command;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use media_codec::ServiceOptions;

/// Decode audio and images in a process of their own that can do nothing but compute
///
/// Exit status: 0 when all went well, 1 when a file could not be decoded, 2 when nothing could be tried.
#[derive(Debug, Parser)]
#[command(name = "media_codec", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decode WAV, FLAC, MP3, PNG and JPEG files, each in a new decoder; those that are malformed do no harm
    ///
    /// Uses the codec service at the address in $ASHMEM_BINDER, unix:///DIRECTORY for instance; without that, it starts one for itself.
    Decode(Decode),
    /// Serve codecs to other processes, at the address in $ASHMEM_BINDER or in the user's own place, until it is killed
    Service(Service),
    /// Compare with decoding in the client's own process
    Bench(Bench),
    /// A decoder; the service starts it
    #[command(hide = true)]
    Decoder(Decoder),
}

#[derive(Debug, Args)]
struct Decode {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write what comes out there: audio as WAV, images as PNG
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,

    /// Give up on a decoder that says nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,

    /// Print what was decoded as one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, Args)]
struct Service {
    #[command(flatten)]
    limits: Limits,

    /// End when standard input does
    #[arg(long, hide = true)]
    until_input_ends: bool,

    /// Let decoders do wrong when they are told to
    #[arg(long, hide = true)]
    faults: bool,
}

#[derive(Debug, Args)]
struct Limits {
    /// Memory for each decoder in MiB: its address space; two fifths of it are the largest image
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(32..=1_048_576))]
    memory: u64,

    /// Processor time that a decoder may take from one buffer to the next, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    deadline: u64,

    /// Codecs at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    codecs: u32,
}

#[derive(Debug, Args)]
struct Bench {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How often each file is decoded each way; the medians are shown
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Draw the figures, too
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Print the figures as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Decoder {
    #[arg(long)]
    memory: u64,
    #[arg(long)]
    parent: i32,
    #[arg(long)]
    faults: bool,
}

impl Limits {
    fn options(&self) -> ServiceOptions {
        ServiceOptions {
            memory: self.memory << 20,
            deadline: Duration::from_millis(self.deadline),
            codecs: self.codecs,
            ..ServiceOptions::default()
        }
    }

    /// The arguments that say the same.
    fn arguments(&self) -> [String; 6] {
        let (memory, deadline, codecs) = (self.memory, self.deadline, self.codecs);
        [
            "--memory",
            &memory.to_string(),
            "--deadline",
            &deadline.to_string(),
            "--codecs",
            &codecs.to_string(),
        ]
        .map(str::to_owned)
    }
}

/// How a command failed.
#[derive(Debug)]
enum Failure {
    /// Some of the work, and that was said already.
    Work,
    /// All of it; nothing was tried.
    Trial(String),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Decode(arguments) => command::decode::run(&arguments),
        Command::Service(arguments) => command::service::run(&arguments),
        Command::Bench(arguments) => command::bench::run(&arguments),
        Command::Decoder(Decoder { memory, parent, faults }) => {
            media_codec::decoder::run(media_codec::decoder::Options { memory, parent, faults })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Work) => ExitCode::from(1),
        Err(Failure::Trial(reason)) => {
            complain(&reason);
            ExitCode::from(2)
        }
    }
}

/// A line on standard error. Where nobody reads it, the exit status still tells.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "media_codec: {}", printable(line));
}

/// A line on standard output. Whoever read there may have gone; that it is full is a failure.
fn say(line: &str) -> Result<(), Failure> {
    let mut output = io::stdout();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("write to standard output: {error}"));
            Err(Failure::Work)
        }
        _ => Ok(()),
    }
}

/// A text of one line that does nothing to a terminal, whatever a file or its name has in it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
