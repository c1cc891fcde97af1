//! The demonstration: providers as processes of their own, and all rows of a table through windows and through parcels.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ashmem_binder::ServiceManager;
use clap::Args;
use content_provider::ContentResolver;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::measure::{self, Figure, From, Way};
use super::{Result, people, plot, serve};

/// Read all rows of a table through cursor windows and through parcels, and compare
///
/// Without a database it makes one with so many rows in a temporary directory. A database that is named is only read.
#[derive(Debug, Args)]
pub struct Demo {
    /// How many rows at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rows: u64,

    /// A database that is there
    #[arg(long, value_name = "FILE", requires = "table")]
    database: Option<PathBuf>,

    /// A table or view of it
    #[arg(long, value_name = "NAME", requires = "database")]
    table: Option<String>,

    /// How often all is read; the medians are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Bytes of rows in one parcel
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10, value_parser = clap::value_parser!(u32).range(1..=4 << 20))]
    batch: u32,

    /// Also a tenth, a hundredth and so on of the rows, as a picture
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Print the figures as one JSON document
    #[arg(long)]
    json: bool,
}

/// What comes out.
#[derive(Debug, Serialize)]
struct Report {
    figures: Vec<Figure>,
    /// SQLite in one process, all rows.
    direct_nanoseconds: u64,
}

impl Demo {
    pub fn run(&self) -> Result<()> {
        // The directory goes when this ends, so signals end it in order; the second one ends it at once.
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        let directory = tempfile::tempdir()?;
        let (database, table) = match (&self.database, &self.table) {
            (Some(database), Some(table)) => (database.clone(), table.as_str()),
            _ => {
                let path = directory.path().join("people.db");
                people::create(&path, self.rows, &stop)
                    .map_err(|error| format!("make a database: {error}"))?;
                (path, people::TABLE)
            }
        };
        let address = format!("unix://{}/services", directory.path().display());
        let _running = Provider::start(&address, "running", &database, &[])?;
        let _memory = Provider::start(&address, "memory", &database, &["--matrix"])?;
        let services = ServiceManager::options().timeout(Some(Duration::from_secs(120))).open_at(&address)?;
        let running = ContentResolver::open(&services, "running")?;
        let memory = ContentResolver::open(&services, "memory")?;
        let (all, direct) = measure::read_directly(&database, table, self.rows)?;
        let mut report = Report {
            figures: Vec::new(),
            direct_nanoseconds: u64::try_from(direct.as_nanos()).unwrap_or(u64::MAX),
        };
        for rows in self.sizes(all.rows) {
            let (expected, _) = measure::read_directly(&database, table, rows)?;
            for from in [From::Sqlite, From::Memory] {
                let resolver = if from == From::Sqlite { &running } else { &memory };
                let figures = measure::run(resolver, table, from, &expected, self.rounds, self.batch, &stop)?;
                report.figures.extend(figures);
            }
        }
        if let Some(path) = &self.plot {
            std::fs::write(path, plot::draw(&report.figures))
                .map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        let text = if self.json { serde_json::to_string_pretty(&report)? } else { report.table() };
        writeln!(io::stdout(), "{text}")?;
        match report.figures.iter().all(|figure| figure.is_right) {
            true => Ok(()),
            false => Err("rows came out other than SQLite has them".into()),
        }
    }

    /// The numbers of rows, all last.
    fn sizes(&self, all: u64) -> Vec<u64> {
        let less = if self.plot.is_some() { 5 } else { 1 };
        let mut sizes: Vec<u64> = std::iter::successors(Some(all), |rows| Some(rows / 10))
            .take(less)
            .take_while(|rows| *rows > 0)
            .collect();
        sizes.reverse();
        sizes
    }
}

impl Report {
    fn table(&self) -> String {
        let mut lines = Vec::new();
        for from in [From::Sqlite, From::Memory] {
            lines.push(
                match from {
                    From::Sqlite => "rows of a query that runs meanwhile",
                    From::Memory => "\nrows that are in the provider's memory: what travels alone",
                }
                .to_owned(),
            );
            lines.push(format!(
                "{:>12} {:>16} {:>16} {:>7} {:>16} {:>16}",
                "rows", "windows, rows/s", "parcels, rows/s", "ratio", "windows, bytes", "parcels, bytes"
            ));
            let of =
                |way: Way| self.figures.iter().filter(move |figure| (figure.way, figure.from) == (way, from));
            for (windows, parcels) in of(Way::Windows).zip(of(Way::Parcels)) {
                lines.push(format!(
                    "{:>12} {:>16.0} {:>16.0} {:>7.1} {:>16} {:>16}",
                    windows.rows,
                    windows.rows_per_second(),
                    parcels.rows_per_second(),
                    windows.rows_per_second() / parcels.rows_per_second(),
                    windows.bytes_through_binder,
                    parcels.bytes_through_binder,
                ));
            }
        }
        let rows = self.figures.last().map_or(0, |figure| figure.rows);
        let direct = rows as f64 * 1e9 / self.direct_nanoseconds.max(1) as f64;
        lines.push(format!(
            "\nSQLite in one process: {direct:.0} rows/s. Bytes are those of Binder's replies for rows."
        ));
        lines.join("\n")
    }
}

/// A provider, which ends with this value, and with this process if that is killed.
struct Provider(Child);

impl Provider {
    fn start(address: &str, authority: &str, database: &Path, arguments: &[&str]) -> Result<Provider> {
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let child = Command::new("/proc/self/exe")
            .args([
                "serve",
                "--read-only",
                "--until-input-ends",
                "--time-limit",
                "20000",
                "--authority",
                authority,
            ])
            .args(arguments)
            .arg("--")
            .arg(database)
            .env("ASHMEM_BINDER", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start a provider: {error}"))?;
        let mut provider = Provider(child);
        let mut line = String::new();
        if let Some(output) = provider.0.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.trim_end() != serve::READY {
            // It has said itself why.
            return Err("the provider did not start".into());
        }
        Ok(provider)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
