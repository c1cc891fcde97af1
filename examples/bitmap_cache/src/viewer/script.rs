//! Scrolls by itself on a screen that nobody sees, and says what that took.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde::Serialize;

use bitmap_cache::Stats;

use super::grid::{Grid, Step};
use super::loader::{Loader, Slot};
use super::screen::Screen;
use super::{picture, plot};
use crate::arguments::View;
use crate::{Result, say, size};

const SCREEN: Rect = Rect::new(0, 0, 120, 41);
/// How long the bitmaps of one screen may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a screen is drawn again because pixels went before they were drawn.
const TRIES: u32 = 16;

/// What it was like.
#[derive(Debug, Serialize)]
struct Figures {
    pictures: usize,
    /// Screens that were drawn.
    screens: u64,
    seconds: f64,
    /// Pictures on these screens, those that could not be shown, and how often pixels had gone before they were drawn.
    shown: u64,
    failed: u64,
    purged: u64,
    /// Of the service, when it was over.
    service: Stats,
}

/// The memory in use at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub seconds: f64,
    pub bytes: u64,
}

pub fn run(arguments: &View, rounds: u32, screen: &Screen, loader: &Loader) -> Result<()> {
    let mut script = Script {
        screen,
        loader,
        grid: Grid::new(screen.pictures()),
        start: Instant::now(),
        samples: Vec::new(),
        screens: 0,
        shown: 0,
        failed: 0,
    };
    script.grid.fit(SCREEN.width, SCREEN.height);
    let mut middle = None;
    for _ in 0..rounds {
        for way in [1, -1] {
            loop {
                let buffer = script.look()?;
                if middle.is_none() && 2 * script.grid.visible().end > screen.pictures() {
                    middle = Some(buffer);
                }
                let before = script.grid.visible();
                script.grid.go(Step::Page(way));
                if script.grid.visible() == before {
                    break;
                }
            }
        }
    }
    let figures = Figures {
        pictures: screen.pictures(),
        screens: script.screens,
        seconds: script.start.elapsed().as_secs_f64(),
        shown: script.shown,
        failed: script.failed,
        purged: loader.purged(),
        service: loader.status().0,
    };
    let Stats { limit, most_resident_bytes: most, .. } = figures.service;
    if let (Some(path), Some(buffer)) = (&arguments.picture, &middle) {
        save(path, &picture::draw(buffer))?;
    }
    if let Some(path) = &arguments.plot {
        save(path, &plot::draw(&script.samples, limit))?;
    }
    say(&if arguments.json { serde_json::to_string_pretty(&figures)? } else { text(&figures) });
    if most > limit {
        return Err(format!("{} were in use, with a limit of {}", size(most), size(limit)).into());
    }
    Ok(())
}

struct Script<'a> {
    screen: &'a Screen,
    loader: &'a Loader,
    grid: Grid,
    start: Instant,
    samples: Vec<Sample>,
    screens: u64,
    shown: u64,
    failed: u64,
}

impl Script<'_> {
    /// Draws a screen with all its pictures.
    fn look(&mut self) -> Result<Buffer> {
        self.loader.want(self.grid.visible(), self.grid.near());
        for _ in 0..TRIES {
            if !self.loader.settle(PATIENCE) {
                let (_, trouble) = self.loader.status();
                return Err(trouble.unwrap_or_else(|| "the service does not answer".to_owned()).into());
            }
            let purged = self.loader.purged();
            let mut buffer = Buffer::empty(SCREEN);
            self.screen.draw(&self.grid, self.loader, SCREEN, &mut buffer);
            if self.loader.purged() == purged {
                self.note();
                return Ok(buffer);
            }
        }
        Err("pictures go as soon as they come: the limit is too small for a screen".into())
    }

    fn note(&mut self) {
        let visible = self.grid.visible();
        let is_failed = |picture: &usize| matches!(self.loader.slot(*picture), Some(Slot::Failed(_)));
        let failed = visible.clone().filter(is_failed).count() as u64;
        self.screens += 1;
        self.failed += failed;
        self.shown += visible.len() as u64 - failed;
        let bytes = self.loader.status().0.resident_bytes;
        self.samples.push(Sample { seconds: self.start.elapsed().as_secs_f64(), bytes });
    }
}

fn text(figures: &Figures) -> String {
    let Figures { pictures, screens, seconds, shown, failed, purged, service } = figures;
    let failed = if *failed > 0 { format!(", {failed} of them could not be shown") } else { String::new() };
    format!(
        "{pictures} pictures, {screens} screens in {seconds:.1} s, {} pictures on them{failed}\n\
         memory: {} at the most, {} now, limit {}\n\
         the service: {} decoded, {} of them again; {} hits; {purged} gone before they were drawn",
        shown + figures.failed,
        size(service.most_resident_bytes),
        size(service.resident_bytes),
        size(service.limit),
        service.decoded,
        service.decoded_again,
        service.hits,
    )
}

fn save(path: &Path, text: &str) -> Result<()> {
    Ok(std::fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))?)
}
