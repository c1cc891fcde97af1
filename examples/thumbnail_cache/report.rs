//! How it went, for people and for machines.

use std::fmt::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::crew::Lost;
use super::gallery::Skipped;
use super::run::Figures;

/// How many files that were skipped are named to people.
const NAMED: usize = 8;

/// Something that has to hold.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub held: bool,
}

/// Sizes are in bytes, those of the cache with its index.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Images that were decoded.
    pub images: usize,
    pub skipped: Vec<Skipped>,
    /// What all bitmaps need.
    pub decoded_bytes: u64,
    pub budget_bytes: u64,
    /// The most that was seen in use, and how often was looked.
    pub highest_bytes: u64,
    pub samples: u64,
    pub processes: usize,
    pub rounds: u32,
    /// Workers that ended early.
    pub lost: Vec<Lost>,
    pub lookups: u64,
    pub hits: u64,
    /// Lookups of what was not in the cache yet.
    pub missing: u64,
    /// Lookups of what had gone, or was about to be built.
    pub purged: u64,
    pub rebuilt: u64,
    pub evicted: u64,
    /// How often there was no room, because everything was in use.
    pub waits: u64,
    pub cached: Figures,
    pub uncached: Option<Figures>,
    /// Where the sheet is.
    pub sheet: String,
    pub checks: [Check; 3],
    pub all_held: bool,
}

impl Report {
    /// One JSON document.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// Tables.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        for Skipped { path, reason } in self.skipped.iter().take(NAMED) {
            writeln!(text, "Skipped {}: {}", printable(path), printable(reason))?;
        }
        if self.skipped.len() > NAMED {
            writeln!(text, "Skipped {} more files", self.skipped.len() - NAMED)?;
        }
        for Lost { process, reason } in &self.lost {
            writeln!(text, "Worker process {process} was lost: {}", printable(reason))?;
        }
        writeln!(text, "{}\n\n{}\n", self.of_the_cache(), self.of_time())?;
        for check in self.checks {
            let result = if check.held { "held" } else { "FAILED" };
            writeln!(text, "{}: {result}", check.name.replace('_', " "))?;
        }
        writeln!(text, "The sheet: {}", printable(&self.sheet))
    }

    fn of_the_cache(&self) -> Table {
        let percent = |part: u64, of: u64| format!("{:.0} %", 100.0 * part as f64 / of.max(1) as f64);
        let mut table = table(["The cache", "", ""]);
        let mut row =
            |what: &str, figure: String, note: String| _ = table.add_row([what.to_owned(), figure, note]);
        row("Images", self.images.to_string(), String::new());
        row("All bitmaps", size(self.decoded_bytes), String::new());
        row("Budget", size(self.budget_bytes), percent(self.budget_bytes, self.decoded_bytes));
        row("Most memory seen", size(self.highest_bytes), format!("{} looks", self.samples));
        row("Lookups", self.lookups.to_string(), String::new());
        row("  hits", self.hits.to_string(), percent(self.hits, self.lookups));
        row("  not there yet", self.missing.to_string(), percent(self.missing, self.lookups));
        row("  purged", self.purged.to_string(), percent(self.purged, self.lookups));
        row("Rebuilt", self.rebuilt.to_string(), String::new());
        row("Evicted", self.evicted.to_string(), String::new());
        row("Waits for room", self.waits.to_string(), String::new());
        table
    }

    fn of_time(&self) -> Table {
        let processes = format!("{} processes, {} rounds", self.processes, self.rounds);
        let mut table = table([&processes, "With the cache", "Without"]);
        let mut row = |what: &str, figure: &dyn Fn(&Figures) -> String| {
            let uncached = self.uncached.as_ref().map_or("-".to_owned(), figure);
            table.add_row([what.to_owned(), figure(&self.cached), uncached]);
        };
        row("Visits", &|figures| figures.visits.to_string());
        row("Images decoded", &|figures| figures.decoded.to_string());
        row("Time", &|figures| format!("{:.2} s", figures.seconds));
        table
    }
}

fn table(header: [&str; 3]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table.remove_style(comfy_table::TableComponent::HorizontalLines);
    table.remove_style(comfy_table::TableComponent::MiddleIntersections);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A size in the largest unit of which there is one at least.
pub fn size(bytes: u64) -> String {
    let (value, unit) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..0x10_0000 => (bytes as f64 / 1024.0, "KiB"),
        0x10_0000..0x4000_0000 => (bytes as f64 / 1_048_576.0, "MiB"),
        _ => (bytes as f64 / 1_073_741_824.0, "GiB"),
    };
    format!("{value:.1} {unit}")
}

/// A text of one line that does nothing to a terminal, whatever a file is called.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
