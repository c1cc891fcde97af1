//! Rectangles, and what has changed as a few of them.

use std::fmt;

/// A rectangle in pixels: the left and top edges belong to it, the right and bottom ones do not. As `android.graphics.Rect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// The first column.
    pub left: i32,
    /// The first row.
    pub top: i32,
    /// The column behind the last one.
    pub right: i32,
    /// The row behind the last one.
    pub bottom: i32,
}

impl Rect {
    /// From all four edges.
    #[must_use]
    pub const fn new(left: i32, top: i32, right: i32, bottom: i32) -> Rect {
        Rect { left, top, right, bottom }
    }

    /// At the origin.
    #[must_use]
    pub const fn of_size(size: Size) -> Rect {
        Rect::new(0, 0, size.width as i32, size.height as i32)
    }

    /// Whether no pixel is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// Columns; 0 when it is empty.
    #[must_use]
    pub const fn width(self) -> u32 {
        if self.is_empty() { 0 } else { self.right.abs_diff(self.left) }
    }

    /// Rows; 0 when it is empty.
    #[must_use]
    pub const fn height(self) -> u32 {
        if self.is_empty() { 0 } else { self.bottom.abs_diff(self.top) }
    }

    /// Pixels in it.
    #[must_use]
    pub const fn area(self) -> u64 {
        self.width() as u64 * self.height() as u64
    }

    /// What both have.
    #[must_use]
    pub fn intersection(self, other: Rect) -> Rect {
        Rect {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The smallest rectangle that has both.
    #[must_use]
    pub fn union(self, other: Rect) -> Rect {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Rect {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Moved; edges that would leave the range of numbers stop at its end.
    #[must_use]
    pub const fn moved(self, x: i32, y: i32) -> Rect {
        Rect {
            left: self.left.saturating_add(x),
            top: self.top.saturating_add(y),
            right: self.right.saturating_add(x),
            bottom: self.bottom.saturating_add(y),
        }
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{} to {},{}", self.left, self.top, self.right, self.bottom)
    }
}

/// Width and height in pixels, each from 1 to [`Size::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// The largest width and height.
    pub const MAX: u32 = 8192;

    /// None when a side is 0 or larger than [`Size::MAX`].
    #[must_use]
    pub fn new(width: u32, height: u32) -> Option<Size> {
        let fits = |side| (1..=Size::MAX).contains(&side);
        (fits(width) && fits(height)).then_some(Size { width, height })
    }

    /// Bytes of a row.
    #[must_use]
    pub const fn stride(self) -> u64 {
        self.width as u64 * 4
    }

    /// Bytes of all rows.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.stride() * self.height as u64
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    /// As `1920x1080`.
    fn from_str(text: &str) -> Result<Size, String> {
        let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        sides
            .and_then(|(width, height)| Size::new(width, height))
            .ok_or_else(|| format!("WIDTHxHEIGHT, each from 1 to {}", Size::MAX))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What has changed: a few rectangles that may overlap. More than [`Damage::MAX`] become one around all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage(Vec<Rect>);

impl Damage {
    /// Rectangles at most.
    pub const MAX: usize = 16;

    /// Nothing.
    #[must_use]
    pub fn none() -> Damage {
        Damage::default()
    }

    /// Adds a rectangle. One that costs less together with another one is joined with it.
    pub fn add(&mut self, rect: Rect) {
        let mut rect = rect;
        if rect.is_empty() {
            return;
        }
        while let Some(i) = self.0.iter().position(|other| {
            let joined = other.union(rect);
            joined.area() <= other.area().saturating_add(rect.area())
        }) {
            rect = rect.union(self.0.swap_remove(i));
        }
        self.0.push(rect);
        if self.0.len() > Damage::MAX {
            let all = self.bounds();
            self.0.clear();
            self.0.push(all);
        }
    }

    /// Adds all of another one.
    pub fn add_all(&mut self, other: &Damage) {
        other.0.iter().for_each(|rect| self.add(*rect));
    }

    /// Nothing left.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// None of them is empty.
    #[must_use]
    pub fn rects(&self) -> &[Rect] {
        &self.0
    }

    /// The smallest rectangle around all.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        self.0.iter().fold(Rect::default(), |all, rect| all.union(*rect))
    }
}

impl FromIterator<Rect> for Damage {
    fn from_iter<I: IntoIterator<Item = Rect>>(rects: I) -> Damage {
        let mut damage = Damage::none();
        rects.into_iter().for_each(|rect| damage.add(rect));
        damage
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_limits() {
        assert_eq!("640x360".parse::<Size>(), Ok(Size { width: 640, height: 360 }));
        for text in ["", "640", "0x1", "1x0", "8193x1", "1x8193", "-1x1", "1x1x1", "4294967297x1"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn extreme_rectangles_do_not_overflow() {
        let all = Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
        assert_eq!((all.width(), all.height()), (u32::MAX, u32::MAX));
        assert_eq!(all.moved(i32::MAX, i32::MIN).top, i32::MIN);
        // As windows are placed by who wishes no good.
        let corners = (0..40).map(|i| Rect::new(0, 0, 1, 1).moved(i32::MAX - i * 7, i32::MIN + i * 9));
        let damage: Damage = corners.chain([all, Rect::new(-9, -9, -1, -1)]).collect();
        assert_eq!(damage.bounds(), all);
        assert_eq!(Rect::new(5, 5, 5, 9).area(), 0);
        assert_eq!(Rect::new(9, 0, 5, 9).union(Rect::new(1, 1, 2, 2)), Rect::new(1, 1, 2, 2));
    }

    proptest! {
        #[test]
        fn damage_covers_what_was_added(
            rects in prop::collection::vec((0..64i32, 0..64i32, 0..64i32, 0..64i32), 0..40)
        ) {
            let rects: Vec<Rect> = rects.into_iter().map(|(l, t, r, b)| Rect::new(l, t, r, b)).collect();
            let damage: Damage = rects.iter().copied().collect();
            prop_assert!(damage.rects().len() <= Damage::MAX);
            for rect in rects {
                for y in rect.top..rect.bottom {
                    for x in rect.left..rect.right {
                        let inside = |r: &Rect| r.left <= x && x < r.right && r.top <= y && y < r.bottom;
                        prop_assert!(damage.rects().iter().any(inside), "{x},{y}");
                    }
                }
            }
        }
    }
}
