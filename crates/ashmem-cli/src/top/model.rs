//! What the screen shows, and what keys do to it. Knows neither.

use std::collections::VecDeque;
use std::time::Duration;

use ashmem_driver::snapshot::Limit;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::column::Column;
use super::look::{Event, Look};
use crate::tools::line::Line;
use crate::tools::map::Picture;

/// Purges that are remembered.
const EVENTS: usize = 200;

/// Looks whose pressure is remembered: the width of the widest screen.
const HISTORY: usize = 1000;

/// The pages of the region with an inode, or why they cannot be shown.
#[derive(Debug)]
pub struct Map {
    pub inode: u64,
    pub picture: Result<Picture, String>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Quit,
    /// To the shell that this was started from.
    Suspend,
    /// As if the screen had been cleared by somebody else.
    Redraw,
}

/// Everything that the screen shows.
#[derive(Debug)]
pub struct Model {
    pub look: Look,
    /// Whether there was a look at all.
    pub has_looked: bool,
    pub column: Column,
    pub is_reversed: bool,
    /// Indices of the regions.
    order: Vec<usize>,
    /// In the order; the region that is there is meant, wherever it goes.
    cursor: usize,
    /// The first line that is shown.
    offset: usize,
    /// Lines that are shown, as the view has told.
    page: usize,
    pub map: Option<Map>,
    /// The latest first, each with the moment when it happened.
    pub events: VecDeque<(Duration, Event)>,
    /// Percent, the latest last: of stalls, where the kernel tells of those.
    pub stalls: VecDeque<f64>,
    /// Percent of the nearest limit in use, the latest last.
    pub usage: VecDeque<f64>,
}

impl Model {
    pub fn new() -> Model {
        Model {
            look: Look::default(),
            has_looked: false,
            column: Column::Resident,
            is_reversed: false,
            order: Vec::new(),
            cursor: 0,
            offset: 0,
            page: 1,
            map: None,
            events: VecDeque::new(),
            stalls: VecDeque::new(),
            usage: VecDeque::new(),
        }
    }

    /// Takes what was seen in place of what was seen before.
    pub fn take(&mut self, mut look: Look) {
        for event in look.purges.drain(..) {
            let ago = Duration::try_from_secs_f64(event.ago_seconds).unwrap_or_default();
            self.events.push_front((look.at.saturating_sub(ago), event));
        }
        self.events.truncate(EVENTS);
        if let Some(percent) = look.pressure {
            remember(&mut self.stalls, percent);
        }
        let selected = self.selected().map(|line| line.inode);
        self.look = look;
        self.has_looked = true;
        let used = |limit: &Limit| {
            let used = limit.limit.saturating_sub(limit.available);
            100.0 * used as f64 / limit.limit.max(1) as f64
        };
        if let Some(percent) = self.nearest().map(used) {
            remember(&mut self.usage, percent);
        }
        self.sort(selected);
    }

    /// Says that nothing could be seen.
    pub fn fail(&mut self, trouble: String) {
        self.take(Look { at: self.look.at, trouble: Some(trouble), ..Look::default() });
    }

    fn sort(&mut self, selected: Option<u64>) {
        let (column, regions) = (self.column, &self.look.regions);
        self.order = (0..regions.len()).collect();
        self.order.sort_by(|a, b| column.compare(&regions[*a], &regions[*b]));
        if self.is_reversed {
            self.order.reverse();
        }
        let place = selected.and_then(|inode| self.order.iter().position(|i| regions[*i].inode == inode));
        self.move_to(place.unwrap_or(self.cursor));
    }

    fn move_to(&mut self, cursor: usize) {
        self.cursor = cursor.min(self.order.len().saturating_sub(1));
        let last_offset = self.order.len().saturating_sub(self.page);
        let first = (self.cursor + 1).saturating_sub(self.page);
        self.offset = self.offset.clamp(first, self.cursor.max(first)).min(last_offset.max(first));
    }

    /// Tells how many lines there are room for.
    pub fn set_page(&mut self, lines: usize) {
        self.page = lines.max(1);
        self.move_to(self.cursor);
    }

