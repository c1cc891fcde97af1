//! The report for people: no line is longer than 80 columns, unless a file's path is.

use std::fmt::{self, Write};

use super::report::{Report, Speed};
use crate::text::{new_table, scaled, size};

/// The longest name of a region that a table shows in full.
const NAME_WIDTH: usize = 16;

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(report, &mut text);
    text
}

fn write(report: &Report, text: &mut String) -> fmt::Result {
    introduction(report, text)?;
    sharing(report, text)?;
    reclaiming(report, text)?;
    checks(report, text)
}

fn introduction(report: &Report, text: &mut String) -> fmt::Result {
    writeln!(
        text,
        "Owner: process {}. Viewer: process {}. {} of {} in {}.",
        report.owner_process,
        report.viewer_process,
        count(report.regions.len(), "region"),
        size(report.transport.bytes),
        count(report.files.len(), "file"),
    )?;
    for file in &report.files {
        writeln!(
            text,
            "  {} ({}, {})",
            crate::text::printable(&file.path),
            size(file.size),
            count(file.regions, "region")
        )?;
    }
    for path in &report.skipped_files {
        writeln!(text, "  {} (empty: skipped)", crate::text::printable(path))?;
    }
    Ok(())
}

fn sharing(report: &Report, text: &mut String) -> fmt::Result {
    let transport = &report.transport;
    heading(text, "SHARING: from the file to the viewer's SHA-256")?;
    let mut table = new_table(
        &["Region", "Size", "SHA-256", "Pass", "Shared,\nfirst", "Shared,\nagain", "Socket"],
        &[1, 3, 4, 5, 6],
    );
    for region in &report.regions {
        table.add_row([
            shorten(&region.name),
            size(region.size),
            region.sha256.chars().take(12).collect(),
            time(region.pass_seconds),
            time(region.shared_first_seconds),
            time(region.shared_again_seconds),
            time(region.socket_seconds),
        ]);
    }
    table.add_row([
        "Together".to_owned(),
        size(transport.bytes),
        String::new(),
        time(report.regions.iter().map(|region| region.pass_seconds).sum()),
        time(transport.shared_first.seconds),
        time(transport.shared_again.seconds),
        time(transport.socket.seconds),
    ]);
    writeln!(text, "{table}")?;
    writeln!(text)?;
    writeln!(text, "Pass           over Binder, by name, until the viewer has mapped the region")?;
    writeln!(text, "Shared, first  make the region, copy the file in, pass, hash in place")?;
    writeln!(text, "Shared, again  hash in place once more: nothing has to be moved")?;
    writeln!(text, "Socket         send the file's bytes through a stream socket, hash on arrival")?;
    writeln!(text)?;

    let mut table = new_table(&["Speed to the viewer's answer", "SHA-256", "Sum of words"], &[1, 2]);
    let row = |what: &str, hashed: &Speed, summed: Option<&Speed>| {
        [what.to_owned(), speed(hashed), summed.map_or_else(|| "–".to_owned(), speed)]
    };
    table.add_row(row("Shared, first", &transport.shared_first, None));
    table.add_row(row("Shared, again", &transport.shared_again, Some(&transport.shared_again_word_sum)));
    table.add_row(row("Socket", &transport.socket, Some(&transport.socket_word_sum)));
    writeln!(text, "{table}")?;
    let ratio = transport.socket_word_sum.seconds / transport.shared_again_word_sum.seconds.max(1e-9);
    writeln!(text, "A sum of words hardly takes time, so its column shows the transport: reading in")?;
    writeln!(text, "place is {ratio:.1} times as fast as receiving. The first sharing pays for memory:")?;
    writeln!(text, "each page is allocated, and the viewer starts when all are filled.")
}

