//! The figure: memory in the course of a run, and how much longer the neighbour took.
//!
//! All colours are of a middle brightness, so that they can be read on white and on black.

use std::fmt::{self, Display, Write};

use super::report::{Report, Series, median};
use super::sampler::{Sample, Timeline};
use crate::text::size;

const WIDTH: f64 = 880.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 54.0;
const GAP: f64 = 18.0;
const PANEL_HEIGHT: f64 = 190.0;
/// Of a row of slowdowns.
const ROW: f64 = 30.0;
const LABEL: f64 = 210.0;

const TEXT: &str = "#808890";
const GRID: &str = "#80889040";
const CACHE: &str = "#3d8bd4";
const NEIGHBOUR: &str = "#e08a2e";
const ALARM: &str = "#d9483b";

/// Seconds before the neighbour begins.
const BEFORE: f64 = 0.03;

/// At most so many points in a curve: more cannot be told apart.
const POINTS: usize = 240;

/// The figure, as SVG.
pub fn draw(report: &Report) -> String {
    let panels: Vec<(&Series, &Timeline)> =
        report.series.iter().filter_map(|series| Some((series, series.timeline.as_ref()?))).collect();
    let rows: Vec<&Series> = report.series.iter().filter(|series| !series.slowdowns().is_empty()).collect();
    let mut figure = Figure { text: String::new() };
    let top = if panels.is_empty() { 10.0 } else { TOP + PANEL_HEIGHT + 42.0 };
    let height = top + rows.len() as f64 * ROW + 44.0;
    // Writing to a string cannot fail.
    let _ = figure.memory(report, &panels);
    let _ = figure.slowdowns(&rows, top);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>Memory of caches and a neighbour in a memory cgroup of {}</title>\n{}</svg>\n",
        size(report.limit),
        figure.text
    )
}

struct Figure {
    text: String,
}

/// Where a value is on paper.
#[derive(Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + share * (self.end - self.start)
    }
}

