//! `ashmem ls`: the regions that processes hold.

use serde::Serialize;

use super::line::{self, Line, cell};
use super::scan::Processes;
use super::seen::{Seen, Source};
use super::{json, mention, say};
use crate::error::{Error, not_looked_at};
use crate::text::{new_table, printable};

/// List regions, what they cost, and who holds them
///
/// Regions with unpinned pages, now or earlier, of all processes that this user may look at: those that are registered
/// with the driver daemon, if there is one; else those that are found as open descriptors in /proc, where a region that
/// is only mapped is not seen. Those that use most memory come first. Looking changes nothing.
///
/// Size is what the region has for data, in memory (or swap) is what that takes now; the rest of the columns say how
/// much of the size is pinned, or held by a lease or guard; unpinned, so that it may be taken away; and purged.
///
/// Exit status: 0, also when there are none; 2 when processes cannot be looked at.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    processes: Processes,
    /// Also list memfds that cannot be purged, or not yet, whoever made them; looks through /proc
    #[arg(long)]
    all: bool,
    /// Look through /proc, also where there is a driver daemon
    #[arg(long)]
    scan: bool,
    /// Say how many processes could not be looked at
    #[arg(long)]
    verbose: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct List {
    source: Source,
    /// The daemon's process.
    driver: Option<u32>,
    regions: Vec<Line>,
    total: Total,
    /// Processes that were looked at, or have registered something.
    processes: u64,
    /// Processes that could not be looked at.
    hidden_processes: u64,
}

/// Sums, in bytes.
#[derive(Debug, Default, Serialize)]
struct Total {
    regions: usize,
    size: u64,
    resident: u64,
    pinned: u64,
    unpinned: u64,
    purged: u64,
}

/// Lists them.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let is_scan = arguments.scan || arguments.all || !arguments.processes.is_all();
    let seen = if is_scan { Seen::scan(&arguments.processes, arguments.all)? } else { Seen::look()? };
    if let Some(trouble) = &seen.trouble {
        mention(trouble);
    }
    if arguments.verbose && seen.hidden > 0 {
        mention(&not_looked_at(seen.hidden));
    }
    let mut regions = seen.regions;
    regions.sort_by(|a, b| {
        b.resident.cmp(&a.resident).then_with(|| (&a.name, a.inode).cmp(&(&b.name, b.inode)))
    });
    let list = List {
        source: seen.source,
        driver: seen.driver.map(|driver| driver.process),
        total: Total::of(&regions),
        regions,
        processes: seen.processes,
        hidden_processes: seen.hidden,
    };
    say(&if arguments.json { json(&list) } else { table(&list) })
}

impl Total {
    fn of(lines: &[Line]) -> Total {
        // Sizes can be anything, for files can be sparse.
        let sum = |of: fn(&Line) -> u64| lines.iter().fold(0, |sum: u64, line| sum.saturating_add(of(line)));
        Total {
            regions: lines.len(),
            size: sum(|line| line.size),
            resident: sum(|line| line.resident),
            pinned: sum(|line| line.pinned),
            unpinned: sum(|line| line.unpinned),
            purged: sum(|line| line.purged),
        }
    }
}

fn table(list: &List) -> String {
    if list.regions.is_empty() {
        return match list.driver {
            None => "There are no regions.\n".to_owned(),
            Some(process) => format!("The driver daemon (process {process}) has no regions.\n"),
        };
    }
    let header = ["Name", "Size", "In memory", "Pinned", "Unpinned", "Purged", "Last unpin", "Held by"];
    let mut table = new_table(&header, &[1, 2, 3, 4, 5, 6]);
    for line in &list.regions {
        let holders = line::holders(&line.holders);
        let holders = match &line.trouble {
            Some(trouble) => format!("{holders}: {}", printable(trouble)),
            None => holders,
        };
        table.add_row([
            line.label(),
            cell(line.size),
            cell(line.resident),
            cell(line.pinned),
            cell(line.unpinned),
            cell(line.purged),
            line.unpinned_for_seconds.map_or_else(|| "–".to_owned(), line::age),
            holders,
        ]);
    }
    let total = &list.total;
    if total.regions > 1 {
        table.add_row([
            format!("{} in all", total.regions),
            cell(total.size),
            cell(total.resident),
            cell(total.pinned),
            cell(total.unpinned),
            cell(total.purged),
            String::new(),
            String::new(),
        ]);
    }
    let source = match list.driver {
        Some(process) => format!("Registered with the driver daemon (process {process})."),
        None => "Found in /proc.".to_owned(),
    };
    format!("{table}\n{source}\n")
}
