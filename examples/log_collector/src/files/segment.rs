//! The files of a log: their names, and looking through one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::frame::{Found, Progress, find};
use crate::{Error, Result};

/// The file of a segment.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("log.{number:08}.zst"))
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log.")?.strip_suffix(".zst")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Opens the file of a segment. A pipe of that name keeps nobody waiting.
pub(super) fn open(path: &Path, is_writable: bool) -> Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let opened = OpenOptions::new().read(true).write(is_writable).custom_flags(flags).open(path);
    opened.map_err(Error::file("open", path))
}

/// The numbers of the segments that are there, the oldest first.
pub(super) fn list(directory: &Path) -> Result<Vec<u64>> {
    const OPERATION: &str = "list the log in";
    let entries = fs::read_dir(directory).map_err(Error::file(OPERATION, directory))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file(OPERATION, directory))?;
        numbers.extend(entry.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What a look through a segment found.
#[derive(Debug)]
pub(super) struct Scan {
    /// What its frames say of lanes, the last last.
    pub(super) progress: Vec<Progress>,
    /// Where the last whole frame ends.
    pub(super) end: u64,
    /// Whether the beginning of another frame is behind it, which somebody was killed writing.
    pub(super) is_torn: bool,
    /// Whether anything else is behind it.
    pub(super) is_damaged: bool,
}

/// Looks through a segment, at the headers only, and at the records of the last frame: that one may have its length, but not
/// all of its bytes, after a loss of power.
pub(super) fn scan(segment: &File) -> io::Result<Scan> {
    let mut scan = Scan { progress: Vec::new(), end: 0, is_torn: false, is_damaged: false };
    let mut last = None;
    loop {
        match find(segment, scan.end)? {
            Found::Frame(header) => {
                let kept = scan.progress.len();
                scan.progress.extend_from_slice(&header.progress);
                let end = scan.end + header.len;
                last = Some((scan.end, kept, header));
                scan.end = end;
            }
            Found::End => break,
            Found::Torn => scan.is_torn = true,
            Found::Damaged(_) => scan.is_damaged = true,
        }
        if scan.is_torn || scan.is_damaged {
            break;
        }
    }
    if let Some((start, kept, header)) = last {
        if header.records(segment, start)?.is_err() {
            scan.progress.truncate(kept);
            scan.end = start;
            scan.is_damaged = true;
        }
    }
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(path(Path::new("d"), 7), Path::new("d/log.00000007.zst"));
        assert_eq!(number("log.00000007.zst"), Some(7));
        assert_eq!(number("log.123456789.zst"), Some(123_456_789));
        for name in [
            "log.7.zst",
            "log.0000000x.zst",
            "log.+0000007.zst",
            "log.00000007",
            "lock",
            "log.99999999999999999999999.zst",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