    /// The lines to show, and which of them is selected.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, bool)> {
        let shown = self.order.iter().enumerate().skip(self.offset).take(self.page);
        shown.map(|(place, index)| (&self.look.regions[*index], place == self.cursor))
    }

    /// The region that is selected.
    pub fn selected(&self) -> Option<&Line> {
        self.look.regions.get(*self.order.get(self.cursor)?)
    }

    /// Its place, counted from one, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (if self.order.is_empty() { 0 } else { self.cursor + 1 }, self.order.len())
    }

    /// The limit that is nearest to its reserve.
    pub fn nearest(&self) -> Option<&Limit> {
        let room = |limit: &&Limit| i128::from(limit.available) - i128::from(limit.reserve);
        self.look.limits.iter().min_by_key(room)
    }

    /// Memory that can be taken away: of each region what is unpinned, as far as it is in memory.
    pub fn takeable(&self) -> u64 {
        let of = |line: &Line| line.unpinned.min(line.resident);
        self.look.regions.iter().fold(0, |sum, line| of(line).saturating_add(sum))
    }

    /// What the regions have in memory.
    pub fn resident(&self) -> u64 {
        self.look.regions.iter().fold(0, |sum, line| line.resident.saturating_add(sum))
    }

    /// Does what a key stands for.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Wish::Quit,
                KeyCode::Char('z') => Wish::Suspend,
                KeyCode::Char('l') => Wish::Redraw,
                _ => Wish::Nothing,
            };
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('<') | KeyCode::Left => self.sort_by(self.column.step(-1)),
            KeyCode::Char('>') | KeyCode::Right => self.sort_by(self.column.step(1)),
            KeyCode::Char('r') => {
                self.is_reversed = !self.is_reversed;
                self.sort_by(self.column);
            }
            KeyCode::Char(digit @ '1'..='8') => {
                self.sort_by(Column::of_digit(digit).unwrap_or(self.column));
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_to(self.cursor.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.move_to(self.cursor.saturating_add(1)),
            KeyCode::PageUp => self.move_to(self.cursor.saturating_sub(self.page)),
            KeyCode::PageDown => self.move_to(self.cursor.saturating_add(self.page)),
            KeyCode::Home => self.move_to(0),
            KeyCode::End => self.move_to(usize::MAX),
            _ => {}
        }
        Wish::Nothing
    }

    fn sort_by(&mut self, column: Column) {
        self.column = column;
        self.sort(self.selected().map(|line| line.inode));
    }
}

