//! What the program's own producers draw: pictures that move, each frame a function of its number alone.

use std::f64::consts::TAU;

use crate::picture::Picture;
use crate::pixel::premultiplied;
use crate::rect::{Damage, Rect, Size};

/// Columns of [`Pattern::Bars`].
const BARS: i32 = 12;

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// Waves over the whole window, opaque
    Waves,
    /// A ball in a glass box; little changes
    Ball,
    /// Columns that rise and fall
    Bars,
    /// Rings that widen, and nothing between them
    Rings,
    /// Stripes that move, opaque, and drawn fast
    Stripes,
}

#[derive(Debug)]
enum Kind {
    Pattern(Pattern),
    /// Moves to the left, and comes back at the right.
    Picture(Picture),
}

/// An animation of a window's size.
#[derive(Debug)]
pub struct Animation {
    kind: Kind,
    size: Size,
    /// A circle's worth of sines, and of colours.
    sines: [i32; 256],
    colours: Vec<u32>,
}

impl Animation {
    /// Of a pattern.
    #[must_use]
    pub fn new(pattern: Pattern, size: Size) -> Animation {
        Animation::of(Kind::Pattern(pattern), size)
    }

    /// Of a picture, in a window of its size.
    #[must_use]
    pub fn of_picture(picture: Picture) -> Animation {
        let size = picture.size();
        Animation::of(Kind::Picture(picture), size)
    }

    fn of(kind: Kind, size: Size) -> Animation {
        let sine = |i: usize, amplitude: f64| ((i as f64 * TAU / 256.0).sin() * amplitude).round() as i32;
        let channel = |middle: i32, i: usize, amplitude: f64| (middle + sine(i, amplitude)) as u8;
        let colour = |i: usize| {
            // Steps of eight make bands.
            let i = i / 8 * 8;
            premultiplied(channel(70, i, 40.0), channel(110, i + 40, 50.0), channel(160, i + 90, 60.0), 255)
        };
        let stripe = |i: usize| if i / 32 % 2 == 0 { 0xff30_6080 } else { 0xffc0_d0d8 };
        let colours = match kind {
            Kind::Pattern(Pattern::Stripes) => (0..size.width as usize + 256).map(stripe).collect(),
            _ => (0..256).map(colour).collect(),
        };
        Animation { kind, size, sines: std::array::from_fn(|i| sine(i, 24.0)), colours }
    }

