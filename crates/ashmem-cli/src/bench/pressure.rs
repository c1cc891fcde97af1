//! `ashmem bench pressure`: caches give way before the OOM killer comes.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::statfs;
use tempfile::TempDir;

use super::Error;
use super::cgroup::Parent;
use super::daemon::Daemon;
use super::hierarchy::Hierarchy;
use super::plot;
use super::report::{Report, Run, Series};
use super::run::{REGION, Stage, Variant};
use super::stop::Stop;
use crate::memory::obtainable;
use crate::text::size;
use crate::tools::purge::parse_bytes;

/// The least limit: each process takes a few MiB by itself.
const LEAST: u64 = 64 << 20;

/// Memfds and files: once somebody was killed so often, it is known.
const MOST_DEADLY_RUNS: u64 = 10;

/// Where files are on tmpfs, as a rule.
const SHARED_MEMORY: &str = "/dev/shm";

/// Show that caches give way before the OOM killer comes
///
/// In a memory cgroup of its own, processes fill unpinned caches to 80 % of the
/// limit, in turn. Then a neighbour allocates 60 % of it at full speed. The same
/// cache in plain memfds, or in files on tmpfs, gets somebody killed.
///
/// The neighbour's time is compared with its time in an empty cgroup. All caches
/// are pinned afterwards: with P bytes purged, counted is how many were not among
/// the P bytes that were unpinned first; and contents are looked at.
///
/// Needs permission to make a memory cgroup (v1 or v2) below its own. Under cgroup
/// v2 there are runs with memory.max alone, and with memory.high as well.
///
/// Exit status: 0 when all promises held, 1 when one did not (which is said), 2
/// when nothing could be measured.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Runs with each reclaimer
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// The cgroup's limit: bytes, or with K, M or G so many KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_bytes)]
    limit: u64,
    /// Processes with a cache
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    processes: u64,
    /// Who purges: each process itself, or the driver daemon
    #[arg(long, value_enum, default_value_t = Reclaimers::Both)]
    reclaimer: Reclaimers,
    /// The interface of the kernel to use; by default the one that has the memory controller
    #[arg(long, value_enum)]
    hierarchy: Option<Hierarchy>,
    /// Count only kills and wrong contents; time and order depend on how busy the machine is
    #[arg(long)]
    lenient: bool,
    /// Write all figures to a file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw memory in the course of a run, and the slowdowns, into a file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Reclaimers {
    Embedded,
    Driver,
    Both,
}

impl Reclaimers {
    fn variants(self) -> &'static [Variant] {
        match self {
            Reclaimers::Embedded => &[Variant::Embedded],
            Reclaimers::Driver => &[Variant::Driver],
            Reclaimers::Both => &[Variant::Embedded, Variant::Driver],
        }
    }
}

/// Measures. True when everything held that was promised.
pub fn run(arguments: &Arguments) -> Result<bool, Error> {
    let stop = Stop::watch()?;
    let available = obtainable().unwrap_or(u64::MAX);
    if arguments.limit < LEAST {
        return Err(Error::TooLittle { least: LEAST });
    } else if arguments.limit > available / 2 {
        return Err(Error::TooMuch { limit: arguments.limit, available });
    }
    let parent = Parent::prepare(arguments.hierarchy)?;
    let variants = arguments.reclaimer.variants();
    let daemon = match variants.contains(&Variant::Driver) {
        true => Some(Daemon::start(&stop)?),
        false => None,
    };
    let (files, skipped) = match directory_on_tmpfs(Path::new(SHARED_MEMORY), arguments.limit) {
        Ok(directory) => (Some(directory), Vec::new()),
        Err(reason) => (None, vec![format!("{}: {reason}", Variant::Tmpfs.name())]),
    };
    let hierarchy = parent.hierarchy();
    let mut report = Report {
        hierarchy: hierarchy.name(),
        limit: arguments.limit,
        processes: arguments.processes,
        series: plan(hierarchy, variants, files.is_some()),
        skipped,
        promises: Vec::new(),
        all_held: false,
    };
    let stage = Stage { daemon, parent, stop, limit: arguments.limit, processes: arguments.processes, files };
    measure(&stage, &mut report.series, arguments)?;
    // Nothing of it is needed any more, and everything is removed before anything is said.
    drop(stage);
    report.judge(arguments.lenient);
    if let Some(path) = &arguments.json {
        write(path, &report.to_json())?;
    }
    if let Some(path) = &arguments.plot {
        write(path, &plot::draw(&report))?;
    }
    match io::stdout().write_all(report.to_text(arguments.lenient).as_bytes()) {
        // Whoever read has seen enough, and the exit code tells the rest.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(|source| Error::Output { path: "standard output".into(), source })?,
    }
    Ok(report.all_held)
}

