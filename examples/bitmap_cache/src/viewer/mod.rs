//! `view`: a folder of pictures in the terminal, or on a screen that nobody sees.
//!
//! [`gallery`] lists the folder, [`grid`] says what is on the screen, [`loader`] gets the bitmaps in a thread of its own, [`screen`] draws
//! them, and [`script`] scrolls by itself. [`picture`] and [`plot`] make files of what was to see.

pub mod gallery;
mod grid;
mod loader;
mod picture;
mod plot;
mod screen;
mod script;

use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::grid::{Grid, Step};
use self::loader::Loader;
use self::screen::Screen;
use super::arguments::View;
use super::start::Way;
use super::{Impossible, Result};

/// How long to wait for a key before looking for bitmaps that have come.
const LOOK: Duration = Duration::from_millis(40);

pub fn run(arguments: &View) -> Result<()> {
    let pictures = gallery::list(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    if arguments.script.is_none() && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Impossible("there is no terminal to show pictures in; try --script".to_owned()).into());
    }
    let mut way = Way::new(&folder, &arguments.limits)?;
    let client = way.connect()?;
    let screen = Screen::new(&folder, pictures.clone());
    let loader = Loader::start(way, client, pictures, arguments.size)?;
    match arguments.script {
        Some(rounds) => script::run(arguments, rounds, &screen, &loader),
        None => {
            let mut terminal = ratatui::try_init()?;
            let shown = show(&mut terminal, &screen, &loader);
            ratatui::restore();
            shown
        }
    }
}

/// Shows it until the user has enough.
fn show(terminal: &mut DefaultTerminal, screen: &Screen, loader: &Loader) -> Result<()> {
    let mut grid = Grid::new(screen.pictures());
    let mut drawn = None;
    loop {
        let size = terminal.size()?;
        grid.fit(size.width, size.height);
        loader.want(grid.visible(), grid.near());
        let news = loader.news();
        if drawn != Some((news, grid.clone())) {
            terminal.draw(|frame| screen.draw(&grid, loader, frame.area(), frame.buffer_mut()))?;
            drawn = Some((news, grid.clone()));
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Release => {}
            Event::Key(key) if is_end(&key) => return Ok(()),
            Event::Key(key) => {
                if let Some(step) = step(key.code) {
                    grid.go(step);
                }
            }
            // Something may have written over it.
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
}

fn is_end(key: &KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Esc | KeyCode::Char('q'))
}

fn step(key: KeyCode) -> Option<Step> {
    Some(match key {
        KeyCode::Up | KeyCode::Char('k') => Step::Row(-1),
        KeyCode::Down | KeyCode::Char('j') => Step::Row(1),
        KeyCode::PageUp | KeyCode::Char('b') => Step::Page(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Step::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Step::First,
        KeyCode::End | KeyCode::Char('G') => Step::Last,
        KeyCode::Char('+') => Step::Larger,
        KeyCode::Char('-') => Step::Smaller,
        _ => return None,
    })
}
