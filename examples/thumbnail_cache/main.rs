//! Several processes share the decoded bitmaps of a directory's images through one `Cache`, within a budget of memory.
//!
//! [`run`] is the story from the parent's side: [`gallery`] finds the images, [`crew`] starts worker processes and hears from
//! them over a [`channel`], [`report`] says how it went. [`worker`] is what each of them does. [`bitmap`] is what an entry of the
//! cache looks like, [`sheet`] where the thumbnails go, [`output`] the file that they end up in.

mod arguments;
mod bitmap;
mod channel;
mod crew;
mod gallery;
mod output;
mod plain;
mod progress;
mod report;
mod run;
mod samples;
mod sheet;
mod worker;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

/// What goes wrong here has a message, and nobody asks for more.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Not everything that was promised held.
const EXIT_CHECK_FAILED: u8 = 1;
/// The program could not do its work.
const EXIT_TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.worker { worker::run().map(|()| true) } else { show(&arguments) };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_CHECK_FAILED),
        Err(error) => {
            // Where nobody reads the message, the exit code still tells.
            let _ = writeln!(io::stderr(), "thumbnail_cache: {}", report::printable(&error.to_string()));
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// Everything; true when every check held.
fn show(arguments: &Arguments) -> Result<bool> {
    let report = run::run(arguments)?;
    let text = if arguments.json { report.to_json() } else { report.to_text() };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Whoever read has seen enough, and the exit code tells the rest.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        result => result?,
    }
    Ok(report.all_held)
}