fn remember(history: &mut VecDeque<f64>, value: f64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

#[cfg(test)]
mod tests {
    use ashmem_driver::snapshot::Region;

    use super::*;

    fn model(count: u64) -> Model {
        let mut model = Model::new();
        model.take(look(1..=count));
        model.set_page(10);
        model
    }

    fn look(inodes: impl Iterator<Item = u64>) -> Look {
        let line = |inode| {
            let (name, resident) = (format!("{inode:05}"), inode * 100);
            Line::from_driver(Region { name, inode, resident, unpinned: 150, ..Region::default() })
        };
        Look { regions: inodes.map(line).collect(), ..Look::default() }
    }

    fn press(model: &mut Model, keys: &[KeyCode]) -> Wish {
        keys.iter().fold(Wish::Nothing, |_, key| model.press(KeyEvent::from(*key)))
    }

    fn shown(model: &Model) -> Vec<u64> {
        model.lines().map(|(line, _)| line.inode).collect()
    }

    fn selected(model: &Model) -> u64 {
        let among_shown: Vec<_> = model.lines().filter(|(_, is)| *is).map(|(line, _)| line.inode).collect();
        let selected = model.selected().expect("one is selected").inode;
        assert_eq!(among_shown, [selected], "it is shown");
        selected
    }

    #[test]
    fn the_selection_moves_and_is_always_shown() {
        let mut model = model(35);
        assert_eq!((selected(&model), shown(&model)[9]), (35, 26), "the largest first");
        press(&mut model, &[KeyCode::Down, KeyCode::Char('j'), KeyCode::Up]);
        assert_eq!((selected(&model), model.place()), (34, (2, 35)));
        press(&mut model, &[KeyCode::PageDown]);
        assert_eq!((selected(&model), shown(&model)[0]), (24, 33));
        press(&mut model, &[KeyCode::End, KeyCode::Down]);
        assert_eq!((selected(&model), shown(&model)), (1, (1..=10).rev().collect()));
        press(&mut model, &[KeyCode::PageUp, KeyCode::Char('k')]);
        assert_eq!(selected(&model), 12);
        press(&mut model, &[KeyCode::Home, KeyCode::Up]);
        assert_eq!((selected(&model), shown(&model)[0]), (35, 35));
        for page in [0, 1, 100, 3] {
            press(&mut model, &[KeyCode::PageDown]);
            model.set_page(page);
            selected(&model);
        }
    }

    #[test]
    fn the_selection_follows_its_region() {
        let mut model = model(35);
        press(&mut model, &[KeyCode::Down]);
        press(&mut model, &[KeyCode::Char('r')]);
        assert_eq!((selected(&model), model.place().0), (34, 34));
        press(&mut model, &[KeyCode::Char('1'), KeyCode::Char('r')]);
        assert_eq!((selected(&model), model.column), (34, Column::Name));
        model.take(look(30..=90));
        assert_eq!(selected(&model), 34);
        // It is gone; another one is in its place.
        model.take(look(1..=5));
        assert_eq!(selected(&model), 5);
        model.take(look(0..0));
        assert!(model.selected().is_none() && model.place() == (0, 0) && shown(&model).is_empty());
        press(&mut model, &[KeyCode::End, KeyCode::PageDown, KeyCode::Char('r'), KeyCode::Up]);
        model.take(look(1..=5));
        selected(&model);
    }

    #[test]
    fn any_column_can_be_the_order() {
        let mut model = model(3);
        let mut seen = Vec::new();
        for _ in Column::ALL {
            press(&mut model, &[KeyCode::Char('>')]);
            seen.push(model.column);
        }
        assert_eq!((seen[0], seen.len(), model.column), (Column::Pinned, 8, Column::Resident));
        press(&mut model, &[KeyCode::Left, KeyCode::Char('<'), KeyCode::Right]);
        assert_eq!(model.column, Column::Size);
        press(&mut model, &[KeyCode::Char('8')]);
        assert_eq!(model.column, Column::LastUnpin);
    }

    #[test]
    fn keys_that_end() {
        let mut model = model(1);
        assert_eq!(press(&mut model, &[KeyCode::Char('q')]), Wish::Quit);
        assert_eq!(press(&mut model, &[KeyCode::Esc]), Wish::Quit);
        assert_eq!(press(&mut model, &[KeyCode::Char('c')]), Wish::Nothing);
        let mut control = |key| model.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
        assert_eq!(
            ['c', 'z', 'l', 'q'].map(&mut control),
            [Wish::Quit, Wish::Suspend, Wish::Redraw, Wish::Nothing]
        );
        let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(model.press(release), Wish::Nothing);
    }

    #[test]
    fn sums_and_limits() {
        let mut model = model(2);
        assert_eq!((model.takeable(), model.resident()), (250, 300));
        let limit = |name: &str, available, reserve| Limit {
            name: name.to_owned(),
            limit: 1000,
            available,
            reserve,
            ..Limit::default()
        };
        let limits = vec![limit("a", 500, 100), limit("b", 300, 200), limit("c", u64::MAX, 0)];
        model.take(Look { limits, pressure: Some(3.0), ..look(1..=2) });
        assert_eq!(model.nearest().map(|limit| limit.name.as_str()), Some("b"));
        assert_eq!((model.usage.back(), model.stalls.back()), (Some(&70.0), Some(&3.0)));
        for _ in 0..2 * HISTORY {
            model.take(Look { pressure: Some(4.0), ..look(1..=1) });
        }
        assert_eq!(model.stalls.len(), HISTORY);
    }

    #[test]
    fn the_latest_purges_come_first() {
        let mut model = model(1);
        let event = |inode, ago_seconds| Event {
            ago_seconds,
            name: String::new(),
            inode,
            start: None,
            end: None,
            bytes: 1,
        };
        let at = Duration::from_secs(100);
        let purges = vec![event(1, 9.0), event(2, -1.0), event(3, f64::MAX)];
        model.take(Look { at, purges, ..Look::default() });
        let seen: Vec<_> = model.events.iter().map(|(at, event)| (at.as_secs(), event.inode)).collect();
        assert_eq!(seen, [(100, 3), (100, 2), (91, 1)]);
        model.take(Look { purges: (0..1000).map(|inode| event(inode, 0.0)).collect(), ..Look::default() });
        assert_eq!((model.events.len(), model.events[0].1.inode), (EVENTS, 999));
    }

    #[test]
    fn nothing_can_be_seen() {
        let mut model = model(3);
        model.fail("no".to_owned());
        assert_eq!((model.look.trouble.as_deref(), model.place()), (Some("no"), (0, 0)));
    }
}
