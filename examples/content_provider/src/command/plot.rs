//! The figures as a picture: rows per second over the number of rows, both logarithmic. All colours are of a middle brightness, so
//! that they can be read on white and on black.

use std::fmt::{self, Write};

use super::measure::{Figure, From, Way};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;

const TEXT: &str = "#808890";
const GRID: &str = "#80889040";

/// The lines, with their colours and whether they are dashed.
const LINES: [(Way, From, &str, &str, bool); 4] = [
    (Way::Windows, From::Memory, "windows, from memory", "#3d8bd4", true),
    (Way::Windows, From::Sqlite, "windows, from SQLite", "#3d8bd4", false),
    (Way::Parcels, From::Memory, "parcels, from memory", "#d9483b", true),
    (Way::Parcels, From::Sqlite, "parcels, from SQLite", "#d9483b", false),
];

/// The picture, as SVG.
pub fn draw(figures: &[Figure]) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = Picture::new(figures).draw(&mut body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Rows per second over the size of a result</title>\n{body}</svg>\n"
    )
}

struct Picture<'a> {
    figures: &'a [Figure],
    /// Powers of ten.
    rows: (f64, f64),
    /// Powers of ten.
    rates: (f64, f64),
}

impl Picture<'_> {
    fn new(figures: &[Figure]) -> Picture<'_> {
        let span = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
            if low <= high { (low, high) } else { (0.0, 1.0) }
        };
        let rows = span(&mut figures.iter().map(|figure| (figure.rows as f64).max(1.0).log10()));
        let rates = span(&mut figures.iter().map(|figure| figure.rows_per_second().max(1.0).log10()));
        // A single size is in the middle.
        let rows = if rows.1 - rows.0 < 0.5 { (rows.0 - 0.5, rows.1 + 0.5) } else { rows };
        Picture { figures, rows, rates: (rates.0.floor(), (rates.1 + 0.01).ceil()) }
    }

    fn x(&self, rows: f64) -> f64 {
        LEFT + (rows.max(1.0).log10() - self.rows.0) / (self.rows.1 - self.rows.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, rate: f64) -> f64 {
        let part = (rate.max(1.0).log10() - self.rates.0) / (self.rates.1 - self.rates.0);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"22\" fill=\"{TEXT}\" font-size=\"14\">Rows per second, over the rows of a result</text>"
        )?;
        for power in self.rates.0 as i32..=self.rates.1 as i32 {
            let (y, label) = (self.y(10f64.powi(power)), number(10f64.powi(power)));
            writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{GRID}\"/>")?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{label}</text>"
            )?;
        }
        let mut sizes: Vec<u64> = self.figures.iter().map(|figure| figure.rows).collect();
        sizes.dedup();
        for rows in sizes {
            let (x, y, label) = (self.x(rows as f64), bottom + 18.0, number(rows as f64));
            writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{GRID}\"/>")?;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{TEXT}\" text-anchor=\"middle\">{label}</text>"
            )?;
        }
        let mut labels: Vec<(f64, f64, &str, &str)> = Vec::new();
        for (way, from, name, colour, is_dashed) in LINES {
            let points: Vec<(f64, f64)> = self
                .figures
                .iter()
                .filter(|figure| (figure.way, figure.from) == (way, from))
                .map(|figure| (self.x(figure.rows as f64), self.y(figure.rows_per_second())))
                .collect();
            let Some(&(x, y)) = points.last() else { continue };
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let (path, dashes) = (path.join("L"), if is_dashed { " stroke-dasharray=\"6 4\"" } else { "" });
            writeln!(
                svg,
                "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"
            )?;
            for (x, y) in points {
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
            }
            labels.push((x, y, name, colour));
        }
        // One below the other where lines end in one place.
        labels.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut last = f64::MIN;
        for (x, y, name, colour) in labels {
            let y = y.max(last + 15.0);
            last = y;
            let (x, y) = (x + 10.0, y + 4.0);
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{name}</text>")?;
        }
        Ok(())
    }
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", (v / 1e6).round()),
        v if v >= 1e3 => format!("{}k", (v / 1e3).round()),
        v => format!("{}", v.round()),
    }
}