impl Figure {
    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) -> fmt::Result {
        let (x, y) = from;
        writeln!(self.text, "<path d=\"M{x:.1} {y:.1}L{:.1} {:.1}\" {style}/>", to.0, to.1)
    }

    fn say(&mut self, x: f64, y: f64, style: &str, what: impl Display) -> fmt::Result {
        writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{what}</text>")
    }

    /// A panel for each run that was watched.
    fn memory(&mut self, report: &Report, panels: &[(&Series, &Timeline)]) -> fmt::Result {
        let Some(&(_, first)) = panels.first() else { return Ok(()) };
        let last = |timeline: &Timeline| timeline.samples.last().map_or(0.0, |sample| sample.seconds);
        let longest = panels.iter().map(|(_, timeline)| last(timeline)).fold(last(first), f64::max);
        let width = (WIDTH - LEFT - GAP) / panels.len() as f64 - GAP;
        let most = report.limit as f64 * 1.1;
        let y = Axis { from: 0.0, to: most, start: TOP + PANEL_HEIGHT, end: TOP };
        for quarter in 0..=4 {
            let bytes = report.limit * quarter / 4;
            let style = format!("fill=\"{TEXT}\" text-anchor=\"end\"");
            self.say(LEFT - 6.0, y.at(bytes as f64) + 4.0, &style, size(bytes))?;
        }
        for (index, (series, timeline)) in panels.iter().enumerate() {
            let start = LEFT + index as f64 * (width + GAP);
            let x = Axis { from: -BEFORE, to: longest, start, end: start + width };
            self.panel(series, timeline, x, y, report.limit as f64)?;
        }
        for (place, colour, what) in [(LEFT, CACHE, "caches"), (LEFT + 90.0, NEIGHBOUR, "neighbour")] {
            let at = TOP - 44.0;
            writeln!(
                self.text,
                "<rect x=\"{place}\" y=\"{at}\" width=\"12\" height=\"12\" fill=\"{colour}\" fill-opacity=\".7\"/>"
            )?;
            self.say(place + 18.0, at + 10.5, &format!("fill=\"{TEXT}\""), what)?;
        }
        let style = format!("fill=\"{TEXT}\" text-anchor=\"end\"");
        self.say(WIDTH - GAP, TOP - 33.5, &style, "memory in the cgroup, ms after the neighbour begins")
    }

    fn panel(&mut self, series: &Series, timeline: &Timeline, x: Axis, y: Axis, limit: f64) -> fmt::Result {
        self.say(
            x.start,
            TOP - 8.0,
            &format!("fill=\"{TEXT}\" font-weight=\"bold\""),
            series.variant.name(),
        )?;
        let shown: Vec<&Sample> =
            timeline.samples.iter().filter(|sample| (x.from..=x.to).contains(&sample.seconds)).collect();
        let step = shown.len().div_ceil(POINTS).max(1);
        // What the neighbour has lies on top of the rest.
        self.area(
            shown.iter().step_by(step).map(|one| (one.seconds, 0, one.used - one.neighbour)),
            x,
            y,
            CACHE,
        )?;
        let above = |one: &&Sample| (one.seconds, one.used - one.neighbour, one.used);
        self.area(shown.iter().step_by(step).map(above), x, y, NEIGHBOUR)?;
        let grid = format!("stroke=\"{GRID}\" fill=\"none\"");
        self.line((x.start, y.start), (x.end, y.start), &grid)?;
        let dashed = format!("stroke=\"{ALARM}\" stroke-dasharray=\"5 3\" fill=\"none\"");
        self.line((x.start, y.at(limit)), (x.end, y.at(limit)), &dashed)?;
        let small = format!("fill=\"{TEXT}\" font-size=\"11\" text-anchor=\"middle\"");
        let tick = nice((x.to - x.from) / 3.0);
        for index in 0..6 {
            let seconds = f64::from(index) * tick;
            if seconds < x.to {
                self.line((x.at(seconds), y.start), (x.at(seconds), y.start + 4.0), &grid)?;
                self.say(x.at(seconds), y.start + 17.0, &small, format!("{:.0}", seconds * 1000.0))?;
            }
        }
        let Some(&first) = timeline.kills.first() else { return Ok(()) };
        for &seconds in &timeline.kills {
            let style = format!("stroke=\"{ALARM}\" fill=\"none\"");
            self.line((x.at(seconds), y.end), (x.at(seconds), y.start), &style)?;
        }
        let count = timeline.kills.len();
        let what = if count == 1 { "killed".to_owned() } else { format!("{count} killed") };
        self.say(x.at(first) + 5.0, y.end + 12.0, &format!("fill=\"{ALARM}\" font-weight=\"bold\""), what)
    }

    /// The area between two curves.
    fn area(
        &mut self,
        points: impl DoubleEndedIterator<Item = (f64, u64, u64)> + Clone,
        x: Axis,
        y: Axis,
        colour: &str,
    ) -> fmt::Result {
        let upper = points.clone().map(|(seconds, _, above)| (seconds, above));
        let lower = points.rev().map(|(seconds, below, _)| (seconds, below));
        self.text += "<path d=\"";
        for (index, (seconds, bytes)) in upper.chain(lower).enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            write!(self.text, "{letter}{:.1} {:.1}", x.at(seconds), y.at(bytes as f64))?;
        }
        writeln!(self.text, "\" fill=\"{colour}\" fill-opacity=\".7\"/>")
    }

    /// A dot for each run, and a stroke for the median.
    fn slowdowns(&mut self, rows: &[&Series], top: f64) -> fmt::Result {
        let most = rows.iter().flat_map(|series| series.slowdowns()).fold(2.0, f64::max);
        let x = Axis { from: 0.5, to: most * 1.05, start: LABEL, end: WIDTH - GAP };
        let bottom = top + rows.len() as f64 * ROW;
        let mut mark = nice((x.to - x.from) / 8.0).max(0.5);
        while mark < x.to {
            self.line((x.at(mark), top), (x.at(mark), bottom), &format!("stroke=\"{GRID}\" fill=\"none\""))?;
            let style = format!("fill=\"{TEXT}\" font-size=\"11\" text-anchor=\"middle\"");
            self.say(x.at(mark), bottom + 15.0, &style, format!("{mark}×"))?;
            mark += nice((x.to - x.from) / 8.0).max(0.5);
        }
        for (index, series) in rows.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW;
            self.say(LABEL - 12.0, y + 4.0, &format!("fill=\"{TEXT}\" text-anchor=\"end\""), series.name())?;
            for (number, slowdown) in series.slowdowns().into_iter().enumerate() {
                // Beside each other, in the same way each time.
                let aside = (number * 7 % 11) as f64 - 5.0;
                writeln!(
                    self.text,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{CACHE}\" fill-opacity=\".6\"/>",
                    x.at(slowdown),
                    y + aside
                )?;
            }
            let Some(middle) = median(series.slowdowns()) else { continue };
            let style = format!("stroke=\"{NEIGHBOUR}\" stroke-width=\"2.5\" fill=\"none\"");
            self.line((x.at(middle), y - 11.0), (x.at(middle), y + 11.0), &style)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let what = "the neighbour's time, compared with an empty cgroup: a dot for each run, and the median";
        self.say(LABEL, bottom + 34.0, &format!("fill=\"{TEXT}\""), what)
    }
}

/// The next of 1, 2, 5, 10, … times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&one| one >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::series;
    use super::super::run::Variant;
    use super::*;

    fn report(series: Vec<Series>) -> Report {
        Report {
            hierarchy: "cgroup v1",
            limit: 512 << 20,
            processes: 4,
            series,
            skipped: Vec::new(),
            promises: Vec::new(),
            all_held: true,
        }
    }

    #[test]
    fn what_was_seen_is_drawn() {
        let samples = (0..1000).map(|index| Sample {
            seconds: f64::from(index) / 500.0 - 0.1,
            used: 400 << 20,
            neighbour: 100 << 20,
        });
        let timeline = Timeline { samples: samples.collect(), kills: vec![0.05, 1.0] };
        let mut all = vec![series(Variant::Embedded, 7), series(Variant::Plain, 0)];
        all[1].timeline = Some(timeline);
        let text = draw(&report(all));
        assert_eq!(text.matches("<circle").count(), 7);
        assert_eq!(text.matches("2 killed").count(), 1);
        let mut strokes: Vec<&str> =
            text.lines().filter(|line| line.contains(&format!("{ALARM}\" fill"))).collect();
        strokes.dedup();
        assert_eq!(strokes.len(), 2, "at different times");
        assert_eq!(text.matches("fill-opacity=\".7\"/>").count(), 4, "two areas and their legend");
        assert!(text.len() < 20_000 && !text.contains("NaN"));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_seen_is_nothing_drawn() {
        for series in
            [vec![], vec![Series { timeline: Some(Timeline::default()), ..series(Variant::Tmpfs, 0) }]]
        {
            assert!(!draw(&report(series)).contains("NaN"));
        }
    }

    #[test]
    fn ticks_are_round() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(nice(0.03), 0.05) && close(nice(0.11), 0.2) && close(nice(1.0), 1.0));
    }
}
