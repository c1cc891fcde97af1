//! The whole of it, as the parent sees it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashmem::{Cache, Mapping, Region, page_size};
use indicatif::ProgressBar;
use tempfile::TempDir;

use super::Result;
use super::arguments::Arguments;
use super::bitmap::{self, Bitmap};
use super::channel::{Job, Message};
use super::crew::{Crew, Event, Lost};
use super::gallery::{Gallery, Image, Skipped};
use super::output::Output;
use super::plain::Plain;
use super::progress::Progress;
use super::report::{self, Check, Report};
use super::samples;
use super::sheet::Sheet;

/// How often the memory in use is looked at, when nothing else happens.
const SAMPLING: Duration = Duration::from_millis(1);
/// How often the figures behind the progress bar change.
const SHOWING: Duration = Duration::from_millis(100);

/// Everything that the program does, up to the report.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let progress = Progress { is_visible: !arguments.json && std::io::stderr().is_terminal() };
    let output = Output::prepare(&arguments.output)?;
    let (directory, _samples) = directory(arguments, &progress)?;
    let Gallery { images, mut skipped } = Gallery::find(&directory, &output)?;
    let sheet = Sheet::new(images.len(), arguments.thumbnail)?;
    let plain = Plain::compute(&images, sheet, &progress);

    let (cache, budget) = make_cache(arguments, &images)?;
    let job = Job {
        images,
        rounds: arguments.rounds,
        sheet,
        worker: 0,
        workers: arguments.workers(),
        budget: Some(budget),
        dies: false,
    };
    let mut work = Work::new(&cache, &job, &plain, &progress)?;
    work.run(arguments.kill)?;
    work.draw_missing()?;
    let drawn = sheet.read(&work.sheet)?;
    output.save(&drawn)?;
    let stats = cache.stats()?;

    let uncached = if arguments.no_comparison {
        None
    } else {
        let job = Job { budget: None, ..job.clone() };
        let mut uncached = Work::new(&cache, &job, &plain, &progress)?;
        uncached.run(0)?;
        uncached.draw_missing()?;
        Some(uncached.figures)
    };

    for (image, checksum) in job.images.iter().zip(&plain.checksums) {
        skipped.extend(checksum.as_ref().err().map(|reason| Skipped::new(image.path(), reason)));
    }
    let checks = [
        Check { name: "within_budget", held: work.highest <= budget },
        Check { name: "every_visit_saw_the_same_pixels", held: work.wrong == 0 },
        Check { name: "sheet_as_without_a_cache", held: drawn == plain.sheet },
    ];
    Ok(Report {
        images: job.images.len() - plain.checksums.iter().filter(|sum| sum.is_err()).count(),
        skipped,
        decoded_bytes: job.images.iter().map(Image::len).sum(),
        budget_bytes: budget,
        highest_bytes: work.highest,
        samples: work.samples,
        processes: job.workers,
        rounds: job.rounds,
        lost: work.lost,
        lookups: stats.hits + stats.misses + stats.purged,
        hits: stats.hits,
        missing: stats.misses,
        purged: stats.purged,
        rebuilt: stats.rebuilt,
        evicted: stats.evicted,
        waits: work.waits,
        cached: work.figures,
        uncached,
        sheet: arguments.output.display().to_string(),
        all_held: checks.iter().all(|check| check.held),
        checks,
    })
}

/// Where the images are; samples go when the second is dropped.
fn directory(arguments: &Arguments, progress: &Progress) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(directory) = &arguments.directory {
        return Ok((directory.clone(), None));
    }
    let directory = tempfile::Builder::new().prefix("thumbnail_cache").tempdir()?;
    samples::make(directory.path(), arguments.samples, progress)?;
    Ok((directory.path().to_owned(), Some(directory)))
}

/// A cache with room for all bitmaps in its address space, and its budget, which is less.
fn make_cache(arguments: &Arguments, images: &[Image]) -> Result<(Cache, u64)> {
    let pages = |image: &Image| image.len().next_multiple_of(page_size());
    let capacity = images.iter().map(pages).sum();
    let largest = images.iter().map(pages).max().unwrap_or_default();
    let entries = images.len() as u64;
    let cache = Cache::options().entries(entries).create("thumbnails", capacity)?;
    let index = cache.region().size() - capacity;
    let least = largest + index;
    let budget = arguments.budget.unwrap_or_else(|| least.max(capacity / 4 * 3 + index));
    if budget < least {
        let (budget, least) = (report::size(budget), report::size(least));
        return Err(format!("a budget of {budget} is too small: the largest image needs {least}").into());
    }
    Ok((Cache::options().budget(budget).open(cache.region().clone())?, budget))
}

