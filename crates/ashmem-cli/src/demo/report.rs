//! What the demonstration found: figures and checks. As JSON for machines here, as tables for people in
//! [`table`].

use std::time::Duration;

use ashmem::page_size;
use serde::Serialize;

use super::reclaim::Reclaimed;
use super::share::{Shared, Times};
use super::source::Sources;
use super::table;
use crate::text::size;

/// All of it. The names are those of the JSON document; sizes are in bytes and times in seconds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Process number of the owner.
    pub owner_process: u32,
    /// Process number of the viewer.
    pub viewer_process: u32,
    /// Size of a page.
    pub page_size: u64,
    /// Whether the viewer's descriptors could only read.
    pub descriptors_read_only: bool,
    /// The files that were shared.
    pub files: Vec<FileReport>,
    /// Files that were left out because they are empty.
    pub skipped_files: Vec<String>,
    /// The regions, in the order in which they were shared and unpinned.
    pub regions: Vec<RegionReport>,
    /// Both ways of transport, over all regions.
    pub transport: TransportReport,
    /// What the reclaimer did.
    pub reclaim: ReclaimReport,
    /// Everything that had to hold.
    pub checks: Vec<Check>,
    /// Whether it did.
    pub all_held: bool,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// As it was given.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// Into how many regions it went.
    pub regions: usize,
}

/// A region.
#[derive(Debug, Serialize)]
pub struct RegionReport {
    /// Its file's name, and which part of the file it is.
    pub name: String,
    /// Index of its file.
    pub file: usize,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// Its size.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// Making the region and copying the file's bytes in.
    pub fill_seconds: f64,
    /// Serving it as a heap, until the viewer has found and mapped it.
    pub pass_seconds: f64,
    /// Fill, pass and the viewer's SHA-256.
    pub shared_first_seconds: f64,
    /// The viewer's SHA-256 of the region that it has already.
    pub shared_again_seconds: f64,
    /// Sending the bytes through the socket, and the viewer's SHA-256 of them.
    pub socket_seconds: f64,
    /// Bytes in memory before the reclaimer came.
    pub resident_before: u64,
    /// Bytes in memory after.
    pub resident_after: u64,
    /// Whether pin said that it was purged.
    pub purged: bool,
    /// Whether it was rebuilt from its file.
    pub rebuilt: bool,
    /// Whether the viewer's last SHA-256 was right.
    pub sum_right: bool,
}

/// Time and speed of one way to get all bytes to the viewer's answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Speed {
    /// For all regions, one after the other.
    pub seconds: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
}

impl Speed {
    fn new(bytes: u64, time: Duration) -> Speed {
        let seconds = time.as_secs_f64();
        // A clock that did not move would otherwise give infinity, which JSON does not know.
        Speed { seconds, bytes_per_second: bytes as f64 / seconds.max(1e-9) }
    }
}

/// Both ways of transport.
#[derive(Debug, Serialize)]
pub struct TransportReport {
    /// Size of all regions.
    pub bytes: u64,
    /// Shared memory, from the file to the viewer's SHA-256.
    pub shared_first: Speed,
    /// Shared memory, once the viewer has the region: its SHA-256.
    pub shared_again: Speed,
    /// The socket, from the file to the viewer's SHA-256.
    pub socket: Speed,
    /// As `shared_again`, with a sum of words instead of SHA-256.
    pub shared_again_word_sum: Speed,
    /// As `socket`, with a sum of words instead of SHA-256.
    pub socket_word_sum: Speed,
    /// Making the regions and copying the files in.
    pub fill: Speed,
    /// The quickest passing of a heap.
    pub pass_fastest_seconds: f64,
    /// The slowest.
    pub pass_slowest_seconds: f64,
}

/// What the reclaimer did.
#[derive(Debug, Serialize)]
pub struct ReclaimReport {
    /// Bytes of unpinned data that were allowed to stay.
    pub budget: u64,
    /// Unpinning all regions.
    pub unpin_seconds: f64,
    /// From setting the budget until it held.
    pub budget_held_after_seconds: Option<f64>,
    /// Bytes of all regions in memory before (`st_blocks` of `fstat(2)`).
    pub resident_before: u64,
    /// Bytes after.
    pub resident_after: u64,
    /// The difference.
    pub freed: u64,
    /// Shared memory of the whole system before (`Shmem` of `/proc/meminfo`). Other programs change it, too.
    pub system_shared_before: Option<u64>,
    /// Shared memory of the whole system after.
    pub system_shared_after: Option<u64>,
    /// Regions of which something was taken.
    pub regions_purged: usize,
}

