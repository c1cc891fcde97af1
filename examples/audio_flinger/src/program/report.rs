//! Figures as text.

use std::fmt::Write;
use std::path::Path;

use super::bench::Measured;
use super::figures::{Mixed, Played, Quantiles};
use super::play::Outcome;
use super::printable;

pub fn played(file: &Path, played: &Played) -> String {
    let seconds = played.frames as f64 / f64::from(played.rate.max(1));
    let mut text =
        format!("{}: {seconds:.2} s, {}", printable(&file.display().to_string()), underruns(played));
    if played.damaged > 0 {
        let _ = write!(text, ", {} damaged parts left out", played.damaged);
    }
    text
}

pub fn mixed(mixed: &Mixed) -> String {
    let report = &mixed.report;
    let seconds = (report.periods * mixed.period) as f64 / f64::from(mixed.rate.max(1));
    let mut text = format!(
        "mixer: {seconds:.2} s of {} tracks at {} Hz, {} underruns of {} frames, {} late periods",
        report.tracks, mixed.rate, report.underruns, report.underrun_frames, report.late_periods
    );
    if report.broken > 0 {
        let _ = write!(text, ", {} broken tracks", report.broken);
    }
    if let Some(times) = Quantiles::of(&report.mixing) {
        let period = mixed.period as f64 * 1000.0 / f64::from(mixed.rate.max(1));
        let _ = write!(text, "\nmixing a period of {period:.1} ms: {}", quantiles(&times));
    }
    if let Some(failure) = &mixed.failure {
        let _ = write!(text, "\n{}", printable(failure));
    }
    text
}

pub fn outcome(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome
        .files
        .iter()
        .map(|file| {
            let mut line = match &file.played {
                Some(figures) => played(&file.file, figures),
                None => format!("{}: not played", printable(&file.file.display().to_string())),
            };
            if let Some(latency) = &file.latency {
                let _ = write!(line, ", latency {}", quantiles(latency));
            }
            line
        })
        .collect();
    lines.push(outcome.mixer.as_ref().map_or_else(|| "the mixer has died".to_owned(), mixed));
    lines.join("\n")
}

pub fn measured(measured: &Measured) -> String {
    let show = |times: &Option<Quantiles>| times.as_ref().map_or_else(|| "-".to_owned(), quantiles);
    let cores = if measured.one_core { "all processes on one core" } else { "on all cores" };
    let mut text = format!(
        "{} tracks of {} processes for {} s, {cores}\n",
        measured.tracks, measured.tracks, measured.seconds
    );
    let _ = writeln!(text, "end-to-end latency      {}", show(&measured.latency));
    let _ = writeln!(
        text,
        "underruns               {} ({} frames)",
        measured.underruns, measured.underrun_frames
    );
    let _ = writeln!(text, "late periods            {} of {}", measured.late_periods, measured.periods);
    let _ = writeln!(text, "mixing {:.1} ms           {}", measured.period, show(&measured.mixing));
    let _ = write!(text, "the same in one process {}", show(&measured.in_one_process));
    if let Some(ratio) = measured.ratio {
        let _ = write!(text, "\nratio of the medians    {ratio:.2}");
    }
    text
}

fn underruns(played: &Played) -> String {
    match played.underruns {
        0 => "no underruns".to_owned(),
        count => format!("{count} underruns ({} frames)", played.underrun_frames),
    }
}

fn quantiles(times: &Quantiles) -> String {
    format!(
        "{:.2} ms, 99 % within {:.2} ms, all within {:.2} ms",
        times.median, times.percentile_99, times.longest
    )
}
