//! The latencies as a picture. All colours are of a middle brightness, so that they can be read on white and on black.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use audio_flinger::time::Histogram;

use super::bench::Measured;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 46.0;

const TEXT: &str = "#808890";
const GRID: &str = "#80889040";
const BAR: &str = "#3d8bd4";
const LIMIT: &str = "#d9483b";

/// Milliseconds of a bar.
const STEP: f64 = 0.25;
/// What must not be exceeded, in milliseconds.
const GOAL: f64 = 20.0;

/// The picture, as SVG.
pub fn draw(latency: &Histogram, measured: &Measured) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = draw_body(&mut body, latency, measured);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>End-to-end latency of all tracks</title>\n{body}</svg>\n"
    )
}

fn draw_body(svg: &mut String, latency: &Histogram, measured: &Measured) -> fmt::Result {
    let mut bars: BTreeMap<u64, u64> = BTreeMap::new();
    for (nanoseconds, count) in latency.steps() {
        *bars.entry((nanoseconds as f64 / 1e6 / STEP) as u64).or_default() += count;
    }
    let total = latency.len().max(1) as f64;
    let highest = bars.values().max().map_or(1.0, |most| *most as f64 / total);
    // What took longer is in the last bar.
    let longest = bars.last_key_value().map_or(0.0, |(last, _)| (last + 1) as f64 * STEP);
    let end = longest.clamp(GOAL + 4.0, 2.0 * GOAL).ceil();
    let x = |milliseconds: f64| LEFT + milliseconds.min(end) / end * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| HEIGHT - BOTTOM - share / highest * (HEIGHT - TOP - BOTTOM);

    let title = format!(
        "End-to-end latency of {} tracks, {} underruns in {} s",
        measured.tracks, measured.underruns, measured.seconds
    );
    writeln!(svg, "<text x=\"{LEFT}\" y=\"22\" fill=\"{TEXT}\" font-size=\"14\">{title}</text>")?;
    for part in 0..=4 {
        let share = highest * f64::from(part) / 4.0;
        let (height, right) = (y(share), WIDTH - RIGHT);
        writeln!(svg, "<path d=\"M{LEFT} {height:.1}H{right}\" stroke=\"{GRID}\"/>")?;
        let (label_x, label_y) = (LEFT - 8.0, height + 4.0);
        writeln!(
            svg,
            "<text x=\"{label_x}\" y=\"{label_y:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{:.0} %</text>",
            share * 100.0
        )?;
    }
    let floor = HEIGHT - BOTTOM;
    let every = if end > 30.0 { 4 } else { 2 };
    for milliseconds in (0..=end as u32).step_by(every) {
        let (label_x, label_y) = (x(milliseconds.into()), floor + 18.0);
        writeln!(
            svg,
            "<text x=\"{label_x:.1}\" y=\"{label_y}\" fill=\"{TEXT}\" text-anchor=\"middle\">{milliseconds} ms</text>"
        )?;
    }
    for (bar, count) in bars {
        let start = (bar as f64 * STEP).min(end - STEP);
        let (left, top) = (x(start), y(count as f64 / total));
        let (width, height) = (x(start + STEP) - left - 0.5, floor - top);
        writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{BAR}\"/>"
        )?;
    }
    let (goal, above) = (x(GOAL), TOP - 10.0);
    writeln!(svg, "<path d=\"M{goal:.1} {above}V{floor}\" stroke=\"{LIMIT}\" stroke-dasharray=\"4 3\"/>")?;
    let label = goal + 6.0;
    writeln!(svg, "<text x=\"{label:.1}\" y=\"{TOP}\" fill=\"{LIMIT}\">{GOAL} ms</text>")
}
