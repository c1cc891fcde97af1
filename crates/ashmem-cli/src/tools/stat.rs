//! `ashmem stat`: one region in detail.

use std::ffi::OsString;
use std::fmt::Write;

use ashmem::{Reclaimer, page_size};
use rustix::fs::{SealFlags, fcntl_get_seals};
use serde::Serialize;

use super::line::{self, Line};
use super::map::{Picture, Stretch, each_stretch};
use super::open::Access;
use super::scan::Processes;
use super::{Target, json, list, open_region, say};
use crate::error::Error;
use crate::text::{printable, size};

/// So many stretches of pages are in a JSON document, at most.
const MOST: usize = 10_000;

/// Show one region in detail, with a map of its pages
///
/// The region is named by its name, or as PID:FD by a descriptor of a process; so can any other memfd be. Looking
/// changes nothing.
///
/// Exit status: 0; 2 when there is no such region or it cannot be looked at, or when several have that name, which
/// are listed then.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Which region
    #[arg(value_name = "NAME|PID:FD")]
    region: OsString,
    /// Print one JSON document instead of a text
    #[arg(long)]
    json: bool,
}

/// The names are those of the JSON document.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    line: Line,
    seals: Vec<String>,
    /// What mappings may do, as in `/proc/PID/maps`.
    protection: String,
    /// In bytes.
    page_size: u64,
    /// Stretches of pages that are alike.
    pages: Vec<Stretch>,
    /// How many stretches there are more.
    pages_left_out: usize,
}

/// Shows it.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut found = Target::parse(&arguments.region).find(Processes::default().scan()?)?;
    let file = match (found.pop(), found.is_empty()) {
        (Some(file), true) => file,
        (last, _) => {
            found.extend(last);
            let places = list(found.iter().filter_map(|file| file.places().next()));
            let name = printable(&arguments.region.to_string_lossy());
            return Err(Error::SeveralRegions { name, count: found.len(), places });
        }
    };
    // Nobody watches what is only looked at.
    let region = open_region(&file, Access::Read, Reclaimer::global())?;
    let mut line = Line::from_file(&file);
    line.describe(&region)?;
    let mut pages = Vec::new();
    let mut pages_left_out = 0;
    let mut picture = Picture::new(region.size());
    each_stretch(&region, |stretch| {
        picture.add(&stretch);
        if pages.len() < MOST {
            pages.push(stretch);
        } else {
            pages_left_out += 1;
        }
    })?;
    let seals = fcntl_get_seals(&region).map_err(|errno| Error::Read(errno.into()))?;
    let protection = region.protection()?.to_string();
    let report =
        Report { line, seals: names(seals), protection, page_size: page_size(), pages, pages_left_out };
    say(&if arguments.json { json(&report) } else { text(&report, &picture) })
}

/// What they are called, and the bits that have no name.
fn names(seals: SealFlags) -> Vec<String> {
    const NAMES: [(u32, &str); 6] =
        [(1, "seal"), (2, "shrink"), (4, "grow"), (8, "write"), (16, "future_write"), (32, "exec")];
    let known = NAMES.iter().fold(0, |known, (bit, _)| known | bit);
    let mut names: Vec<_> =
        NAMES.iter().filter(|(bit, _)| seals.bits() & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    if seals.bits() & !known != 0 {
        names.push(format!("{:#x}", seals.bits() & !known));
    }
    names
}

fn text(report: &Report, picture: &Picture) -> String {
    let line = &report.line;
    let part = |bytes: u64| format!("{} ({} bytes)", size(bytes), bytes);
    let mut text = String::new();
    let mut add = |what: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{what:<14}{value}");
    };
    add("Name", &line.label());
    add("Inode", &line.inode.to_string());
    add("Size", &part(line.size));
    add("In memory", &part(line.resident));
    add("Pinned", &part(line.pinned));
    add("Unpinned", &part(line.unpinned));
    add("Purged", &part(line.purged));
    add("Last unpin", &line.unpinned_for_seconds.map_or_else(|| "–".to_owned(), line::age));
    add("Control block", if line.control_block { "yes" } else { "no: nothing of it can be purged yet" });
    add("Seals", &if report.seals.is_empty() { "none".to_owned() } else { report.seals.join(", ") });
    add("Protection", &report.protection);
    for (index, holder) in line.holders.iter().enumerate() {
        let descriptors: Vec<String> = holder.descriptors.iter().take(8).map(u32::to_string).collect();
        let more = if holder.descriptors.len() > 8 { ", …" } else { "" };
        let (process, command) = (holder.process, printable(&holder.command));
        let held = format!("{process} {command} (descriptors {}{more})", descriptors.join(", "));
        add(if index == 0 { "Held by" } else { "" }, &held);
    }
    format!("{text}\n{picture}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_seals_are_shown_by_their_bits() {
        assert!(names(SealFlags::empty()).is_empty());
        let some = SealFlags::SHRINK | SealFlags::FUTURE_WRITE | SealFlags::from_bits_retain(0x4020);
        assert_eq!(names(some), ["shrink", "future_write", "exec", "0x4000"]);
    }
}
