//! How short memory is: a bar, and a graph of the last minutes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Sparkline, Widget};

use super::model::Model;
use super::view::{dim, line_of, text, text_right};
use crate::text::{printable, size};

/// The width of what stands to the left.
const LABEL: u16 = 10;

/// The nearest limit: what is used, what of that can be taken away, what is left, and what of that is to stay.
pub fn memory(buffer: &mut Buffer, area: Rect, model: &Model) {
    let Some(limit) = model.nearest() else {
        text(buffer, area, 0, "Memory    no limit is known", dim());
        return;
    };
    let used = limit.limit.saturating_sub(limit.available);
    let takeable = model.takeable().min(used);
    let is_short = limit.available < limit.reserve;
    let (used_text, left) = (size(used), size(limit.available));
    let words = [
        format!(
            "{used_text} used, {} can be taken; {left} left, {} to stay ({})",
            size(takeable),
            size(limit.reserve),
            printable(&limit.name)
        ),
        format!("{used_text} used, {} can be taken; {left} left", size(takeable)),
        format!("{used_text} used, {left} left"),
        format!("{left} left"),
    ];
    // The longest that leaves a bar of some length.
    let least = area.width / 4;
    let length = |words: &String| words.chars().count();
    let fits = |words: &&String| length(words) + usize::from(LABEL + 1 + least) <= usize::from(area.width);
    let words = words.iter().find(fits).or(words.last()).map_or("", String::as_str);
    text(buffer, area, 0, "Memory", Style::new());
    let width = area.width.saturating_sub(LABEL + 1).saturating_sub(words.chars().count() as u16);
    let reserve = limit.reserve.min(limit.available);
    let parts = [
        (used - takeable, '█', if is_short { Color::Red } else { Color::Green }),
        (takeable, '▒', Color::Yellow),
        (limit.available - reserve, '·', Color::DarkGray),
        (reserve, '░', Color::Blue),
    ];
    let amounts = parts.map(|(amount, ..)| amount);
    let mut column = LABEL;
    for (cells, (_, sign, color)) in shares(amounts, width).into_iter().zip(parts) {
        let bar = sign.to_string().repeat(cells.into());
        let bar_end = column.saturating_add(cells);
        if cells > 0 {
            text(
                buffer,
                Rect { width: area.width.min(bar_end), ..area },
                column,
                &bar,
                Style::new().fg(color),
            );
        }
        column = bar_end;
    }
    let style = if is_short { Style::new().fg(Color::Red) } else { Style::new() };
    text_right(buffer, area, words, style);
}

/// How many of `width` cells each amount gets. What there is a little of gets one, if there are enough.
fn shares<const N: usize>(amounts: [u64; N], width: u16) -> [u16; N] {
    let total: u128 = amounts.iter().map(|amount| u128::from(*amount)).sum();
    let mut cells = [0; N];
    if total == 0 {
        return cells;
    }
    let mut sum = 0;
    let mut done = 0;
    for (place, amount) in amounts.iter().enumerate() {
        sum += u128::from(*amount);
        // Rounded sums, so that they add up.
        let end = ((sum * u128::from(width) + total / 2) / total) as u16;
        cells[place] = end.saturating_sub(done);
        if cells[place] == 0 && *amount > 0 && done < width {
            cells[place] = 1;
        }
        done += cells[place];
    }
    cells
}

/// How long processes waited for memory lately, or else how much of it was in use.
pub fn pressure(buffer: &mut Buffer, area: Rect, model: &Model) {
    let (label, unit, history, least) = if model.look.pressure.is_some() {
        ("Stalls", "some avg10", &model.stalls, 10.0)
    } else {
        ("In use", "of memory", &model.usage, 100.0)
    };
    text(buffer, area, 0, label, Style::new());
    text(buffer, line_of(area, 1), 0, unit, dim());
    let Some(last) = history.back() else { return };
    const VALUE: u16 = 8;
    let graph =
        Rect { x: area.x + LABEL.min(area.width), width: area.width.saturating_sub(LABEL + VALUE), ..area };
    let shown = history.iter().rev().take(graph.width.into()).rev();
    let most = shown.clone().fold(least, |most: f64, percent| most.max(*percent)).min(100.0);
    // In hundredths, so that a little is seen.
    let data: Vec<u64> = shown.map(|percent| (percent.clamp(0.0, 100.0) * 100.0) as u64).collect();
    let color = if *last >= 10.0 && label == "Stalls" { Color::Red } else { Color::Cyan };
    let graph = graph.intersection(buffer.area);
    // At the right end, as it comes from there.
    let filled = (data.len() as u16).min(graph.width);
    let right = Rect { x: graph.x + graph.width - filled, width: filled, ..graph };
    if !right.is_empty() {
        let sparkline = Sparkline::default().data(data).max((most * 100.0) as u64);
        sparkline.style(Style::new().fg(color)).render(right, buffer);
    }
    text_right(buffer, area, &format!("{last:.2} %"), Style::new());
    if area.height > 1 && area.width > 2 * (LABEL + VALUE) {
        text_right(buffer, line_of(area, 1), &format!("of {most:.0} %"), dim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert_eq!(shares([1, 1, 1, 1], 8), [2, 2, 2, 2]);
        assert_eq!(shares([1000, 1, 0, 1000], 20), [10, 1, 0, 9]);
        assert_eq!(shares([0, 0, 0, 0], 20), [0; 4]);
        for width in 0..50 {
            for amounts in [[1, 2, 3, 4], [u64::MAX, 1, u64::MAX, 1], [0, 0, 1, 0], [1, u64::MAX, 1, 1]] {
                let sum: u16 = shares(amounts, width).iter().sum();
                assert_eq!(sum, width, "{amounts:?}");
            }
        }
    }
}