/// Something that had to hold.
#[derive(Debug, Serialize)]
pub struct Check {
    /// A name for machines.
    pub name: &'static str,
    /// What had to hold, for people.
    pub statement: String,
    /// Whether it did.
    pub held: bool,
    /// If not, what was found.
    pub found: Option<String>,
}

impl Report {
    /// Draws the conclusions.
    pub fn new(sources: &Sources, viewer_process: u32, shared: &[Shared], reclaimed: &Reclaimed) -> Report {
        let checks = checks(sources, shared, reclaimed);
        Report {
            owner_process: std::process::id(),
            viewer_process,
            page_size: page_size(),
            descriptors_read_only: shared.iter().all(|one| one.read_only),
            files: files(sources, shared),
            skipped_files: sources.skipped.iter().map(|path| path.display().to_string()).collect(),
            regions: regions(sources, shared, reclaimed),
            transport: transport(shared),
            reclaim: ReclaimReport {
                budget: reclaimed.budget,
                unpin_seconds: reclaimed.unpinning.as_secs_f64(),
                budget_held_after_seconds: reclaimed.budget_held_after.map(|time| time.as_secs_f64()),
                resident_before: reclaimed.resident_before(),
                resident_after: reclaimed.resident_after(),
                freed: reclaimed.freed(),
                system_shared_before: reclaimed.system_shared_before,
                system_shared_after: reclaimed.system_shared_after,
                regions_purged: reclaimed.regions.iter().filter(|region| region.purged).count(),
            },
            all_held: checks.iter().all(|check| check.held),
            checks,
        }
    }

