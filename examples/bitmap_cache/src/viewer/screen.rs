//! Draws pictures as half blocks: each character is two pixels, the upper one its colour, the lower one its background.

use std::path::{Path, PathBuf};

use bitmap_cache::{Pixels, Size};
use image::{Rgba, RgbaImage, imageops};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::grid::Grid;
use super::loader::{Loader, Slot};
use crate::{printable, size};

const GREY: Color = Color::Rgb(128, 136, 144);
const RED: Color = Color::Rgb(217, 72, 59);

/// What does not change on the screen.
pub struct Screen {
    folder: PathBuf,
    pictures: Vec<PathBuf>,
}

impl Screen {
    pub fn new(folder: &Path, pictures: Vec<PathBuf>) -> Screen {
        Screen { folder: folder.to_owned(), pictures }
    }

    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// Draws what there is now.
    pub fn draw(&self, grid: &Grid, loader: &Loader, area: Rect, buffer: &mut Buffer) {
        for picture in grid.visible() {
            let cell = grid.cell(picture).intersection(area);
            if cell.height > 1 && cell.width > 1 {
                self.draw_picture(picture, loader, cell, buffer);
            }
        }
        self.draw_status(grid, loader, area, buffer);
    }

    fn draw_picture(&self, picture: usize, loader: &Loader, cell: Rect, buffer: &mut Buffer) {
        let name = self.pictures[picture].strip_prefix(&self.folder).unwrap_or(&self.pictures[picture]);
        let name = printable(&name.to_string_lossy());
        let width = usize::from(cell.width - 1);
        buffer.set_stringn(cell.x, cell.bottom() - 1, name, width, Style::new().fg(GREY));
        let image = Rect { width: cell.width - 1, height: cell.height - 1, ..cell };
        match loader.slot(picture) {
            Some(Slot::There(bitmap)) => match bitmap.pixels_at_once() {
                Ok(Some(pixels)) => draw_pixels(&pixels, image, buffer),
                // The next time it is there again, or it is said why not.
                Ok(None) | Err(_) => loader.is_purged(picture, &bitmap),
            },
            Some(Slot::Purged(_)) | None => {
                buffer.set_stringn(image.x, image.y, "…", width, Style::new().fg(GREY));
            }
            Some(Slot::Failed(reason)) => draw_text(&printable(&reason), image, buffer),
        }
    }

    fn draw_status(&self, grid: &Grid, loader: &Loader, area: Rect, buffer: &mut Buffer) {
        let Some(y) = area.bottom().checked_sub(1) else { return };
        let (stats, trouble) = loader.status();
        let visible = grid.visible();
        let line = format!(
            " {}–{} of {} │ {} of {} │ {} hits │ {} decoded, {} again │ ↑ ↓ PgUp PgDn Home End + - q",
            (visible.start + 1).min(visible.end),
            visible.end,
            self.pictures.len(),
            size(stats.resident_bytes),
            size(stats.limit),
            stats.hits,
            stats.decoded,
            stats.decoded_again,
        );
        let (line, style) = match trouble {
            Some(trouble) => (format!(" {}", printable(&trouble)), Style::new().fg(Color::White).bg(RED)),
            None => (line, Style::new().fg(Color::White).bg(Color::Rgb(52, 58, 66))),
        };
        let row = Rect { y, height: 1, ..area };
        buffer.set_style(row, style);
        buffer.set_stringn(row.x, y, line, usize::from(row.width), style);
    }
}

/// A reason, in as many lines as there are.
fn draw_text(text: &str, area: Rect, buffer: &mut Buffer) {
    let letters: Vec<char> = text.chars().collect();
    for (y, line) in (area.y..area.bottom()).zip(letters.chunks(usize::from(area.width.max(1)))) {
        let line: String = line.iter().collect();
        buffer.set_stringn(area.x, y, line, usize::from(area.width), Style::new().fg(RED));
    }
}

/// Copies the pixels while they are leased, and draws the copy in the middle.
fn draw_pixels(pixels: &Pixels<'_>, area: Rect, buffer: &mut Buffer) {
    let Ok(image) = pixels.to_image() else { return };
    let (width, height) = (u32::from(area.width), 2 * u32::from(area.height));
    let Ok(room) = Size::new(width, height) else { return };
    let fitted = room.fit(image.width(), image.height());
    let scaled = imageops::thumbnail(&image, fitted.width(), fitted.height());
    let left = area.x + (area.width - scaled.width() as u16) / 2;
    let rows = scaled.height().div_ceil(2) as u16;
    let top = area.y + (area.height - rows) / 2;
    for y in 0..rows {
        for x in 0..scaled.width() as u16 {
            let pixel = |y: u32| colour(&scaled, u32::from(x), y);
            let (upper, lower) = (pixel(2 * u32::from(y)), pixel(2 * u32::from(y) + 1));
            let Some(cell) = buffer.cell_mut((left + x, top + y)) else { continue };
            cell.set_char('▀').set_fg(upper.unwrap_or(Color::Reset)).set_bg(lower.unwrap_or(Color::Reset));
        }
    }
}

/// A pixel before black; `None` below the last row.
fn colour(image: &RgbaImage, x: u32, y: u32) -> Option<Color> {
    let Rgba([red, green, blue, alpha]) = *image.get_pixel_checked(x, y)?;
    let mixed = |part: u8| (u16::from(part) * u16::from(alpha) / 255) as u8;
    Some(Color::Rgb(mixed(red), mixed(green), mixed(blue)))
}