/// What is to be measured.
fn plan(hierarchy: Hierarchy, reclaimers: &[Variant], has_files: bool) -> Vec<Series> {
    let highs = if hierarchy == Hierarchy::V2 { &[false, true][..] } else { &[false] };
    let mut series: Vec<Series> =
        highs.iter().flat_map(|&high| reclaimers.iter().map(move |&one| Series::new(one, high))).collect();
    series.push(Series::new(Variant::Plain, false));
    if has_files {
        series.push(Series::new(Variant::Tmpfs, false));
    }
    series
}

/// One run of each kind after the other, so that all of them meet the same machine.
fn measure(stage: &Stage, all: &mut [Series], arguments: &Arguments) -> Result<(), Error> {
    let count = |series: &Series| match series.variant.gives_way() {
        true => arguments.runs,
        false => arguments.runs.min(MOST_DEADLY_RUNS),
    };
    let bar = progress(all.iter().map(count).sum());
    for index in 0..arguments.runs {
        for series in all.iter_mut() {
            if index >= count(series) {
                continue;
            }
            let alone = match series.variant.gives_way() {
                true => Some(stage.alone(series.high)?.as_secs_f64()),
                false => None,
            };
            let outcome = stage.crowded(series.variant, series.high, false)?;
            series.runs.push(Run::new(alone, &outcome));
            bar.inc(1);
        }
    }
    // In runs of their own: looking takes time as well.
    for series in all.iter_mut().filter(|series| arguments.plot.is_some() && !series.high) {
        let outcome = stage.crowded(series.variant, series.high, true)?;
        series.runs.push(Run::new(None, &outcome));
        series.timeline = outcome.timeline;
    }
    bar.finish_and_clear();
    Ok(())
}

fn progress(count: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    bar.with_style(style).with_prefix("runs")
}

/// A directory for the caches' files, or why there is none.
fn directory_on_tmpfs(place: &Path, limit: u64) -> Result<TempDir, String> {
    const MAGIC: u64 = 0x0102_1994;
    let failed = |error: io::Error| format!("{}: {error}", place.display());
    let status = statfs(place).map_err(|errno| failed(errno.into()))?;
    if status.f_type as u64 != MAGIC {
        return Err(format!("{} is no tmpfs", place.display()));
    }
    remove_old(place);
    // No limit is a number of blocks, too: none.
    let free = status.f_bavail.saturating_mul(status.f_bsize as u64);
    if status.f_blocks > 0 && free < limit + REGION {
        return Err(format!("{} has only {} free", place.display(), size(free)));
    }
    tempfile::Builder::new()
        .prefix(&format!("{FILES}{}-", std::process::id()))
        .tempdir_in(place)
        .map_err(failed)
}

/// How directories for files are called, with this process's number.
const FILES: &str = "ashmem-pressure-";

/// Directories of processes of this program that were killed.
fn remove_old(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FILES)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::Output { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_high_is_for_cgroup_v2() {
        let kinds = |hierarchy, reclaimers: Reclaimers, has_files| {
            let series = plan(hierarchy, reclaimers.variants(), has_files);
            series.iter().map(|series| (series.variant, series.high)).collect::<Vec<_>>()
        };
        let (embedded, driver) = (Variant::Embedded, Variant::Driver);
        assert_eq!(
            kinds(Hierarchy::V1, Reclaimers::Both, true),
            [(embedded, false), (driver, false), (Variant::Plain, false), (Variant::Tmpfs, false)]
        );
        assert_eq!(
            kinds(Hierarchy::V2, Reclaimers::Embedded, false),
            [(embedded, false), (embedded, true), (Variant::Plain, false)]
        );
    }

    #[test]
    fn files_are_on_tmpfs_or_nowhere() {
        let reason = directory_on_tmpfs(Path::new("/proc"), LEAST).unwrap_err();
        assert_eq!(reason, "/proc is no tmpfs");
        assert!(directory_on_tmpfs(Path::new("/nowhere"), LEAST).unwrap_err().starts_with("/nowhere: "));
    }
}
