//! Which pictures are on the screen, and where.

use std::ops::Range;

use ratatui::layout::Rect;

/// Width of a cell in characters, from the smallest to the largest.
const WIDTHS: [u16; 6] = [12, 16, 20, 26, 36, 54];

/// Cells in rows, as many as fit, above a line of text. A cell is a picture and a line with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    pictures: usize,
    /// Of the screen, in characters.
    width: u16,
    height: u16,
    /// Which of the widths.
    zoom: usize,
    /// The first row that is to see.
    top: usize,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Row(isize),
    Page(isize),
    First,
    Last,
    Larger,
    Smaller,
}

impl Grid {
    pub fn new(pictures: usize) -> Grid {
        Grid { pictures, width: 80, height: 24, zoom: 2, top: 0 }
    }

    /// The screen has this size now. What is at the top stays there.
    pub fn fit(&mut self, width: u16, height: u16) {
        let first = self.visible().start;
        (self.width, self.height) = (width, height);
        self.show(first);
    }

    pub fn go(&mut self, step: Step) {
        let rows = self.rows() as isize;
        let first = self.visible().start;
        match step {
            Step::Row(by) => self.top = self.top.saturating_add_signed(by),
            Step::Page(by) => self.top = self.top.saturating_add_signed(by.saturating_mul(rows)),
            Step::First => self.top = 0,
            Step::Last => self.top = usize::MAX,
            Step::Larger => self.zoom = (self.zoom + 1).min(WIDTHS.len() - 1),
            Step::Smaller => self.zoom = self.zoom.saturating_sub(1),
        }
        match step {
            Step::Larger | Step::Smaller => self.show(first),
            _ => self.top = self.top.min(self.last()),
        }
    }

    /// The pictures on the screen.
    pub fn visible(&self) -> Range<usize> {
        let first = self.top.saturating_mul(self.columns()).min(self.pictures);
        first..first.saturating_add(self.columns() * self.rows()).min(self.pictures)
    }

    /// Those, and as many before and after them.
    pub fn near(&self) -> Range<usize> {
        let Range { start, end } = self.visible();
        let page = self.columns() * self.rows();
        start.saturating_sub(page)..end.saturating_add(page).min(self.pictures)
    }

    /// Where a picture that is on the screen is drawn, with its name.
    pub fn cell(&self, picture: usize) -> Rect {
        let place = picture - self.visible().start;
        let (column, row) = (place % self.columns(), place / self.columns());
        let (width, height) = (self.cell_width(), self.cell_height());
        Rect::new(column as u16 * width, row as u16 * height, width, height).intersection(Rect::new(
            0,
            0,
            self.width,
            self.height.saturating_sub(1),
        ))
    }

    fn show(&mut self, picture: usize) {
        self.top = (picture / self.columns()).min(self.last());
    }

    fn cell_width(&self) -> u16 {
        WIDTHS[self.zoom]
    }

    /// Half as high as wide, as characters are twice as high; three quarters of that for the picture.
    fn cell_height(&self) -> u16 {
        self.cell_width() * 3 / 8 + 1
    }

    fn columns(&self) -> usize {
        usize::from(self.width / self.cell_width()).max(1)
    }

    fn rows(&self) -> usize {
        usize::from(self.height.saturating_sub(1) / self.cell_height()).max(1)
    }

    /// The top row of the last page.
    fn last(&self) -> usize {
        self.pictures.div_ceil(self.columns()).saturating_sub(self.rows())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (-3..=3_isize).prop_map(Step::Row),
            (-2..=2_isize).prop_map(Step::Page),
            Just(Step::First),
            Just(Step::Last),
            Just(Step::Larger),
            Just(Step::Smaller),
        ]
    }

    proptest! {
        #[test]
        fn what_is_visible_is_on_the_screen_once(
            pictures in 0..3000_usize,
            steps in proptest::collection::vec((step(), 0..200_u16, 0..60_u16, any::<bool>()), 1..40),
        ) {
            let mut grid = Grid::new(pictures);
            for (step, width, height, resizes) in steps {
                if resizes {
                    grid.fit(width, height);
                } else {
                    grid.go(step);
                }
                let (visible, near) = (grid.visible(), grid.near());
                prop_assert!(visible.end <= pictures && visible.is_empty() == (pictures == 0));
                prop_assert!(near.start <= visible.start && visible.end <= near.end && near.end <= pictures);
                let cells: Vec<Rect> = visible.clone().map(|picture| grid.cell(picture)).collect();
                for (place, cell) in cells.iter().enumerate() {
                    prop_assert!(cell.right() <= grid.width.max(1) && cell.bottom() < grid.height.max(1));
                    prop_assert!(cells[..place].iter().all(|other| other.intersection(*cell).is_empty()));
                }
                // All are to see at some time.
                let mut seen = grid.clone();
                seen.go(Step::First);
                let mut next = 0;
                for _ in 0..pictures {
                    prop_assert!(seen.visible().start <= next);
                    next = seen.visible().end;
                    if next == pictures {
                        break;
                    }
                    seen.go(Step::Page(1));
                }
                prop_assert_eq!(next, pictures);
            }
        }
    }
}