/// What a run took.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Figures {
    pub seconds: f64,
    pub visits: u64,
    pub decoded: u64,
}

/// One run of the workers over all images.
struct Work<'a> {
    cache: &'a Cache,
    job: &'a Job,
    plain: &'a Plain,
    bar: ProgressBar,
    shown: Option<Instant>,
    region: Region,
    /// What the workers draw on.
    sheet: Mapping,
    /// Whose tiles are there.
    drawn: Vec<bool>,
    figures: Figures,
    /// The most memory that was seen in use, and how often was looked.
    highest: u64,
    samples: u64,
    /// Visits that saw what the plain computation did not.
    wrong: u64,
    waits: u64,
    lost: Vec<Lost>,
}

impl<'a> Work<'a> {
    fn new(cache: &'a Cache, job: &'a Job, plain: &'a Plain, progress: &Progress) -> Result<Work<'a>> {
        let region = Region::create("contact sheet", job.sheet.len())?;
        let sheet = region.map()?;
        sheet.write_at(0, job.sheet.empty().as_raw())?;
        let visits = job.images.len() as u64 * job.workers as u64 * u64::from(job.rounds);
        let what = if job.budget.is_some() { "With a cache" } else { "Without" };
        Ok(Work {
            cache,
            job,
            plain,
            bar: progress.bar(what, visits),
            shown: None,
            region,
            sheet,
            drawn: vec![false; job.images.len()],
            figures: Figures::default(),
            highest: 0,
            samples: 0,
            wrong: 0,
            waits: 0,
            lost: Vec::new(),
        })
    }

    /// Lets the workers do everything, and kills so many of them.
    fn run(&mut self, kill: usize) -> Result<()> {
        let start = Instant::now();
        let jobs =
            (0..self.job.workers).map(|worker| Job { worker, dies: worker < kill, ..self.job.clone() });
        let mut crew = Crew::start(jobs, self.cache.region(), &self.region)?;
        loop {
            match crew.next(SAMPLING) {
                Event::Said(message) => self.note(message),
                Event::Lost(lost) => {
                    self.bar.println(format!("process {} was lost: {}", lost.process, lost.reason));
                    self.lost.push(lost);
                }
                Event::Nothing => {}
                Event::Over => break,
            }
            self.watch()?;
        }
        self.figures.seconds = start.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        Ok(())
    }

    fn note(&mut self, message: Message) {
        match message {
            Message::Visited { image, checksum, decoded, drawn } => {
                self.bar.inc(1);
                self.figures.visits += 1;
                self.figures.decoded += u64::from(decoded);
                self.drawn[image] |= drawn;
                self.wrong += u64::from(self.plain.checksums[image] != Ok(checksum));
            }
            Message::Failed { image, .. } => {
                self.bar.inc(1);
                self.wrong += u64::from(!self.plain.is_broken(image));
            }
            Message::Finished { waits } => self.waits += waits,
            Message::Stopped { .. } => {}
        }
    }

    /// Looks at the memory in use.
    fn watch(&mut self) -> Result<()> {
        let resident = self.cache.region().resident()?;
        self.highest = self.highest.max(resident);
        self.samples += 1;
        if self.shown.is_none_or(|shown| shown.elapsed() > SHOWING) {
            self.shown = Some(Instant::now());
            if let Some(budget) = self.job.budget {
                let stats = self.cache.stats()?;
                self.bar.set_message(format!(
                    "{} of {}, {} hits, {} purged, {} rebuilt",
                    report::size(resident),
                    report::size(budget),
                    stats.hits,
                    stats.purged,
                    stats.rebuilt
                ));
            }
        }
        Ok(())
    }

    /// Draws what lost workers left.
    fn draw_missing(&mut self) -> Result<()> {
        let start = Instant::now();
        let missing = |number: &usize| !self.drawn[*number] && !self.plain.is_broken(*number);
        for number in (0..self.drawn.len()).filter(missing) {
            let entry = bitmap::get(self.cache, &self.job.images[number], &mut self.waits, || {})
                .map_err(|error| error.to_string())?;
            let tile = self.job.sheet.tile(&Bitmap::new(&entry)?);
            self.job.sheet.put_shared(&self.sheet, number, &tile)?;
        }
        self.figures.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }
}
