//! The pages of a region as stretches, and as a picture.

use std::ops::{ControlFlow, Range};

use ashmem::{PageState, Region, page_size};
use serde::Serialize;

use crate::text::size;

/// Cells in a line of a picture, and lines.
const WIDTH: u64 = 64;
const HEIGHT: u64 = 20;

/// What a page is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Pinned,
    Held,
    Unpinned,
    Purged,
}

/// Consecutive pages that are alike. Offset and length are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    pub offset: u64,
    pub length: u64,
    pub state: Kind,
    /// In memory or swap.
    pub resident: bool,
}

/// Calls `each` with the stretches of a region, in order.
pub fn each_stretch(region: &Region, mut each: impl FnMut(Stretch)) -> ashmem::Result<()> {
    let resident = region.resident_ranges()?;
    let mut next = 0;
    let mut last: Option<Stretch> = None;
    let mut add = |stretch: Stretch| match &mut last {
        Some(before) if (before.state, before.resident) == (stretch.state, stretch.resident) => {
            before.length += stretch.length;
        }
        _ => {
            if let Some(before) = last.replace(stretch) {
                each(before);
            }
        }
    };
    region.each_run(|run| {
        let state = match run.state {
            PageState::Held => Kind::Held,
            PageState::Unpinned => Kind::Unpinned,
            PageState::Purged => Kind::Purged,
            _ => Kind::Pinned,
        };
        let mut from = run.range.start;
        while from < run.range.end {
            while resident.get(next).is_some_and(|extent| extent.end <= from) {
                next += 1;
            }
            let (is_resident, to) = match resident.get(next) {
                Some(extent) if extent.start <= from => (true, extent.end),
                Some(extent) => (false, extent.start),
                None => (false, u64::MAX),
            };
            let to = to.min(run.range.end);
            add(Stretch { offset: from, length: to - from, state, resident: is_resident });
            from = to;
        }
        ControlFlow::Continue(())
    })?;
    if let Some(last) = last {
        each(last);
    }
    Ok(())
}

/// A picture of a region in a few lines, in which each cell shows what most of its pages are.
#[derive(Debug)]
pub struct Picture {
    size: u64,
    /// Bytes that a cell stands for, in whole pages.
    cell: u64,
    /// Bytes of each kind.
    cells: Vec<[u64; SIGNS.len()]>,
}

/// What is shown of a kind, and what it means.
pub const SIGNS: [(char, &str); 5] =
    [('█', "pinned"), ('▓', "held"), ('▒', "unpinned"), ('×', "purged"), ('·', "not in memory")];

impl Picture {
    /// An empty one, for a few lines of text.
    pub fn new(size: u64) -> Picture {
        Picture::with_cells(size, WIDTH * HEIGHT)
    }

    /// An empty one of at most so many cells, and at least one.
    pub fn with_cells(size: u64, most: u64) -> Picture {
        let cell = size.div_ceil(page_size()).div_ceil(most.max(1)).max(1) * page_size();
        Picture { size, cell, cells: vec![[0; SIGNS.len()]; size.div_ceil(cell) as usize] }
    }

    /// Draws a stretch.
    pub fn add(&mut self, stretch: &Stretch) {
        let sign = match stretch.state {
            Kind::Purged => 3,
            _ if !stretch.resident => 4,
            Kind::Pinned => 0,
            Kind::Held => 1,
            Kind::Unpinned => 2,
        };
        let Range { mut start, end } = stretch.offset..stretch.offset + stretch.length;
        while start < end {
            let index = start / self.cell;
            let to = ((index + 1) * self.cell).min(end);
            if let Some(cell) = self.cells.get_mut(index as usize) {
                cell[sign] += to - start;
            }
            start = to;
        }
    }

    /// The same in at most so many cells, and at least one: bytes that a cell stands for, and which of [`SIGNS`] each is, if any.
    pub fn signs(&self, most: usize) -> (u64, Vec<Option<usize>>) {
        let together = self.cells.len().div_ceil(most.max(1)).max(1);
        let merged = |cells: &[[u64; SIGNS.len()]]| {
            let sum = |kind: usize| cells.iter().fold(0, |sum: u64, cell| sum.saturating_add(cell[kind]));
            main_sign(&std::array::from_fn(sum))
        };
        (self.cell.saturating_mul(together as u64), self.cells.chunks(together).map(merged).collect())
    }
}

impl std::fmt::Display for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, line) in self.cells.chunks(WIDTH as usize).enumerate() {
            let signs: String = line.iter().map(sign).collect();
            writeln!(f, "{:>9}  {signs}", size(number as u64 * WIDTH * self.cell))?;
        }
        let legend = SIGNS.map(|(sign, meaning)| format!("{sign} {meaning}")).join("   ");
        let cell = if self.cell == page_size() { "a page".to_owned() } else { size(self.cell) };
        writeln!(f, "{:>9}  {legend}   (each {cell})", size(self.size))
    }
}

fn sign(cell: &[u64; SIGNS.len()]) -> char {
    main_sign(cell).map_or(' ', |place| SIGNS[place].0)
}

/// Which of the kinds most of a cell is; none where nothing was drawn.
fn main_sign(cell: &[u64; SIGNS.len()]) -> Option<usize> {
    // Of two kinds with as much, the first.
    let most = cell.iter().enumerate().max_by_key(|(place, bytes)| (**bytes, SIGNS.len() - place));
    most.filter(|(_, bytes)| **bytes > 0).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(offset: u64, length: u64, state: Kind, resident: bool) -> Stretch {
        Stretch { offset, length, state, resident }
    }

    #[test]
    fn pictures_are_small_and_complete() {
        for pages in [1, 63, 64, 65, 1280, 1281, 1 << 28] {
            let size = pages * page_size() - 1;
            let mut picture = Picture::new(size);
            picture.add(&stretch(0, size, Kind::Unpinned, true));
            let text = picture.to_string();
            assert!(text.lines().count() <= HEIGHT as usize + 1, "{text}");
            // One of them is in the legend.
            let cells = size.div_ceil(picture.cell) as usize;
            assert_eq!(text.matches('▒').count(), cells + 1, "{text}");
        }
    }

    #[test]
    fn a_cell_shows_what_most_of_it_is() {
        let page = page_size();
        let mut picture = Picture::new(3 * WIDTH * HEIGHT * page);
        picture.add(&stretch(0, page, Kind::Pinned, true));
        picture.add(&stretch(page, 2 * page, Kind::Purged, false));
        picture.add(&stretch(3 * page, 2 * page, Kind::Held, true));
        picture.add(&stretch(5 * page, page, Kind::Unpinned, false));
        let text = picture.to_string();
        assert!(text.starts_with("      0 B  ×▓"), "{text}");
    }

    #[test]
    fn pictures_shrink() {
        let page = page_size();
        let mut picture = Picture::with_cells(8 * page, 100);
        picture.add(&stretch(0, 3 * page, Kind::Pinned, true));
        picture.add(&stretch(3 * page, 5 * page, Kind::Purged, false));
        let (cell, signs) = picture.signs(100);
        assert_eq!((cell, signs.len()), (page, 8));
        let (cell, signs) = picture.signs(3);
        assert_eq!((cell, signs), (3 * page, vec![Some(0), Some(3), Some(3)]));
        assert_eq!(picture.signs(0).1, [Some(3)]);
        assert_eq!(Picture::with_cells(0, 0).signs(10).1, []);
        assert_eq!(Picture::with_cells(page, 1).signs(10).1, [None]);
    }
}
