//! `ashmem metrics`: the driver daemon's counters.

use ashmem::driver::address;
use ashmem_driver::ask;

use crate::error::Error;
use crate::text::printable;
use crate::tools::say;

/// Print the driver daemon's counters for Prometheus
///
/// The text format, which node_exporter takes as files: have it look at a directory with
/// --collector.textfile.directory=DIR, and run this every minute, from cron or a systemd timer:
///
///     ashmem metrics > DIR/ashmem.prom.new && mv DIR/ashmem.prom.new DIR/ashmem.prom
///
/// Exit status: 0; 2 when there is no driver daemon, or it does not answer.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {}

/// Prints them.
pub fn run(_: &Arguments) -> Result<(), Error> {
    match ask::metrics()? {
        Some(text) => say(&harmless(&text)),
        None => Err(Error::NoDriver { places: places() }),
    }
}

/// The text as it is, but for what controls a terminal: names of cgroups can have anything in them.
fn harmless(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// Where there is none.
fn places() -> String {
    let candidates = address::candidates();
    let places: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
    match places.as_slice() {
        [] => format!(", as {} says that none is to be asked", address::VARIABLE),
        places => format!(" at {}: ashmem daemon starts one", places.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        assert_eq!(harmless("a 1\nb{c=\"\x1b[2J\"} 2\n"), "a 1\nb{c=\"\u{fffd}[2J\"} 2\n");
        assert_eq!(harmless(""), "");
    }
}
