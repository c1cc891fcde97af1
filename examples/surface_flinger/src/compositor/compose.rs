//! Composing: from windows one above the other to rows of a screen.

use std::ops::AddAssign;

use crate::Result;
use crate::pixel::{BLACK, blend};
use crate::rect::Rect;

/// Where a window's pixels come from.
pub(crate) trait Source {
    /// Copies the pixels of row `y` from column `x` on.
    fn read_row(&self, x: u32, y: u32, into: &mut [u32]) -> Result<()>;
}

/// Where composed pixels go to.
pub(crate) trait Target {
    /// Writes pixels into row `y` from column `x` on.
    fn write_row(&mut self, x: u32, y: u32, pixels: &[u32]) -> Result<()>;
}

/// A window as it is composed.
pub(crate) struct Plane<'a, S> {
    /// On the screen.
    pub(crate) rect: Rect,
    pub(crate) alpha: u8,
    pub(crate) is_opaque: bool,
    pub(crate) source: &'a S,
}

impl<S> Plane<'_, S> {
    fn hides_what_is_below(&self) -> bool {
        self.is_opaque && self.alpha == 255
    }
}

/// Bytes that were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.read += other.read;
        self.written += other.written;
    }
}

/// Rows of this process's own, in which pixels are laid over each other.
#[derive(Default)]
pub(crate) struct Lines {
    below: Vec<u32>,
    above: Vec<u32>,
}