    /// Of its window.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether nothing behind it is to be seen.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        match &self.kind {
            Kind::Pattern(pattern) => matches!(pattern, Pattern::Waves | Pattern::Stripes),
            Kind::Picture(picture) => picture.pixels().iter().all(|pixel| pixel >> 24 == 255),
        }
    }

    /// What frame `frame` changes against the one before. The first one is 1, and changes all.
    #[must_use]
    pub fn damage(&self, frame: u64) -> Damage {
        let all = Rect::of_size(self.size);
        let before = frame.saturating_sub(1);
        if before == 0 {
            return Damage::from_iter([all]);
        }
        match &self.kind {
            Kind::Pattern(Pattern::Ball) => [self.ball(before), self.ball(frame)]
                .map(|(x, y, radius)| Rect::new(x - radius, y - radius, x + radius + 1, y + radius + 1))
                .map(|rect| rect.intersection(all))
                .into_iter()
                .collect(),
            Kind::Pattern(Pattern::Bars) => {
                let moved = (0..BARS).map(|bar| {
                    let (from, to) = (self.bar(bar, before), self.bar(bar, frame));
                    Rect { top: from.top.min(to.top), bottom: from.top.max(to.top), ..from }
                });
                moved.map(|rect| rect.intersection(all)).collect()
            }
            Kind::Picture(picture) if picture.size().width == 1 => Damage::none(),
            _ => Damage::from_iter([all]),
        }
    }

    /// What frame `frame` differs in from frame `since`, if that is not 0.
    #[must_use]
    pub fn damage_since(&self, since: u64, frame: u64) -> Damage {
        // A buffer has one of the last few frames, or nothing.
        if since == 0 || frame.saturating_sub(since) > 16 {
            return self.damage(1);
        }
        let mut damage = Damage::none();
        (since + 1..=frame).for_each(|frame| damage.add_all(&self.damage(frame)));
        damage
    }

    /// Draws a part of a row, from column `x` on.
    pub fn draw_row(&self, frame: u64, x: u32, y: u32, into: &mut [u32]) {
        let (left, row) = (x as i32, y as i32);
        let columns = left..;
        match &self.kind {
            Kind::Pattern(Pattern::Waves) => {
                let time = (frame * 2) as usize;
                for (x, pixel) in columns.zip(into) {
                    let x = x as usize;
                    let wave = self.sines[(x / 2 + time) % 256] + self.sines[(y as usize + time / 2) % 256];
                    *pixel = self.colours[(wave + row / 2 + 256) as usize % 256];
                }
            }
            Kind::Pattern(Pattern::Ball) => {
                let ball = self.ball(frame);
                columns.zip(into).for_each(|(x, pixel)| *pixel = self.ball_pixel(ball, x, row));
            }
            Kind::Pattern(Pattern::Bars) => {
                into.fill(premultiplied(20, 24, 34, 200));
                for bar in 0..BARS {
                    let rect = self.bar(bar, frame);
                    if (rect.top..rect.bottom).contains(&row) {
                        let from = (rect.left - left).clamp(0, into.len() as i32) as usize;
                        let to = (rect.right - left).clamp(from as i32, into.len() as i32) as usize;
                        into[from..to].fill(premultiplied(
                            240 - 12 * bar as u8,
                            100 + 10 * bar as u8,
                            60,
                            235,
                        ));
                    }
                }
            }
            Kind::Pattern(Pattern::Rings) => {
                let middle = (self.size.width as i32 / 2, self.size.height as i32 / 2);
                let radius = middle.0.min(middle.1).pow(2);
                for (x, pixel) in columns.zip(into) {
                    let square = (x - middle.0).pow(2) + (row - middle.1).pow(2);
                    // The rings are as wide as the square of the distance makes them.
                    let ring =
                        (i64::from(square) * 1600 / i64::from(radius.max(1)) - frame as i64 * 12) & 255;
                    *pixel = if square < radius && ring < 110 { 0xb0a8_8030 } else { 0 };
                }
            }
            Kind::Pattern(Pattern::Stripes) => {
                let from = (frame as usize * 4 + y as usize) % 64 + x as usize;
                let length = into.len();
                into.copy_from_slice(&self.colours[from..from + length]);
            }
            Kind::Picture(picture) => {
                let row = picture.row(y);
                let from = (x as usize + frame.saturating_sub(1) as usize * 2) % row.len();
                for (pixel, from) in into.iter_mut().zip(row.iter().cycle().skip(from)) {
                    *pixel = *from;
                }
            }
        }
    }

    /// A whole frame.
    #[must_use]
    pub fn picture(&self, frame: u64) -> Picture {
        let mut pixels = vec![0; self.size.width as usize * self.size.height as usize];
        for (y, row) in pixels.chunks_exact_mut(self.size.width as usize).enumerate() {
            self.draw_row(frame, 0, y as u32, row);
        }
        Picture::from_pixels(self.size, pixels).unwrap_or_else(|| Picture::new(self.size))
    }

    /// Where the ball is, and its radius.
    fn ball(&self, frame: u64) -> (i32, i32, i32) {
        let (width, height) = (self.size.width as i32, self.size.height as i32);
        let radius = width.min(height) / 6;
        let bounce = |way: u64, room: i32| {
            let room = u64::from(room.max(1).unsigned_abs());
            let at = way % (2 * room);
            at.min(2 * room - at) as i32
        };
        let x = radius + bounce(frame * 7, width - 2 * radius - 1);
        (x, radius + bounce(frame * 5, height - 2 * radius - 1), radius)
    }

    fn ball_pixel(&self, (ball_x, ball_y, radius): (i32, i32, i32), x: i32, y: i32) -> u32 {
        let square = (x - ball_x).pow(2) + (y - ball_y).pow(2);
        if square <= radius * radius {
            let light = (x - ball_x + radius / 3).pow(2) + (y - ball_y + radius / 3).pow(2);
            // In steps, so that neighbours are alike.
            let light = (light * 12 / (radius * radius).max(1)).min(30) as u8 * 5;
            return premultiplied(250 - light, 200 - light, 90, 255);
        }
        let is_frame = x < 3 || y < 3 || x >= self.size.width as i32 - 3 || y >= self.size.height as i32 - 3;
        if is_frame { premultiplied(255, 255, 255, 200) } else { premultiplied(255, 255, 255, 60) }
    }

    /// A column, within the window.
    fn bar(&self, bar: i32, frame: u64) -> Rect {
        let (width, height) = (self.size.width as i32, self.size.height as i32);
        let phase = (frame * 3 + bar as u64 * 21) as usize;
        let level = self.sines[phase % 256] + self.sines[(phase * 2 + 70) % 256] + 48;
        let top = height - 4 - level * (height - 8) / 96;
        let (left, right) = (bar * width / BARS, (bar + 1) * width / BARS);
        Rect::new(left + 2, top.clamp(0, height), right - 2, (height - 4).max(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compositor::Target;

    fn animations() -> impl Strategy<Value = Animation> {
        let patterns = vec![Pattern::Waves, Pattern::Ball, Pattern::Bars, Pattern::Rings, Pattern::Stripes];
        let pattern = prop::sample::select(patterns);
        let size = (1..90u32, 1..90u32).prop_map(|(width, height)| Size { width, height });
        (prop::option::weighted(0.8, pattern), size).prop_map(|(pattern, size)| match pattern {
            Some(pattern) => Animation::new(pattern, size),
            None => Animation::of_picture(Picture::noise(size, 3)),
        })
    }

    proptest! {
        /// Drawing what has changed over an older frame gives the frame.
        #[test]
        fn damage_is_all_that_changes(animation in animations(), since in 0..300u64, more in 0..20u64) {
            let frame = since.max(1) + more;
            let mut picture = if since == 0 { Picture::noise(animation.size(), 1) } else { animation.picture(since) };
            for rect in animation.damage_since(since, frame).rects() {
                let mut row = vec![0; rect.width() as usize];
                for y in rect.top..rect.bottom {
                    animation.draw_row(frame, rect.left as u32, y as u32, &mut row);
                    picture.write_row(rect.left as u32, y as u32, &row).unwrap();
                }
            }
            prop_assert!(picture == animation.picture(frame));
            if animation.is_opaque() {
                prop_assert!(picture.pixels().iter().all(|pixel| pixel >> 24 == 255));
            }
        }
    }
}