fn reclaiming(report: &Report, text: &mut String) -> fmt::Result {
    let reclaim = &report.reclaim;
    heading(text, "RECLAIMING: all is unpinned, and only half may stay in memory")?;
    let mut table = new_table(
        &[
            "Region,\noldest unpin first",
            "Memory\nbefore",
            "Memory\nafter",
            "Pin says",
            "Rebuilt",
            "Viewer's\nSHA-256",
        ],
        &[1, 2],
    );
    for region in &report.regions {
        table.add_row([
            shorten(&region.name),
            size(region.resident_before),
            size(region.resident_after),
            if region.purged { "purged" } else { "intact" }.to_owned(),
            match (region.purged, region.rebuilt) {
                (false, _) => "–",
                (true, true) => "from its file",
                (true, false) => "NO",
            }
            .to_owned(),
            if region.sum_right { "same" } else { "DIFFERENT" }.to_owned(),
        ]);
    }
    table.add_row([
        "Together".to_owned(),
        size(reclaim.resident_before),
        size(reclaim.resident_after),
        format!("{} purged", reclaim.regions_purged),
        String::new(),
        String::new(),
    ]);
    writeln!(text, "{table}")?;
    writeln!(text)?;
    match reclaim.budget_held_after_seconds {
        Some(seconds) => writeln!(
            text,
            "Budget {}: held {} after it was set. Unpinning took {},\nthe start of the reclaimer's thread included.",
            size(reclaim.budget),
            time(seconds),
            time(reclaim.unpin_seconds),
        )?,
        None => writeln!(text, "Budget {}: not held in time.", size(reclaim.budget))?,
    }
    writeln!(text, "The kernel reports {} less in the regions (st_blocks).", size(reclaim.freed))?;
    if let (Some(before), Some(after)) = (reclaim.system_shared_before, reclaim.system_shared_after) {
        writeln!(
            text,
            "Shared memory of the whole system (Shmem): {} before, {} after.",
            size(before),
            size(after)
        )?;
    }
    Ok(())
}

fn checks(report: &Report, text: &mut String) -> fmt::Result {
    heading(text, "CHECKS")?;
    for check in &report.checks {
        let mark = if check.held { "✓" } else { "✗" };
        writeln!(text, " {mark} {}", check.statement)?;
        if let Some(found) = &check.found {
            writeln!(text, "     NOT SO: {found}")?;
        }
    }
    writeln!(text)?;
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.held).map(|check| check.name).collect();
    if failed.is_empty() {
        writeln!(text, "All {} checks held.", report.checks.len())
    } else {
        writeln!(text, "{} of {} checks FAILED: {}.", failed.len(), report.checks.len(), failed.join(", "))
    }
}

fn heading(text: &mut String, heading: &str) -> fmt::Result {
    writeln!(text, "\n{heading}")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A name that fits, with its end: which part of the file it is stands there.
fn shorten(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_WIDTH {
        return name.to_owned();
    }
    let end = NAME_WIDTH / 2;
    let start = NAME_WIDTH - end - 1;
    name.chars().take(start).chain(['…']).chain(name.chars().skip(count - end)).collect()
}

fn speed(speed: &Speed) -> String {
    format!("{}/s", size(speed.bytes_per_second as u64))
}

fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        return format!("{seconds:.2} s");
    }
    scaled(seconds * 1e9, 1000.0, &["ns", "µs", "ms", "s"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0.0, "0 ns"),
            (123e-9, "123 ns"),
            (1.25e-6, "1.2 µs"),
            (0.0123, "12.3 ms"),
            (0.9999, "1.0 s"),
            (61.0, "61.00 s"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shorten("ashmem 3/8"), "ashmem 3/8");
        let short = shorten("a name that is far too long 3/8");
        assert_eq!((short.chars().count(), short.ends_with("ong 3/8")), (NAME_WIDTH, true), "{short}");
    }

    #[test]
    fn one_is_one() {
        assert_eq!((count(1, "file").as_str(), count(2, "file").as_str()), ("1 file", "2 files"));
    }
}