/// Composes what is in `rect`, which lies on the screen, of planes from the hindmost to the foremost, over black.
///
/// Between two edges of planes all rows have the same planes, and between two edges in a row all pixels have. What is hidden behind an
/// opaque plane is not read.
pub(crate) fn compose<S: Source, T: Target>(
    planes: &[Plane<'_, S>],
    rect: Rect,
    target: &mut T,
    lines: &mut Lines,
) -> Result<Traffic> {
    let mut traffic = Traffic::default();
    if rect.is_empty() {
        return Ok(traffic);
    }
    let seen: Vec<&Plane<'_, S>> =
        planes.iter().filter(|plane| plane.alpha > 0 && !plane.rect.intersection(rect).is_empty()).collect();
    let rows =
        edges(seen.iter().flat_map(|plane| [plane.rect.top, plane.rect.bottom]), rect.top, rect.bottom);
    lines.below.resize(rect.width() as usize, BLACK);
    lines.above.resize(rect.width() as usize, BLACK);
    for band in rows.windows(2) {
        let &[top, bottom] = band else { continue };
        let spans = spans(&seen, Rect { top, bottom, ..rect });
        for y in top..bottom {
            for span in &spans {
                let below = &mut lines.below[span.from..span.to];
                let mut is_first = true;
                for plane in &span.planes {
                    let (x, y) = ((span.left - plane.rect.left) as u32, (y - plane.rect.top) as u32);
                    traffic.read += 4 * below.len() as u64;
                    if is_first && plane.hides_what_is_below() {
                        plane.source.read_row(x, y, below)?;
                    } else {
                        if is_first {
                            below.fill(BLACK);
                        }
                        let above = &mut lines.above[span.from..span.to];
                        plane.source.read_row(x, y, above)?;
                        blend(below, above, plane.alpha, plane.is_opaque);
                    }
                    is_first = false;
                }
                if is_first {
                    below.fill(BLACK);
                }
                below.iter_mut().for_each(|pixel| *pixel |= BLACK);
            }
            target.write_row(rect.left as u32, y as u32, &lines.below[..rect.width() as usize])?;
        }
    }
    traffic.written = 4 * rect.area();
    Ok(traffic)
}

/// Columns that all have the same planes.
struct Span<'a, 'p, S> {
    /// On the screen.
    left: i32,
    /// In the lines.
    from: usize,
    to: usize,
    /// From the hindmost that is seen.
    planes: Vec<&'a Plane<'p, S>>,
}

fn spans<'a, 'p, S>(planes: &[&'a Plane<'p, S>], band: Rect) -> Vec<Span<'a, 'p, S>> {
    let inside: Vec<&'a Plane<'p, S>> =
        planes.iter().copied().filter(|plane| !plane.rect.intersection(band).is_empty()).collect();
    let columns =
        edges(inside.iter().flat_map(|plane| [plane.rect.left, plane.rect.right]), band.left, band.right);
    let between = |pair: &[i32]| {
        let &[left, right] = pair else { return None };
        let mut planes: Vec<_> = inside
            .iter()
            .copied()
            .filter(|plane| plane.rect.left <= left && right <= plane.rect.right)
            .collect();
        if let Some(hides) = planes.iter().rposition(|plane| plane.hides_what_is_below()) {
            planes.drain(..hides);
        }
        let from = left.abs_diff(band.left) as usize;
        Some(Span { left, from, to: from + right.abs_diff(left) as usize, planes })
    };
    columns.windows(2).filter_map(between).collect()
}

/// The edges that are between two others, with those, in order and each once.
fn edges(all: impl Iterator<Item = i32>, first: i32, last: i32) -> Vec<i32> {
    let mut edges: Vec<i32> = all.filter(|edge| first < *edge && *edge < last).collect();
    edges.extend([first, last]);
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::picture::Picture;
    use crate::rect::Size;

    /// Every pixel on its own, every plane of it.
    fn naive(planes: &[Plane<'_, Picture>], size: Size) -> Vec<u32> {
        let mut screen = vec![BLACK; (size.width * size.height) as usize];
        for plane in planes {
            for y in 0..size.height as i32 {
                for x in 0..size.width as i32 {
                    if !Rect::new(x, y, x + 1, y + 1).intersection(plane.rect).is_empty() {
                        let mut above = [0];
                        let (from_x, from_y) = (x - plane.rect.left, y - plane.rect.top);
                        plane.source.read_row(from_x as u32, from_y as u32, &mut above).unwrap();
                        let at = (y * size.width as i32 + x) as usize;
                        blend(&mut screen[at..=at], &above, plane.alpha, plane.is_opaque);
                        screen[at] |= BLACK;
                    }
                }
            }
        }
        screen
    }

    fn windows() -> impl Strategy<Value = Vec<(i32, i32, u32, u32, u8, bool)>> {
        let alpha = prop_oneof![Just(255u8), any::<u8>()];
        prop::collection::vec((-20..50i32, -20..50i32, 1..40u32, 1..40u32, alpha, any::<bool>()), 0..6)
    }

    proptest! {
        #[test]
        fn whatever_was_damaged_is_as_if_all_was_composed(
            windows in windows(),
            rects in prop::collection::vec((0..48i32, 0..32i32, 1..=48i32, 1..=32i32), 0..4),
            seed: u32,
        ) {
            let size = Size { width: 48, height: 32 };
            let pictures: Vec<Picture> = windows
                .iter()
                .map(|w| Picture::noise(Size { width: w.2, height: w.3 }, seed))
                .collect();
            let planes: Vec<_> = windows
                .iter()
                .zip(&pictures)
                .map(|(&(x, y, _, _, alpha, is_opaque), source)| Plane {
                    rect: Rect::of_size(source.size()).moved(x, y),
                    alpha,
                    is_opaque,
                    source,
                })
                .collect();
            let expected = naive(&planes, size);
            let mut screen = Picture::new(size);
            let mut lines = Lines::default();
            compose(&planes, Rect::of_size(size), &mut screen, &mut lines).unwrap();
            prop_assert_eq!(screen.pixels(), &expected[..]);

            // A part of it, over something else.
            let mut part = Picture::noise(size, !seed);
            let before = part.pixels().to_vec();
            let rects: Vec<Rect> = rects.into_iter().map(|(l, t, r, b)| Rect::new(l, t, r, b)).collect();
            for rect in &rects {
                compose(&planes, *rect, &mut part, &mut lines).unwrap();
            }
            for (at, pixel) in part.pixels().iter().enumerate() {
                let (x, y) = (at as i32 % 48, at as i32 / 48);
                let is_inside = rects.iter().any(|r| r.left <= x && x < r.right && r.top <= y && y < r.bottom);
                prop_assert_eq!(*pixel, if is_inside { expected[at] } else { before[at] });
            }
        }
    }

    #[test]
    fn what_is_hidden_is_not_read() {
        let size = Size { width: 10, height: 10 };
        let picture = Picture::new(size);
        let rect = Rect::of_size(size);
        let plane = |is_opaque| Plane { rect, alpha: 255, is_opaque, source: &picture };
        let planes = [plane(false), plane(true), plane(true)];
        let mut screen = Picture::new(size);
        let traffic = compose(&planes, rect, &mut screen, &mut Lines::default()).unwrap();
        assert_eq!(traffic, Traffic { read: 400, written: 400 });
    }
}
