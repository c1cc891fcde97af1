//! The figures as a picture: time over size, both logarithmic. All colours are of a middle brightness, so that they can be read on
//! white and on black.

use std::fmt::{self, Write};

use super::measure::Figure;
use super::report::{size, time};
use super::ways::Way;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;

const TEXT: &str = "#808890";
const GRID: &str = "#80889040";

fn colour(way: Way) -> &'static str {
    match way {
        Way::Parcel => "#d9483b",
        Way::Socket => "#e08a2e",
        Way::Pipe => "#a070c8",
        Way::Tcp => "#4a9e6b",
        Way::SharedMemory => "#3d8bd4",
    }
}

/// The picture, as SVG.
pub fn draw(figures: &[Figure]) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = Picture::new(figures).draw(&mut body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Time until another process has a payload, over its size</title>\n{body}</svg>\n"
    )
}

struct Picture<'a> {
    figures: &'a [Figure],
    /// Powers of two.
    sizes: (f64, f64),
    /// Powers of ten.
    times: (f64, f64),
}

impl Picture<'_> {
    fn new(figures: &[Figure]) -> Picture<'_> {
        let sizes = figures.iter().map(|figure| (figure.size as f64).log2());
        let times = figures.iter().filter_map(|figure| Some((figure.nanoseconds? as f64).max(1.0).log10()));
        let sizes = sizes.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let times = times.fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
        let (low, high) = if times.0 <= times.1 { times } else { (3.0, 9.0) };
        // A single size is in the middle.
        let sizes = if sizes.1 - sizes.0 < 1.0 { (sizes.0 - 1.0, sizes.1 + 1.0) } else { sizes };
        Picture { figures, sizes, times: (low.floor(), (high + 0.01).ceil()) }
    }

    fn x(&self, bytes: f64) -> f64 {
        LEFT + (bytes.log2() - self.sizes.0) / (self.sizes.1 - self.sizes.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let part = (nanoseconds.max(1.0).log10() - self.times.0) / (self.times.1 - self.times.0);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"22\" fill=\"{TEXT}\" font-size=\"14\">Time until another process has a payload</text>"
        )?;
        for power in self.times.0 as i32..=self.times.1 as i32 {
            let value = 10f64.powi(power);
            let y = self.y(value);
            writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{GRID}\"/>")?;
            let label = time(value as u64);
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            )?;
        }
        let rows: Vec<u64> =
            self.figures.chunks(Way::ALL.len()).filter_map(|row| Some(row.first()?.size)).collect();
        for &bytes in rows.iter().step_by(rows.len().div_ceil(8).max(1)) {
            let (x, label) = (self.x(bytes as f64), size(bytes));
            writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{GRID}\"/>")?;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{TEXT}\" text-anchor=\"middle\">{label}</text>",
                bottom + 18.0
            )?;
        }
        let mut labels: Vec<(f64, f64, Way)> = Vec::new();
        for way in Way::ALL {
            let points: Vec<(f64, f64)> = self
                .figures
                .iter()
                .filter(|figure| figure.way == way)
                .filter_map(|figure| Some((self.x(figure.size as f64), self.y(figure.nanoseconds? as f64))))
                .collect();
            let Some(&(x, y)) = points.last() else { continue };
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let colour = colour(way);
            writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join("L")
            )?;
            for (x, y) in points {
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
            }
            labels.push((x, y, way));
        }
        self.name(svg, labels)
    }

    /// Names at the ends of the lines, one below the other where several end in one place.
    fn name(&self, svg: &mut String, mut labels: Vec<(f64, f64, Way)>) -> fmt::Result {
        labels.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut last = f64::MIN;
        for (x, y, way) in labels {
            // A line that ends early has room beside its end.
            let ends_early = x < WIDTH - RIGHT - 1.0;
            let y = if ends_early { y } else { y.max(last + 15.0) };
            if !ends_early {
                last = y;
            }
            let (colour, name) = (colour(way), way.name());
            let (x, y, anchor, name) = if ends_early {
                (x, y - 10.0, "end", format!("{name}, refused beyond"))
            } else {
                (x + 10.0, y + 4.0, "start", name.to_owned())
            };
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{name}</text>"
            )?;
        }
        Ok(())
    }
}
