//! What was found, what was promised, and whether it held.

use serde::Serialize;

use super::age::Order;
use super::run::{Outcome, Variant};
use super::sampler::Timeline;
use crate::text::{new_table, size};

/// The neighbour may take so many times as long as alone, in the median.
const MOST_SLOWDOWN: f64 = 1.5;

/// So much of what was purged may be younger than something that was not.
const MOST_NOT_OLDEST: f64 = 0.05;

/// So much at least is freed by the daemon, where there is one.
const LEAST_BY_DAEMON: f64 = 0.95;

/// Everything. Sizes are in bytes, times in seconds.
#[derive(Debug, Serialize)]
pub struct Report {
    pub hierarchy: &'static str,
    pub limit: u64,
    pub processes: u64,
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
    pub promises: Vec<Promise>,
    pub all_held: bool,
}

/// Runs of one kind.
#[derive(Debug, Serialize)]
pub struct Series {
    pub variant: Variant,
    /// Whether `memory.high` was set as well.
    pub high: bool,
    pub runs: Vec<Run>,
    /// Of one of the runs, which then has no time.
    pub timeline: Option<Timeline>,
}

/// Figures of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    pub kills: u64,
    /// The neighbour's time where nobody else is.
    pub alone_seconds: Option<f64>,
    /// The neighbour's time; none if it was killed.
    pub seconds: Option<f64>,
    /// The second by the first.
    pub slowdown: Option<f64>,
    pub order: Order,
    pub order_within: Order,
    pub wrong: u64,
    pub freed_by_caches: u64,
}

/// A promise, and whether it held.
#[derive(Debug, Serialize)]
pub struct Promise {
    pub name: &'static str,
    pub statement: String,
    pub held: bool,
    /// Figures that depend on how busy the machine is.
    pub is_figure: bool,
}

impl Run {
    pub fn new(alone_seconds: Option<f64>, outcome: &Outcome) -> Run {
        let seconds = alone_seconds.and(outcome.time).map(|time| time.as_secs_f64());
        let slowdown = seconds.zip(alone_seconds).map(|(time, alone)| time / alone.max(1e-9));
        Run {
            kills: outcome.kills,
            alone_seconds,
            seconds,
            slowdown,
            order: outcome.order(),
            order_within: outcome.order_within(),
            wrong: outcome.wrong(),
            freed_by_caches: outcome.freed_here(),
        }
    }
}

impl Series {
    pub fn new(variant: Variant, high: bool) -> Series {
        Series { variant, high, runs: Vec::new(), timeline: None }
    }

    pub fn name(&self) -> String {
        format!("{}{}", self.variant.name(), if self.high { ", memory.high" } else { "" })
    }

    pub fn slowdowns(&self) -> Vec<f64> {
        self.runs.iter().filter_map(|run| run.slowdown).collect()
    }

    fn kills(&self) -> u64 {
        self.runs.iter().map(|run| run.kills).sum()
    }

    /// Runs in which somebody was killed.
    fn deadly(&self) -> usize {
        self.runs.iter().filter(|run| run.kills > 0).count()
    }

    fn order(&self) -> Order {
        Order::sum(self.runs.iter().map(|run| run.order))
    }

    fn order_within(&self) -> Order {
        Order::sum(self.runs.iter().map(|run| run.order_within))
    }

    fn promises(&self) -> Vec<Promise> {
        let name = self.name();
        let promise = |what: &'static str, statement: String, held, is_figure| Promise {
            name: what,
            statement: format!("{name}: {statement}"),
            held,
            is_figure,
        };
        let count = self.runs.len();
        if !self.variant.gives_way() {
            let statement = format!("somebody was killed in {} of {count} runs", self.deadly());
            return vec![promise("limit_enforced", statement, self.deadly() == count, false)];
        }
        let kills = self.kills();
        let wrong: u64 = self.runs.iter().map(|run| run.wrong).sum();
        let slowdown = median(self.slowdowns());
        let (order, whose) = match self.variant {
            Variant::Driver => (self.order(), "over all processes"),
            _ => (self.order_within(), "within each process"),
        };
        let mut promises = vec![
            promise("no_kills", format!("{kills} processes killed in {count} runs"), kills == 0, false),
            promise("contents_right", format!("{} not as the pins said", size(wrong)), wrong == 0, false),
            promise(
                "slowdown",
                format!(
                    "{} times the neighbour's time alone, in the median (at most {MOST_SLOWDOWN})",
                    slowdown.map_or_else(|| "?".to_owned(), |slowdown| format!("{slowdown:.2}")),
                ),
                slowdown.is_some_and(|slowdown| slowdown <= MOST_SLOWDOWN),
                true,
            ),
            promise(
                "oldest_first",
                format!(
                    "{} of what went was not the oldest {whose} (at most {})",
                    percent(order.fraction()),
                    percent(MOST_NOT_OLDEST),
                ),
                order.purged > 0 && order.fraction() <= MOST_NOT_OLDEST,
                true,
            ),
        ];
        if self.variant == Variant::Driver {
            let by_caches: u64 = self.runs.iter().map(|run| run.freed_by_caches).sum();
            let share = 1.0 - by_caches as f64 / order.purged.max(by_caches).max(1) as f64;
            promises.push(promise(
                "by_daemon",
                format!("{} freed by the daemon (at least {})", percent(share), percent(LEAST_BY_DAEMON)),
                share >= LEAST_BY_DAEMON,
                true,
            ));
        }
        promises
    }
}

impl Report {
    /// Judges. `lenient` shows figures that depend on how busy the machine is, and counts only the other promises.
    pub fn judge(&mut self, lenient: bool) {
        self.promises = self.series.iter().flat_map(Series::promises).collect();
        self.all_held = self.promises.iter().all(|promise| promise.held || lenient && promise.is_figure);
    }

