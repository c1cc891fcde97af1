//! The memory in use over the time, below the limit (SVG). All colours are of a middle brightness, so that they can be read on white and on
//! black.

use std::fmt::{self, Write};

use super::script::Sample;
use crate::size;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 34.0;

const TEXT: &str = "#808890";
const GRID: &str = "#80889040";
const MEMORY: &str = "#3d8bd4";
const LIMIT: &str = "#d9483b";

/// The picture, as SVG.
pub fn draw(samples: &[Sample], limit: u64) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = draw_body(&mut body, samples, limit);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Shared memory in use while scrolling</title>\n{body}</svg>\n"
    )
}

fn draw_body(svg: &mut String, samples: &[Sample], limit: u64) -> fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let seconds = samples.last().map_or(1.0, |last| last.seconds.max(0.001));
    let most = samples.iter().map(|sample| sample.bytes).max().unwrap_or(0).max(limit).max(1) as f64 * 1.15;
    let x = |time: f64| LEFT + time / seconds * (right - LEFT);
    let y = |bytes: f64| bottom - bytes / most * (bottom - TOP);
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" fill=\"{TEXT}\" font-size=\"14\">Shared memory in use while scrolling to the \
         end and back</text>"
    )?;
    for part in 0..=4 {
        let bytes = limit as f64 * f64::from(part) / 4.0;
        let (y, label) = (y(bytes), size(bytes as u64));
        let colour = if part == 4 { LIMIT } else { GRID };
        writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{colour}\"/>")?;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        )?;
    }
    for part in 0..=4 {
        let time = seconds * f64::from(part) / 4.0;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{TEXT}\" text-anchor=\"middle\">{time:.1} s</text>",
            x(time),
            bottom + 20.0
        )?;
    }
    // As many points as can be told apart.
    let step = samples.len().div_ceil(1000).max(1);
    let points: Vec<String> = samples
        .chunks(step)
        .filter_map(|samples| samples.iter().max_by_key(|sample| sample.bytes))
        .map(|sample| format!("{:.1} {:.1}", x(sample.seconds), y(sample.bytes as f64)))
        .collect();
    if !points.is_empty() {
        writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{MEMORY}\" stroke-width=\"2\"/>",
            points.join("L")
        )?;
    }
    let last = samples.last().map_or(0.0, |last| last.bytes as f64);
    for (bytes, colour, name) in [(limit as f64, LIMIT, "limit"), (last, MEMORY, "bitmaps")] {
        let y = if colour == MEMORY { (y(bytes) + 4.0).max(y(limit as f64) + 22.0) } else { y(bytes) + 4.0 };
        writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{name}</text>", right + 10.0)?;
    }
    Ok(())
}
