//! The cases, run through criterion and collected for the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use serde_json::Value;

use crate::pair::Pair;
use crate::report::{self, Required, Row};
use crate::{fail, ok};

/// How long the operation of a case is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// One thing to measure.
pub struct Case {
    /// Criterion's group and name.
    pub id: (&'static str, &'static str),
    /// What is done, for people.
    pub what: &'static str,
    /// What it is compared with; empty when there is nothing.
    pub reference: &'static str,
    /// What the figure has to be.
    pub required: Required,
    /// One operation takes a second or so.
    pub slow: bool,
}

/// Criterion and the rows measured so far.
pub struct Suite {
    criterion: Criterion,
    target: PathBuf,
    measures: bool,
    rows: Vec<Row>,
}

impl Suite {
    /// For the arguments that cargo and the user gave. Without `--bench` (`cargo test`) every case runs once.
    pub fn new(arguments: &[String]) -> Suite {
        let target = target_directory();
        let criterion = Criterion::default()
            .output_directory(&target.join("criterion"))
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(MEASURED)
            .sample_size(50)
            .configure_from_args();
        let has = |flag| arguments.iter().any(|argument| argument == flag);
        let measures = has("--bench") && !["--test", "--list", "--profile-time"].into_iter().any(has);
        Suite { criterion, target, measures, rows: Vec::new() }
    }

    /// Measures a case, if the user wants it. `setup` is called at most once, and only then.
    pub fn run(&mut self, case: Case, setup: impl Fn() -> Pair) {
        self.run_group(case, None, setup);
    }

    /// The same for an operation that moves so many bytes, for a third of the time: a reference may take many times as long.
    pub fn run_bytes(&mut self, case: Case, bytes: u64, setup: impl Fn() -> Pair) {
        self.run_group(case, Some(bytes), setup);
    }

    fn run_group(&mut self, case: Case, bytes: Option<u64>, setup: impl Fn() -> Pair) {
        let mut group = self.criterion.benchmark_group(case.id.0);
        if let Some(bytes) = bytes {
            group.throughput(Throughput::Bytes(bytes)).measurement_time(MEASURED / 3);
        }
        group.sampling_mode(SamplingMode::Flat);
        if case.slow {
            group.sample_size(10).warm_up_time(Duration::from_millis(1));
        }
        let mut pair = None;
        group.bench_function(case.id.1, |bencher| {
            let pair: &mut Pair = pair.get_or_insert_with(&setup);
            bencher.iter_custom(|count| pair.run(count));
        });
        group.finish();
        let found = pair.filter(|_| self.measures).and_then(|pair| pair.medians());
        if let Some(found) = found {
            let Case { id, what, reference, required, .. } = case;
            let criterion = median(&self.target.join("criterion").join(id.0).join(id.1));
            self.rows.push(Row {
                id: id.0.to_owned() + "/" + id.1,
                what,
                reference,
                bytes,
                found,
                criterion,
                required,
            });
        }
    }

    /// Prints and writes the table. False when a requirement was missed.
    pub fn finish(&self) -> bool {
        if self.rows.is_empty() {
            return true;
        }
        let table = report::markdown(&self.rows);
        println!("\n{table}");
        ok(std::fs::write(self.target.join("ratios.md"), table));
        ok(std::fs::write(self.target.join("ratios.json"), format!("{:#}\n", report::json(&self.rows))));
        self.rows.iter().all(Row::is_met)
    }
}

/// Nanoseconds an operation took, as criterion has just estimated it.
fn median(case: &Path) -> f64 {
    let path = case.join("new").join("estimates.json");
    let estimates: Value = ok(serde_json::from_slice(&ok(std::fs::read(&path))));
    match estimates["median"]["point_estimate"].as_f64() {
        Some(median) => median,
        None => fail(format!("{}: no median", path.display())),
    }
}

/// Cargo's, which this program is in: `target/release/deps/ratios-…`.
fn target_directory() -> PathBuf {
    let program = ok(std::env::current_exe());
    program.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}
