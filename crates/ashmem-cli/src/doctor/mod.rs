//! `ashmem doctor`: what this system supports, and what to do about what is missing.

mod driver;
mod files;
mod limits;
mod system;

use std::fmt::Write;

use serde::Serialize;

use crate::error::Error;
use crate::text::printable;
use crate::tools::{json, say};

/// Say what this system supports, and what to do about what is missing
///
/// Each feature is tried out once, on a memfd of this command's own.
///
/// Exit status: 0; 1 when something is missing that everything needs.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Print one JSON document instead of a text
    #[arg(long)]
    json: bool,
}

/// How it is with a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// There is less of it than there could be.
    Limited,
    Missing,
}

/// A feature. The names are those of the JSON document.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    feature: &'static str,
    state: State,
    /// For who uses regions.
    meaning: String,
    /// What to do about it.
    advice: Option<String>,
    /// Whether nothing works without it.
    needed: bool,
}

impl Finding {
    fn ok(feature: &'static str, meaning: impl Into<String>) -> Finding {
        Finding { feature, state: State::Ok, meaning: meaning.into(), advice: None, needed: false }
    }

    fn limited(feature: &'static str, meaning: impl Into<String>, advice: impl Into<String>) -> Finding {
        let advice = Some(advice.into());
        Finding { feature, state: State::Limited, meaning: meaning.into(), advice, needed: false }
    }

    fn missing(feature: &'static str, meaning: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { state: State::Missing, ..Finding::limited(feature, meaning, advice) }
    }

    fn needed(self) -> Finding {
        Finding { needed: true, ..self }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether there is everything that everything needs.
    usable: bool,
    findings: Vec<Finding>,
}

/// Tries everything out, and says whether there is what everything needs.
pub fn run(arguments: &Arguments) -> Result<bool, Error> {
    let mut findings = vec![files::memfd(), files::seals(), files::future_write(), files::holes()];
    findings.extend([files::proc(), files::locks()]);
    findings.extend([system::stalls(), system::cgroups(), system::swap(), system::huge_pages()]);
    findings.push(driver::daemon());
    findings.extend([system::seccomp(), system::binder(), limits::services(), limits::descriptors()]);
    let usable = !findings.iter().any(|finding| finding.needed && finding.state == State::Missing);
    let report = Report { usable, findings };
    say(&if arguments.json { json(&report) } else { text(&report) })?;
    Ok(usable)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{state:<8} {:<22} {}", finding.feature, printable(&finding.meaning));
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "{:<31} -> {}", "", printable(advice));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_advice() {
        let findings =
            vec![Finding::ok("one", "good"), Finding::missing("two", "bad\n", "do something").needed()];
        let shown = text(&Report { usable: false, findings });
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.starts_with("ok       one ") && shown.contains("-> do something"), "{shown}");
    }
}
