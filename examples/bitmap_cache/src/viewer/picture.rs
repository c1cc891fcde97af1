//! A screen as a picture (SVG), each pixel of a half block a square.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;

/// A character in pixels of the picture: two squares.
const WIDTH: u32 = 8;
const HEIGHT: u32 = 16;
const BACKGROUND: &str = "#14171c";

/// The picture, as SVG.
pub fn draw(buffer: &Buffer) -> String {
    let (width, height) = (u32::from(buffer.area.width) * WIDTH, u32::from(buffer.area.height) * HEIGHT);
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = draw_cells(buffer, &mut body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"13\">\n<title>The viewer's screen</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{BACKGROUND}\"/>\n\
         <g shape-rendering=\"crispEdges\" transform=\"scale({WIDTH}) translate(0 .5)\">\n{body}</svg>\n"
    )
}

fn draw_cells(buffer: &Buffer, svg: &mut String) -> fmt::Result {
    let area = buffer.area;
    let mut text = String::new();
    let mut lines = BTreeMap::new();
    for y in 0..area.height {
        let row: Vec<&Cell> = (0..area.width).filter_map(|x| buffer.cell((area.x + x, area.y + y))).collect();
        let top = 2 * u32::from(y);
        // Upper and lower halves, neighbours of one colour together.
        let halves = |is_upper: bool| {
            row.iter().map(move |cell| match (cell.symbol(), is_upper) {
                ("▀", true) => short_hex(cell.fg),
                (_, _) => short_hex(cell.bg),
            })
        };
        draw_runs(&mut lines, halves(true), top)?;
        draw_runs(&mut lines, halves(false), top + 1)?;
        draw_text(&mut text, &row, u32::from(y) * HEIGHT + 12)?;
    }
    for (colour, lines) in lines {
        writeln!(svg, "<path stroke=\"{colour}\" d=\"{lines}\"/>")?;
    }
    write!(svg, "</g>\n<g xml:space=\"preserve\">\n{text}</g>\n")
}

/// Lines as thick as a half block is high, in its measure; those of one colour are one path.
fn draw_runs(
    lines: &mut BTreeMap<String, String>,
    colours: impl Iterator<Item = Option<String>>,
    y: u32,
) -> fmt::Result {
    let mut runs: Vec<(u32, u32, Option<String>)> = Vec::new();
    for (x, colour) in (0..).zip(colours) {
        match runs.last_mut() {
            Some((_, length, last)) if *last == colour => *length += 1,
            _ => runs.push((x, 1, colour)),
        }
    }
    for (x, length, colour) in runs {
        let Some(colour) = colour else { continue };
        write!(lines.entry(colour).or_default(), "M{x} {y}h{length}")?;
    }
    Ok(())
}

fn draw_text(svg: &mut String, row: &[&Cell], y: u32) -> fmt::Result {
    let is_text = |cell: &&Cell| !matches!(cell.symbol(), "▀" | " ");
    let mut x = 0;
    while let Some(start) = row.iter().skip(x).position(is_text).map(|found| x + found) {
        // Words of one colour with single spaces between them are one text.
        let mut end = start + 1;
        while end < row.len() {
            let continues =
                is_text(&row[end]) || (row[end].symbol() == " " && row.get(end + 1).is_some_and(is_text));
            if !continues || row[end].fg != row[start].fg {
                break;
            }
            end += 1;
        }
        let words: String = row[start..end].iter().map(|cell| cell.symbol()).collect();
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let colour = hex(row[start].fg).unwrap_or_else(|| "#ffffff".to_owned());
        let length = (end - start) as u32 * WIDTH;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{y}\" fill=\"{colour}\" textLength=\"{length}\">{words}</text>",
            start as u32 * WIDTH
        )?;
        x = end;
    }
    Ok(())
}

fn hex(colour: Color) -> Option<String> {
    match colour {
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
        Color::White => Some("#ffffff".to_owned()),
        _ => None,
    }
}

/// With four bits for each part, which is enough for a small picture, and many neighbours are of one colour.
fn short_hex(colour: Color) -> Option<String> {
    let short = |part: u8| (u16::from(part) + 8) / 17;
    match colour {
        Color::Rgb(red, green, blue) => Some(format!("#{:x}{:x}{:x}", short(red), short(green), short(blue))),
        colour => hex(colour),
    }
}