    /// One JSON document.
    pub fn to_json(&self) -> String {
        // Cannot fail: every key is a string, and every number is finite.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Tables for people.
    pub fn to_text(&self) -> String {
        table::render(self)
    }
}

fn files(sources: &Sources, shared: &[Shared]) -> Vec<FileReport> {
    let regions = |index| shared.iter().filter(|one| one.piece.file == index).count();
    let each = sources.files.iter().enumerate();
    each.map(|(index, file)| FileReport {
        path: file.path.display().to_string(),
        size: file.size,
        regions: regions(index),
    })
    .collect()
}

fn regions(sources: &Sources, shared: &[Shared], reclaimed: &Reclaimed) -> Vec<RegionReport> {
    let each = shared.iter().zip(&reclaimed.regions);
    each.map(|(one, outcome)| RegionReport {
        name: sources.name(&one.piece),
        file: one.piece.file,
        offset: one.piece.offset,
        size: one.piece.size,
        sha256: one.fingerprint.sha256.clone(),
        fill_seconds: one.times.fill.as_secs_f64(),
        pass_seconds: one.times.pass.as_secs_f64(),
        shared_first_seconds: one.times.memory_first.as_secs_f64(),
        shared_again_seconds: one.times.memory_again.as_secs_f64(),
        socket_seconds: one.times.socket.as_secs_f64(),
        resident_before: outcome.resident_before,
        resident_after: outcome.resident_after,
        purged: outcome.purged,
        rebuilt: outcome.purged && outcome.rebuild_trouble.is_none(),
        sum_right: outcome.sum_right,
    })
    .collect()
}

fn transport(shared: &[Shared]) -> TransportReport {
    let bytes = shared.iter().map(|one| one.piece.size).sum();
    let speed = |time: fn(&Times) -> Duration| Speed::new(bytes, shared.iter().map(|s| time(&s.times)).sum());
    let passes = || shared.iter().map(|one| one.times.pass);
    TransportReport {
        bytes,
        shared_first: speed(|times| times.memory_first),
        shared_again: speed(|times| times.memory_again),
        socket: speed(|times| times.socket),
        shared_again_word_sum: speed(|times| times.memory_again_word_sum),
        socket_word_sum: speed(|times| times.socket_word_sum),
        fill: speed(|times| times.fill),
        pass_fastest_seconds: passes().min().unwrap_or_default().as_secs_f64(),
        pass_slowest_seconds: passes().max().unwrap_or_default().as_secs_f64(),
    }
}

fn checks(sources: &Sources, shared: &[Shared], reclaimed: &Reclaimed) -> Vec<Check> {
    let name = |index: usize| sources.name(&shared[index].piece);
    // Holds when no region is wrong; otherwise it names those that are.
    let for_each = |check_name, statement: &str, wrong: &dyn Fn(usize) -> Option<String>| {
        let found: Vec<_> = (0..shared.len()).filter_map(wrong).collect();
        let held = found.is_empty();
        let found = (!held).then(|| found.join("; "));
        Check { name: check_name, statement: statement.to_owned(), held, found }
    };
    let outcomes = &reclaimed.regions;
    let must = |held: bool, index: usize| (!held).then(|| name(index));

    let excess = reclaimed.resident_before().saturating_sub(reclaimed.budget);
    let enough = reclaimed.budget_held_after.is_some() && reclaimed.freed() >= excess;
    vec![
        for_each("shared_memory_sums", "in shared memory the viewer saw the files' bytes", &|index| {
            must(shared[index].memory_sums_right, index)
        }),
        for_each("socket_sums", "through the socket the viewer got the same bytes", &|index| {
            must(shared[index].socket_sums_right, index)
        }),
        Check {
            name: "budget_held",
            statement: "the reclaimer brought unpinned memory down to the budget".to_owned(),
            held: enough,
            found: (!enough)
                .then(|| format!("{} were to be freed, {} were", size(excess), size(reclaimed.freed()))),
        },
        Check {
            name: "oldest_went_first",
            statement: "it took the regions that were unpinned first".to_owned(),
            held: reclaimed.oldest_went_first(),
            found: (!reclaimed.oldest_went_first()).then(|| {
                let taken: Vec<_> =
                    (0..shared.len()).filter(|&index| outcomes[index].purged).map(name).collect();
                format!("it took {}", taken.join("; "))
            }),
        },
        for_each("pins_told_the_truth", "pin told the truth: intact is intact, purged is zeros", &|index| {
            must(outcomes[index].pin_told_truth, index)
        }),
        for_each("rebuilt_from_files", "what was taken was rebuilt from the files", &|index| {
            let trouble = outcomes[index].rebuild_trouble.as_ref()?;
            Some(format!("{}: {trouble}", name(index)))
        }),
        for_each("viewer_sums_after", "the viewer's old mappings show the files' bytes again", &|index| {
            must(outcomes[index].sum_right, index)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::demo::reclaim::tests::reclaimed;
    use crate::demo::share::tests::shared_without_viewer;

    /// The report on four files, after `spoil` has changed what was found.
    fn report(spoil: impl FnOnce(&mut [Shared], &mut Reclaimed)) -> Report {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..4).map(|n| directory.path().join(format!("file {n}"))).collect();
        paths.iter().for_each(|path| fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap());
        let sources = Sources::open(&paths).unwrap();
        let mut shared = shared_without_viewer(&sources, sources.pieces(page_size()));
        let mut reclaimed = reclaimed(&[true, true, false, false]);
        spoil(&mut shared, &mut reclaimed);
        Report::new(&sources, 7, &shared, &reclaimed)
    }

    #[test]
    fn all_is_well() {
        let report = report(|_, _| {});
        assert!(report.all_held);
        assert!(report.to_text().ends_with("All 7 checks held.\n"));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["reclaim"]["regions_purged"], 2);
        assert_eq!(json["regions"][3]["name"], "file 3");
    }

    #[test]
    fn every_check_can_fail_alone() {
        type Spoil = fn(&mut [Shared], &mut Reclaimed);
        let cases: [(&str, &str, Spoil); 8] = [
            ("shared_memory_sums", "file 1", |shared, _| shared[1].memory_sums_right = false),
            ("socket_sums", "file 2", |shared, _| shared[2].socket_sums_right = false),
            ("budget_held", "to be freed", |_, found| found.budget_held_after = None),
            ("budget_held", "to be freed", |_, found| found.regions[0].resident_after = page_size()),
            ("oldest_went_first", "file 3", |_, found| {
                found.regions[1].purged = false;
                found.regions[3].purged = true;
            }),
            ("pins_told_the_truth", "file 3", |_, found| found.regions[3].pin_told_truth = false),
            ("rebuilt_from_files", "file 0: gone", |_, found| {
                found.regions[0].rebuild_trouble = Some("gone".to_owned());
            }),
            ("viewer_sums_after", "file 0", |_, found| found.regions[0].sum_right = false),
        ];
        for (name, said, spoil) in cases {
            let report = report(spoil);
            let failed: Vec<_> =
                report.checks.iter().filter(|check| !check.held).map(|check| check.name).collect();
            assert_eq!((failed, report.all_held), (vec![name], false));
            let text = report.to_text();
            assert!(text.ends_with(&format!("1 of 7 checks FAILED: {name}.\n")), "{text}");
            let found = text.lines().find(|line| line.contains("NOT SO")).unwrap();
            assert!(found.contains(said), "{found}");
        }
    }
}