    /// For people.
    pub fn to_text(&self, lenient: bool) -> String {
        let mut text = format!(
            "{}, limit {}: {} caches with {} together, a neighbour that takes {}\n\n",
            self.hierarchy,
            size(self.limit),
            self.processes,
            size(self.limit * 4 / 5),
            size(self.limit * 3 / 5),
        );
        let header = [
            "Cache",
            "Runs",
            "Killed",
            "Slowdown,\nmedian",
            "\nmost",
            "Purged,\nmedian",
            "Not oldest,\nin a process",
            "\nover all",
        ];
        let mut table = new_table(&header, &[1, 2, 3, 4, 5, 6, 7]);
        for series in &self.series {
            table.add_row(row(series));
        }
        text += &format!("{table}\n\n");
        for skipped in &self.skipped {
            text += &format!("SKIPPED: {}\n", crate::text::printable(skipped));
        }
        for promise in &self.promises {
            let mark = match (promise.held, lenient && promise.is_figure) {
                (true, _) => "✓",
                (false, true) => "–",
                (false, false) => "✗",
            };
            text += &format!(" {mark} {}\n", promise.statement);
        }
        let broken: Vec<_> =
            self.promises.iter().filter(|one| !(one.held || lenient && one.is_figure)).collect();
        text += &match broken.len() {
            0 => "\nAll that counts held.\n".to_owned(),
            count => format!(
                "\n{count} of {} FAILED: {}\n",
                self.promises.len(),
                broken.iter().map(|promise| promise.name).collect::<Vec<_>>().join(", ")
            ),
        };
        text
    }

    pub fn to_json(&self) -> String {
        // Only maps with keys that are no strings can fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

fn row(series: &Series) -> Vec<String> {
    let dash = || "–".to_owned();
    let ratio = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.2}"));
    let (kills, deadly) = (series.kills(), series.deadly());
    let mut row = vec![
        series.name(),
        series.runs.len().to_string(),
        if kills == 0 { "0".to_owned() } else { format!("{kills} in {deadly} runs") },
    ];
    if series.variant.gives_way() {
        let slowdowns = series.slowdowns();
        let purged = series.runs.iter().map(|run| run.order.purged as f64).collect();
        row.extend([
            ratio(median(slowdowns.clone())),
            ratio(slowdowns.into_iter().reduce(f64::max)),
            median(purged).map_or_else(dash, |bytes| size(bytes as u64)),
            percent(series.order_within().fraction()),
            percent(series.order().fraction()),
        ]);
    } else {
        row.extend(std::iter::repeat_with(dash).take(5));
    }
    row
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// The one in the middle, or between the two there.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn series(variant: Variant, count: usize) -> Series {
        let order = Order { purged: 100 << 20, not_oldest: 1 << 20 };
        let runs = (0..count).map(|index| Run {
            kills: u64::from(!variant.gives_way()),
            alone_seconds: Some(0.1),
            seconds: Some(0.12),
            slowdown: Some(1.2 + index as f64 / 100.0),
            order,
            order_within: order,
            ..Run::default()
        });
        Series { runs: runs.collect(), ..Series::new(variant, false) }
    }

    fn judged(spoil: impl FnOnce(&mut [Series]), lenient: bool) -> (Report, Vec<&'static str>) {
        let all = [Variant::Embedded, Variant::Driver, Variant::Plain, Variant::Tmpfs];
        let mut series: Vec<_> = all.into_iter().map(|variant| series(variant, 4)).collect();
        spoil(&mut series);
        let mut report = Report {
            hierarchy: "cgroup v1",
            limit: 512 << 20,
            processes: 4,
            series,
            skipped: Vec::new(),
            promises: Vec::new(),
            all_held: false,
        };
        report.judge(lenient);
        let broken = report.promises.iter().filter(|promise| !promise.held).map(|one| one.name).collect();
        (report, broken)
    }

    #[test]
    fn all_is_well() {
        let (report, broken) = judged(|_| {}, false);
        assert!(report.all_held && broken.is_empty());
        let text = report.to_text(false);
        assert!(text.ends_with("All that counts held.\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        assert!(text.contains("4 in 4 runs") && text.contains("1.23") && text.contains("1.0 %"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["series"][2]["variant"], "plain");
        assert_eq!(json["series"][0]["runs"][3]["order"]["purged"], 100 << 20);
    }

    #[test]
    fn every_promise_can_fail_alone() {
        type Spoil = fn(&mut [Series]);
        let cases: [(&str, bool, Spoil); 8] = [
            ("no_kills", false, |series| series[0].runs[2].kills = 1),
            ("contents_right", false, |series| series[1].runs[2].wrong = 1),
            ("slowdown", true, |series| {
                series[0].runs.iter_mut().for_each(|run| run.slowdown = Some(1.51));
            }),
            ("slowdown", true, |series| series[1].runs.iter_mut().for_each(|run| run.slowdown = None)),
            ("oldest_first", true, |series| series[0].runs[0].order_within.not_oldest = 90 << 20),
            ("oldest_first", true, |series| series[1].runs[0].order.not_oldest = 90 << 20),
            ("by_daemon", true, |series| series[1].runs[0].freed_by_caches = 30 << 20),
            ("limit_enforced", false, |series| series[3].runs[1].kills = 0),
        ];
        for (name, is_figure, spoil) in cases {
            let (report, broken) = judged(spoil, false);
            assert_eq!((report.all_held, broken), (false, vec![name]));
            assert!(report.to_text(false).ends_with(&format!("FAILED: {name}\n")));
            let (report, _) = judged(spoil, true);
            assert_eq!(report.all_held, is_figure, "{name}, leniently");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
