//! `ashmem top`: regions, memory and purges, as they change.

mod bars;
mod column;
mod look;
mod model;
mod panel;
mod screen;
#[cfg(test)]
mod screens;
mod view;
mod watch;

use std::io::{IsTerminal, stdin, stdout};
use std::time::Duration;

use self::look::Looker;
use crate::error::Error;
use crate::tools::say_to_reader;

/// Watch regions, memory and purges
///
/// A table of the regions that are registered with the driver daemon, or else of those found in /proc; how short
/// memory is, and how long programs waited for it; what was taken away lately; and the pages of the selected region.
/// The keys are shown at the bottom of the screen.
///
/// Exit status: 0; 2 when there is no terminal, or nothing can be looked at.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Seconds between looks; more where looking takes long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    interval: Duration,
    /// Print JSON documents instead, one in each line
    #[arg(long)]
    json: bool,
    /// Print one of them
    #[arg(long, requires = "json")]
    once: bool,
}

/// Shows everything until somebody wants it to end.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    if arguments.json {
        return print(arguments);
    }
    // Output that goes elsewhere, and a terminal for keys alone, are a mistake.
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    screen::run(arguments.interval)
}

/// Prints documents, until nobody reads them.
fn print(arguments: &Arguments) -> Result<(), Error> {
    let mut looker = Looker::new();
    loop {
        let look = looker.look()?;
        // Cannot fail: every key is a string.
        let document = serde_json::to_string(&look).unwrap_or_default() + "\n";
        if !say_to_reader(&document)? || arguments.once {
            return Ok(());
        }
        std::thread::sleep(arguments.interval);
    }
}

/// A number of seconds, which need not be whole.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("not between 0.1 and 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        let parsed = ["1", "0.1", "2.5", "86400"].map(|text| parse_interval(text).expect(text).as_millis());
        assert_eq!(parsed, [1000, 100, 2500, 86_400_000]);
        for text in ["", "0", "-1", "0.01", "1e9", "NaN", "inf", "1s"] {
            assert!(parse_interval(text).is_err(), "{text:?}");
        }
    }
}
