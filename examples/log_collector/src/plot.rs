//! The figures of the benchmark as a picture: a bar for each way. The colours are of a middle brightness, so that they can be read on white and on
//! black.

use std::fmt::{self, Write};

use crate::bench::{Figure, Way};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 44.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

const TEXT: &str = "#808890";

fn colour(way: Way) -> &'static str {
    match way {
        Way::CopyAndStore | Way::CopyAndAdd | Way::CopyAndSharedAdd => "#808890",
        Way::ThreadTicks | Way::LogTicks => "#3d8bd4",
        Way::LogPrecise => "#e08a2e",
    }
}

/// The picture, as SVG.
pub fn draw(figures: &[Figure]) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = draw_body(&mut body, figures);
    let height = TOP + ROW * figures.len() as f64 + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Nanoseconds for a record of 100 bytes</title>\n{body}</svg>\n"
    )
}

fn draw_body(svg: &mut String, figures: &[Figure]) -> fmt::Result {
    writeln!(
        svg,
        "<text x=\"16\" y=\"24\" fill=\"{TEXT}\" font-size=\"14\">Nanoseconds for a record of 100 bytes, two threads at once</text>"
    )?;
    let most = figures.iter().map(|figure| figure.nanoseconds).fold(1.0, f64::max);
    for (row, figure) in figures.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let length = figure.nanoseconds / most * (WIDTH - LEFT - RIGHT);
        let (colour, name, nanoseconds) = (colour(figure.way), figure.way.name(), figure.nanoseconds);
        let text_y = y + BAR - 5.0;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{text_y:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{text_y:.1}\" fill=\"{colour}\">{nanoseconds:.1} ns</text>",
            LEFT - 10.0,
            LEFT + length + 8.0,
        )?;
    }
    Ok(())
}
