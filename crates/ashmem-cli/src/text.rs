//! What tables and messages for people are made of.

use ashmem::NAME_MAX;
use comfy_table::{CellAlignment, Table, TableComponent, presets};

/// A text of one line that does nothing to a terminal, whatever a file or a service is called.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Whether it neither controls a terminal, nor ends a line, nor turns the direction of what follows.
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// The beginning of a name, as much of it as the kernel takes for a region.
pub fn label(name: &str) -> &str {
    let end = (0..=NAME_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    &name[..end.unwrap_or(0)]
}

/// A table with a line under its header, and two spaces between columns.
pub fn new_table(header: &[&str], right_aligned: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table.remove_style(TableComponent::HorizontalLines).remove_style(TableComponent::MiddleIntersections);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index + 1 < header.len() { 2 } else { 0 }));
    }
    for &column in right_aligned {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number of bytes, with three or four digits.
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// `value` in the first unit in which it has at most four digits.
pub fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (150 << 20, "150 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn terminals_are_left_alone() {
        assert_eq!(printable("a\nb\x1b[K"), "a\u{fffd}b\u{fffd}[K");
        assert_eq!(printable("a\u{202e}b\u{2028}ä\u{9b}"), "a\u{fffd}b\u{fffd}ä\u{fffd}");
    }

    #[test]
    fn labels_fit_a_memfd() {
        assert_eq!(label("short"), "short");
        let long = "ä".repeat(200);
        assert_eq!(label(&long).len(), 248);
    }
}
