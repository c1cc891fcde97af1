//! Where the daemon says what it does: standard error, or a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::error::Error;
use crate::text::printable;

/// The daemon's logger.
#[derive(Debug)]
pub struct Journal {
    path: Option<PathBuf>,
    /// Standard error leads to systemd's journal, which knows the time and wants the level its own way.
    is_journal: bool,
    output: Mutex<Output>,
}

#[derive(Debug)]
struct Output {
    /// None for standard error.
    file: Option<File>,
    /// Lines since the last one that could be written.
    lost: u64,
}

impl Journal {
    /// Logs from now on, to a file or to standard error.
    pub fn start(path: Option<&Path>, level: LevelFilter) -> Result<&'static Journal, Error> {
        static JOURNAL: OnceLock<Journal> = OnceLock::new();
        let journal = Journal::open(path)?;
        let journal = JOURNAL.get_or_init(|| journal);
        // It was started before, in a program that runs twice.
        let _ = log::set_logger(journal);
        log::set_max_level(level);
        Ok(journal)
    }

    fn open(path: Option<&Path>) -> Result<Journal, Error> {
        let file = path.map(open).transpose()?;
        let is_journal = path.is_none() && std::env::var("JOURNAL_STREAM").is_ok_and(|text| is_stderr(&text));
        let output = Mutex::new(Output { file, lost: 0 });
        Ok(Journal { path: path.map(Path::to_owned), is_journal, output })
    }

    /// Opens the file again, for who has moved it away. The old one stays in use where that fails.
    pub fn reopen(&self) -> Result<(), Error> {
        if let Some(path) = &self.path {
            let file = open(path)?;
            self.output().file = Some(file);
        }
        Ok(())
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = printable(&record.args().to_string());
        let line = |text: &str, level| line(self.is_journal, level, text);
        self.output().write(&line(&text, record.level()), |lost| {
            line(&format!("{lost} lines before this could not be written"), Level::Warn)
        });
    }

    fn flush(&self) {}
}

impl Output {
    /// Writes a line; where there is no room, counts it, and says so as soon as there is.
    fn write(&mut self, line: &str, lost: impl FnOnce(u64) -> String) {
        let Some(file) = &mut self.file else {
            // Nobody is left to be told where that fails.
            let _ = io::stderr().write_all(line.as_bytes());
            return;
        };
        let whole = if self.lost > 0 { lost(self.lost) + line } else { line.to_owned() };
        match file.write_all(whole.as_bytes()) {
            Ok(()) => self.lost = 0,
            Err(error) => {
                if self.lost == 0 {
                    let _ = writeln!(
                        io::stderr(),
                        "ashmem: the log cannot be written: {error}; going on without"
                    );
                }
                self.lost += 1;
            }
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|source| Error::Log { path: path.to_owned(), source })
}

/// Whether `DEVICE:INODE` is standard error.
fn is_stderr(stream: &str) -> bool {
    let stat = rustix::fs::fstat(io::stderr().as_fd());
    stat.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn line(is_journal: bool, level: Level, text: &str) -> String {
    if is_journal {
        let priority = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        return format!("<{priority}>{text}\n");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} {level:5} {text}\n", time(now.as_secs()))
}

/// Seconds since 1970 as UTC.
fn time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 400 of them have 146,097 days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let year = year + era * 400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn the_journal_gets_the_level_its_own_way() {
        assert_eq!(line(true, Level::Warn, "x"), "<4>x\n");
        let line = line(false, Level::Warn, "x");
        assert!(line.ends_with("Z WARN  x\n") && line.starts_with("20"), "{line}");
        assert!(!is_stderr("1:2"));
    }

    #[test]
    fn what_is_lost_is_counted_until_there_is_room() {
        let full = File::options().append(true).open("/dev/full").expect("a device");
        let mut output = Output { file: Some(full), lost: 0 };
        for _ in 0..3 {
            output.write("line\n", |lost| format!("{lost} lost\n"));
        }
        assert_eq!(output.lost, 3);
        let file = tempfile::NamedTempFile::new().expect("a file");
        output.file = Some(open(file.path()).expect("opened"));
        output.write("four\n", |lost| format!("{lost} lost\n"));
        output.write("five\n", |lost| format!("{lost} lost\n"));
        assert_eq!(std::fs::read_to_string(file.path()).expect("read"), "3 lost\nfour\nfive\n");
    }
}
