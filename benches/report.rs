//! What was required, what was measured, and the table of both.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::pair::Medians;

/// What a figure has to be.
#[derive(Clone, Copy)]
pub enum Required {
    /// At least this many times as fast as the reference.
    Speed(f64),
    /// At most this many times the reference's time.
    Cost(f64),
    /// The reference's time, give or take this part of it.
    Same(f64),
    /// At most this time.
    Time(Duration),
    /// At most this time more than the reference.
    Extra(Duration),
    /// Anything: it is good to know.
    Nothing,
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Required::Speed(factor) => write!(f, "speed ≥ {factor}×"),
            Required::Cost(factor) => write!(f, "time ≤ {factor:.2}×"),
            Required::Same(part) => write!(f, "time ± {:.0} %", part * 100.0),
            Required::Time(most) => write!(f, "≤ {}", Time(most.as_nanos() as f64)),
            Required::Extra(most) => write!(f, "≤ {} more", Time(most.as_nanos() as f64)),
            Required::Nothing => write!(f, "–"),
        }
    }
}

/// One measured case. Times are in nanoseconds an operation.
pub struct Row {
    /// Criterion's name for it.
    pub id: String,
    /// The operation.
    pub what: &'static str,
    /// What it is compared with; empty when there is nothing.
    pub reference: &'static str,
    /// Bytes that an operation moves, if that is what it does.
    pub bytes: Option<u64>,
    /// What the rounds say.
    pub found: Medians,
    /// Criterion's median for the operation. It includes what the scheduler did to the samples.
    pub criterion: f64,
    /// What it has to be.
    pub required: Required,
}

impl Row {
    /// The figure that the requirement is about, in its own terms.
    fn ratio(&self) -> Option<f64> {
        let cost = self.found.cost?;
        let is_speed = match self.required {
            Required::Speed(_) => true,
            Required::Nothing => self.bytes.is_some(),
            _ => false,
        };
        Some(if is_speed { 1.0 / cost } else { cost })
    }

    /// The same as people read it.
    fn figure(&self) -> String {
        match (self.required, self.found.extra, self.ratio()) {
            (Required::Extra(_), Some(ns), _) if ns < 0.0 => format!("−{}", Time(-ns)),
            (Required::Extra(_), Some(ns), _) => format!("+{}", Time(ns)),
            (_, _, Some(ratio)) => format!("{ratio:.2}×"),
            _ => "–".into(),
        }
    }

    /// Whether the requirement is met.
    pub fn is_met(&self) -> bool {
        match (self.required, self.ratio()) {
            (Required::Nothing, _) => true,
            (Required::Time(most), _) => self.found.ours <= most.as_nanos() as f64,
            (Required::Extra(most), _) => self.found.extra.is_some_and(|ns| ns <= most.as_nanos() as f64),
            (Required::Speed(least), Some(ratio)) => ratio >= least,
            (Required::Cost(most), Some(ratio)) => ratio <= most,
            (Required::Same(part), Some(ratio)) => (ratio - 1.0).abs() <= part,
            (_, None) => false,
        }
    }

    fn verdict(&self) -> &'static str {
        if self.is_met() { "ok" } else { "MISSED" }
    }

    fn cells(&self) -> [String; 6] {
        let figure = |ns| match self.bytes {
            Some(bytes) => format!("{}, {:.2} GB/s", Time(ns), bytes as f64 / ns),
            None => Time(ns).to_string(),
        };
        let reference = self
            .found
            .reference
            .map_or_else(|| "–".into(), |ns| format!("{}: {}", figure(ns), self.reference));
        [
            self.what.into(),
            figure(self.found.ours),
            reference,
            self.figure(),
            self.required.to_string(),
            self.verdict().into(),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "what": self.what,
            "bytes": self.bytes,
            "ours_ns": self.found.ours,
            "ours_criterion_ns": self.criterion,
            "reference": self.reference,
            "reference_ns": self.found.reference,
            "ratio": self.ratio(),
            "extra_ns": self.found.extra,
            "required": self.required.to_string(),
            "met": self.is_met(),
        })
    }
}

/// The rows as a table in Markdown, aligned for reading as it is.
pub fn markdown(rows: &[Row]) -> String {
    let head = ["what", "ours", "reference", "ratio", "required", ""].map(String::from);
    let body: Vec<_> = rows.iter().map(Row::cells).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        body.iter().chain([&head]).map(|cells| cells[column].chars().count()).max().unwrap_or(0)
    });
    let line = |cells: &[String; 6]| {
        let padded: Vec<_> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule = widths.map(|width| "-".repeat(width));
    let mut table = line(&head) + &line(&rule);
    table.extend(body.iter().map(line));
    table
}

/// The rows for programs.
pub fn json(rows: &[Row]) -> Value {
    Value::Array(rows.iter().map(Row::to_json).collect())
}

/// Nanoseconds, in a unit for people.
struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            ns if ns < 1e3 => (ns, "ns"),
            ns if ns < 1e6 => (ns / 1e3, "µs"),
            ns if ns < 1e9 => (ns / 1e6, "ms"),
            ns => (ns / 1e9, "s"),
        };
        // Three digits that count.
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.decimals$} {unit}")
    }
}
