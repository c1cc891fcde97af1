//! The lower part of the screen: the pages of the selected region, and what was taken away lately.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::column::age;
use super::look::Event;
use super::model::Model;
use super::view::{dim, line_of, text};
use crate::text::{printable, size};
use crate::tools::line::Line;
use crate::tools::map::{Picture, SIGNS};

/// The narrowest screen with room for both.
const BOTH: u16 = 72;

/// The width of what the signs mean.
const LEGEND: u16 = 53;

const COLORS: [Color; SIGNS.len()] =
    [Color::Green, Color::Cyan, Color::Yellow, Color::Magenta, Color::DarkGray];

/// Draws it; without room for both, what is selected alone.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model) {
    if area.width < BOTH {
        pages(buffer, area, model);
        return;
    }
    let width = if area.width >= LEGEND + 40 { LEGEND.max(area.width / 2) } else { area.width / 2 };
    let left = Rect { width, ..area };
    let right = Rect { x: area.x + left.width + 2, width: area.width - left.width - 2, ..area };
    pages(buffer, left, model);
    purges(buffer, right, model);
}

fn pages(buffer: &mut Buffer, area: Rect, model: &Model) {
    let heading = Style::new().fg(Color::Blue);
    let Some(selected) = model.selected() else {
        text(buffer, area, 0, "Pages", heading);
        text(buffer, line_of(area, 1), 0, "no region is selected", dim());
        return;
    };
    let map = model.map.as_ref().filter(|map| map.inode == selected.inode);
    let shown = match map.map(|map| &map.picture) {
        None => Err("looking …"),
        Some(Ok(picture)) => Ok(picture),
        Some(Err(trouble)) => Err(trouble.as_str()),
    };
    match shown {
        Ok(picture) => draw_picture(buffer, area, selected, picture),
        Err(why) => {
            text(buffer, area, 0, &format!("Pages of {}", selected.label()), heading);
            text(buffer, line_of(area, 1), 0, &printable(why), dim());
        }
    }
}

fn draw_picture(buffer: &mut Buffer, area: Rect, selected: &Line, picture: &Picture) {
    let rows = area.height.saturating_sub(2);
    let (cell, signs) = picture.signs(usize::from(rows) * usize::from(area.width));
    let heading = format!("Pages of {} (each {})", selected.label(), size(cell));
    text(buffer, area, 0, &heading, Style::new().fg(Color::Blue));
    if rows == 0 || area.width == 0 {
        return;
    }
    for (number, row) in signs.chunks(area.width.into()).enumerate() {
        let line = line_of(area, 1 + number as u16);
        for (column, sign) in row.iter().enumerate() {
            if let Some(kind) = sign {
                let style = Style::new().fg(COLORS[*kind]);
                text(buffer, line, column as u16, SIGNS[*kind].0.encode_utf8(&mut [0; 4]), style);
            }
        }
    }
    // Below the picture, which may be shorter than there is room.
    let used = signs.len().div_ceil(area.width.into()) as u16;
    let legend = line_of(area, 1 + used);
    let mut column = 0;
    for ((sign, meaning), color) in SIGNS.iter().zip(COLORS) {
        column = text(buffer, legend, column, sign.encode_utf8(&mut [0; 4]), Style::new().fg(color));
        column = text(buffer, legend, column, &format!(" {meaning} "), dim());
    }
}

fn purges(buffer: &mut Buffer, area: Rect, model: &Model) {
    text(buffer, area, 0, "Purged lately", Style::new().fg(Color::Blue));
    if model.events.is_empty() {
        text(buffer, line_of(area, 1), 0, "nothing", dim());
    }
    let room = usize::from(area.height.saturating_sub(1));
    for (number, (at, event)) in model.events.iter().take(room).enumerate() {
        let line = line_of(area, 1 + number as u16);
        let ago = age(model.look.at.saturating_sub(*at).as_secs_f64());
        let column = text(buffer, line, 0, &format!("{ago:>11}  "), dim());
        let column =
            text(buffer, line, column, &format!("{:>8}", size(event.bytes)), Style::new().fg(Color::Magenta));
        text(buffer, line, column, &format!("  {}", what(event)), Style::new());
    }
}

fn what(event: &Event) -> String {
    let name = if event.name.is_empty() { "(no name)".to_owned() } else { printable(&event.name) };
    match (event.start, event.end) {
        (Some(start), Some(end)) => {
            format!("{name}, {} at {}", size(end.saturating_sub(start)), size(start))
        }
        _ => name,
    }
}
