//! The figures as text.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::measure::Figure;
use super::ways::Way;

pub fn tables(figures: &[Figure]) -> String {
    let until_there = table(figures, |figure| figure.nanoseconds);
    let until_read =
        table(figures, |figure| Some(figure.nanoseconds?.saturating_add(figure.reading_nanoseconds?)));
    let mut text = format!(
        "Until the receiver has it\n{until_there}\n\nUntil the receiver has read every byte of it\n{until_read}\n"
    );
    let mut refusals: Vec<_> =
        figures.iter().filter_map(|figure| Some((figure, figure.refusal.as_ref()?))).collect();
    refusals.sort_by_key(|(figure, _)| figure.size);
    if let Some((figure, refusal)) = refusals.first() {
        text += &format!("\nrefused: {} of {} and more: {refusal}\n", figure.way.name(), size(figure.size));
    }
    for figure in figures.iter().filter(|figure| !figure.is_right) {
        text +=
            &format!("\nWRONG: {} by {} arrived as something else\n", size(figure.size), figure.way.name());
    }
    if figures.iter().all(|figure| figure.is_right) {
        text += "\nEvery payload arrived as it was sent.";
    }
    text
}

fn table(figures: &[Figure], value: impl Fn(&Figure) -> Option<u64>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(std::iter::once("payload").chain(Way::ALL.map(Way::name)));
    for row in figures.chunks(Way::ALL.len()) {
        let cells = row.iter().map(|figure| value(figure).map_or_else(|| "refused".to_owned(), time));
        table.add_row(row.first().map(|figure| size(figure.size)).into_iter().chain(cells));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1 KiB`, `64 MiB`; `1000 B` where it is no whole number of them.
pub fn size(bytes: u64) -> String {
    let units = [(30_u32, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{bytes} B"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

/// Three digits and a unit.
pub fn time(nanoseconds: u64) -> String {
    let nanoseconds = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        ..1e3 => return format!("{nanoseconds} ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        ..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}
