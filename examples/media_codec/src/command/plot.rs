//! The figures as a picture: two bars for each file. All colours are of a middle brightness, so that they can be read on white and on
//! black.

use std::fmt::{self, Write};

use super::bench::Figure;

const WIDTH: f64 = 880.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 60.0;
const ROW: f64 = 46.0;
const BAR: f64 = 15.0;

const TEXT: &str = "#808890";
const OWN: &str = "#e08a2e";
const CODEC: &str = "#3d8bd4";

/// The picture, as SVG. Each file has its own scale: what counts is how its two bars compare.
pub fn draw(figures: &[Figure]) -> String {
    let height = TOP + ROW * figures.len() as f64;
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = rows(&mut body, figures);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Time to decode a file, in the own process and by a codec</title>\n{body}</svg>\n"
    )
}

fn rows(svg: &mut String, figures: &[Figure]) -> fmt::Result {
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" fill=\"{TEXT}\" font-size=\"14\">Time to decode a file, median</text>"
    )?;
    writeln!(svg, "<text x=\"{LEFT}\" y=\"42\" fill=\"{OWN}\">in the client's own process</text>")?;
    writeln!(
        svg,
        "<text x=\"{}\" y=\"42\" fill=\"{CODEC}\">by a codec, in a confined process</text>",
        LEFT + 180.0
    )?;
    for (number, figure) in figures.iter().enumerate() {
        let top = TOP + ROW * number as f64;
        let longest = figure.own_nanoseconds.max(figure.codec_nanoseconds).max(1) as f64;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" fill=\"{TEXT}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            top + BAR + 4.0,
            escaped(&figure.file)
        )?;
        let bars = [
            (OWN, figure.own_nanoseconds, String::new()),
            (CODEC, figure.codec_nanoseconds, format!(", {:.2}x", figure.ratio)),
        ];
        for (place, (colour, nanoseconds, ratio)) in bars.into_iter().enumerate() {
            let y = top + (BAR + 2.0) * place as f64;
            let width = nanoseconds as f64 / longest * (WIDTH - LEFT - RIGHT);
            writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            )?;
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{:.1} ms{ratio}</text>",
                LEFT + width + 8.0,
                y + BAR - 3.0,
                nanoseconds as f64 / 1e6
            )?;
        }
    }
    Ok(())
}

/// A file's name as text of XML.
fn escaped(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            c if c.is_control() => char::REPLACEMENT_CHARACTER.to_string(),
            c => c.to_string(),
        })
        .collect()
}
