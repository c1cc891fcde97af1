//! How the screen looks, whatever its size. Names and numbers can be anything, as others choose them.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::bars;
use super::column::Column;
use super::model::Model;
use super::panel;
use crate::text::{printable, size};
use crate::tools::line::Line;
use crate::tools::seen::Source;

const HELP: &str = "q quit   ← → 1-8 order   r reverse   ↑ ↓ PgUp PgDn Home End select";

/// Draws everything. The model learns how many lines of the table there is room for.
pub fn draw(frame: &mut Frame, model: &mut Model) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let mut rest = area;
    title(buffer, take_top(&mut rest, 1), model);
    if area.height >= 8 {
        help(buffer, take_bottom(&mut rest, 1), model);
    }
    if area.height >= 5 {
        bars::memory(buffer, take_top(&mut rest, 1), model);
    }
    if area.height >= 12 {
        let height = if area.height >= 24 { 3 } else { 1 };
        bars::pressure(buffer, take_top(&mut rest, height), model);
    }
    if area.height >= 18 {
        let lower = take_bottom(&mut rest, (area.height / 3).clamp(5, 16));
        // With a line between.
        take_bottom(&mut rest, 1);
        panel::draw(buffer, lower, model);
    }
    table(buffer, rest, model);
}

/// Cuts lines off the top of an area, as far as there are so many.
fn take_top(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    let taken = Rect { height, ..*area };
    (area.y, area.height) = (area.y + height, area.height - height);
    taken
}

fn take_bottom(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    area.height -= height;
    Rect { y: area.y + area.height, height, ..*area }
}

/// Writes into the first line of an area, from a column of it on, and cuts what has no room. Returns the column behind it.
pub fn text(buffer: &mut Buffer, area: Rect, column: u16, text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    if area.height == 0 || column >= area.width {
        return area.width;
    }
    let room = usize::from(area.width - column);
    buffer.set_stringn(area.x + column, area.y, text, room, style).0 - area.x
}

/// Writes at the right end of the first line of an area.
pub fn text_right(buffer: &mut Buffer, area: Rect, what: &str, style: Style) {
    // What is written so has no wide characters.
    let length = what.chars().count().min(usize::from(u16::MAX)) as u16;
    text(buffer, area, area.width.saturating_sub(length), what, style);
}

/// The line of an area at a place, which may be behind its end.
pub fn line_of(area: Rect, place: u16) -> Rect {
    if place < area.height {
        Rect { y: area.y + place, height: 1, ..area }
    } else {
        Rect { height: 0, ..area }
    }
}

pub fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Where all this comes from, and how much it is.
fn title(buffer: &mut Buffer, area: Rect, model: &Model) {
    let look = &model.look;
    let mut column = text(buffer, area, 0, "ashmem top  ", bold());
    let source = match (&look.driver, look.source) {
        _ if !model.has_looked => "looking …".to_owned(),
        (Some(driver), _) => format!("driver {}", driver.process),
        (None, Source::Proc | Source::Driver) => "no driver: /proc".to_owned(),
    };
    let color = if look.driver.is_some() { Color::Green } else { Color::Yellow };
    column = text(buffer, area, column, &source, Style::new().fg(color));
    if model.has_looked {
        let (count, processes) = (look.regions.len(), look.processes);
        let hidden = match look.hidden_processes {
            0 => String::new(),
            count => format!(" ({count} more not to be seen)"),
        };
        let regions = if count == 1 { "region" } else { "regions" };
        let amount = format!(
            "  {count} {regions}, {} in memory, processes: {processes}{hidden}",
            size(model.resident())
        );
        column = text(buffer, area, column, &amount, Style::new());
    }
    if let Some(trouble) = &look.trouble {
        text(buffer, area, column, &format!("  {}", printable(trouble)), Style::new().fg(Color::Red));
    }
}

/// The keys, and which region of how many is selected.
fn help(buffer: &mut Buffer, area: Rect, model: &Model) {
    text(buffer, area, 0, HELP, dim());
    let (place, count) = model.place();
    text_right(buffer, area, &format!(" {place}/{count}"), Style::new());
}

/// Columns with a width that does not depend on the screen's, the most important first.
const FIXED: [(Column, u16); 6] = [
    (Column::Resident, 8),
    (Column::Unpinned, 9),
    (Column::Purged, 8),
    (Column::Size, 8),
    (Column::LastUnpin, 11),
    (Column::Pinned, 8),
];

/// The columns that there is room for, from left to right, each with its place and width.
fn columns(width: u16) -> Vec<(Column, u16, u16)> {
    const NAME: u16 = 10;
    const HOLDERS: u16 = 10;
    let mut left = width.saturating_sub(NAME);
    let mut chosen = Vec::new();
    for (column, width) in FIXED {
        if left > width {
            left -= width + 1;
            chosen.push((column, width));
        } else {
            break;
        }
    }
    let holders = if left > HOLDERS { (HOLDERS + (left - HOLDERS - 1) / 2).min(40) } else { 0 };
    let name = width.min(NAME) + left - if holders > 0 { holders + 1 } else { 0 };
    chosen.extend([(Column::Name, name), (Column::Holders, holders)]);
    let mut place = 0;
    let mut laid_out = Vec::new();
    for column in Column::ALL {
        if let Some((_, width)) = chosen.iter().find(|(other, width)| *other == column && *width > 0) {
            laid_out.push((column, place, *width));
            place += width + 1;
        }
    }
    laid_out
}

fn is_text(column: Column) -> bool {
    matches!(column, Column::Name | Column::Holders)
}

fn table(buffer: &mut Buffer, area: Rect, model: &mut Model) {
    let mut rows = area;
    let header = take_top(&mut rows, 1);
    model.set_page(rows.height.into());
    let columns = columns(area.width);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    fill(buffer, header, style);
    for &(column, place, width) in &columns {
        let area = Rect { x: header.x + place, width, ..header };
        let mark = match (column == model.column, model.is_reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        let style = if mark.is_empty() { style } else { style.add_modifier(Modifier::BOLD) };
        let title = format!("{}{mark}", column.title());
        if is_text(column) {
            text(buffer, area, 0, &title, style);
        } else {
            text_right(buffer, area, &title, style);
        }
    }
    // Where the column of the order has no room, its name is said all the same.
    if !columns.iter().any(|(column, ..)| *column == model.column) {
        let mark = if model.is_reversed { "▲" } else { "▼" };
        text_right(buffer, header, &format!(" {}{mark}", model.column.title()), style);
    }
    if model.selected().is_none() && model.has_looked {
        text(buffer, rows, 0, "There are no regions.", dim());
    }
    for (number, (line, is_selected)) in model.lines().enumerate() {
        let row = line_of(rows, number.min(usize::from(u16::MAX)) as u16);
        draw_row(buffer, row, &columns, line, is_selected);
    }
}

fn draw_row(buffer: &mut Buffer, row: Rect, columns: &[(Column, u16, u16)], line: &Line, is_selected: bool) {
    let mut style = Style::new();
    if line.trouble.is_some() {
        style = style.fg(Color::Red);
    }
    if is_selected {
        style = style.bg(Color::Blue).fg(Color::White);
        fill(buffer, row, style);
    }
    for &(column, place, width) in columns {
        let area = Rect { x: row.x + place, width, ..row };
        let cell = column.cell(line);
        let style = match column {
            _ if is_selected => style,
            Column::Unpinned if line.unpinned > 0 => style.fg(Color::Yellow),
            Column::Purged if line.purged > 0 => style.fg(Color::Magenta),
            _ => style,
        };
        if is_text(column) {
            text(buffer, area, 0, &cell, style);
        } else {
            text_right(buffer, area, &cell, style);
        }
    }
}

fn fill(buffer: &mut Buffer, area: Rect, style: Style) {
    let area = area.intersection(buffer.area);
    buffer.set_style(area, style);
}
