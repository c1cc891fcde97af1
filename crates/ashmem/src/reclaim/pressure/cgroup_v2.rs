//! The memory controller of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst`).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Headroom;
use super::file::{KeptFile, open_dir};
use super::parse::{cgroup_headroom, parse_keyed, parse_number};
use super::psi::{Stall, Trigger};

const MAX: &CStr = c"memory.max";
const HIGH: &CStr = c"memory.high";

/// A cgroup. Its files are open only while it has a limit.
#[derive(Debug)]
pub(super) struct Level {
    dir: OwnedFd,
    path: PathBuf,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    max: Option<KeptFile>,
    high: Option<KeptFile>,
    current: KeptFile,
    stat: KeptFile,
    events: Option<KeptFile>,
}

impl Level {
    pub(super) fn open(path: &Path, buffer: &mut [u8]) -> Option<Level> {
        let mut level = Level { dir: open_dir(path)?, path: path.to_owned(), files: None };
        level.refresh(buffer);
        Some(level)
    }

    /// Looks whether a limit was set or removed.
    pub(super) fn refresh(&mut self, buffer: &mut [u8]) {
        if self.files.as_ref().and_then(|files| files.limit(buffer)).is_none() {
            self.files = Files::open(self.dir.as_fd(), buffer).filter(|files| files.limit(buffer).is_some());
        }
    }

    /// What is left of the limit now; `None` without one.
    pub(super) fn headroom(&self, buffer: &mut [u8]) -> Option<Headroom> {
        let files = self.files.as_ref()?;
        let limit = files.limit(buffer)?;
        let used = parse_number(files.current.read(buffer)?)?;
        let inactive = files.stat.read(buffer).and_then(|text| parse_keyed(text, b"inactive_file"));
        Some(cgroup_headroom(limit, used, inactive.unwrap_or(0)))
    }

    /// What to poll for `POLLPRI`: `memory.events`, which counts how often the limit was met.
    ///
    /// It says nothing before the limit is met, so it wakes those who sleep, but nobody can rely on it to look rarely.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.files.as_ref()?.events.as_ref().map(AsFd::as_fd)
    }

    /// Makes `events` quiet until the next change; reading does that. A file that cannot be read is of a removed
    /// cgroup and would never be quiet again.
    pub(super) fn acknowledge(&mut self, buffer: &mut [u8]) {
        if let Some(files) = &mut self.files {
            files.events.take_if(|events| events.read(buffer).is_none());
        }
    }

    /// A trigger for stalls of this cgroup's tasks only.
    pub(super) fn trigger(&self, stall: Stall) -> Option<Trigger> {
        Trigger::open(self.dir.as_fd(), c"memory.pressure", stall)
    }

    pub(super) fn describe(&self, buffer: &mut [u8]) -> String {
        let path = self.path.display();
        match (self.headroom(buffer), self.events()) {
            (None, _) => format!("cgroup v2 {path}: no limit"),
            (Some(headroom), None) => format!("cgroup v2 {path}: limit {} bytes", headroom.limit),
            (Some(headroom), Some(_)) => {
                format!("cgroup v2 {path}: limit {} bytes, events when it is met", headroom.limit)
            }
        }
    }
}

impl Files {
    fn open(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> Option<Files> {
        let events = KeptFile::open(dir, c"memory.events");
        Some(Files {
            max: KeptFile::open(dir, MAX),
            high: KeptFile::open(dir, HIGH),
            current: KeptFile::open(dir, c"memory.current")?,
            stat: KeptFile::open(dir, c"memory.stat")?,
            // The first poll of a file that was never read reports a change.
            events: events.filter(|events| events.read(buffer).is_some()),
        })
    }

    /// The smaller of `memory.max`, where the kernel kills, and `memory.high`, where it slows down.
    /// Both say "max" for none, which is no number.
    fn limit(&self, buffer: &mut [u8]) -> Option<u64> {
        let mut number = |file: &Option<KeptFile>| parse_number(file.as_ref()?.read(buffer)?);
        match (number(&self.max), number(&self.high)) {
            (Some(max), Some(high)) => Some(max.min(high)),
            (max, high) => max.or(high),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::BUFFER_SIZE;
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn headroom(files: &[(&str, &str)]) -> Option<Headroom> {
        let dir = tree(files);
        let mut buffer = vec![0; BUFFER_SIZE];
        Level::open(dir.path(), &mut buffer).unwrap().headroom(&mut buffer)
    }

    const USED: [(&str, &str); 2] =
        [("memory.current", "600\n"), ("memory.stat", "anon 1\ninactive_file 50\nactive_file 70\nshmem 9\n")];

    #[test]
    fn the_smaller_limit_counts() {
        let with = |max, high| headroom(&[USED[0], USED[1], ("memory.max", max), ("memory.high", high)]);
        assert_eq!(with("1000\n", "max\n"), Some(Headroom { available: 450, limit: 1000 }));
        assert_eq!(with("1000\n", "800\n"), Some(Headroom { available: 250, limit: 800 }));
        assert_eq!(with("max\n", "500\n"), Some(Headroom { available: 0, limit: 500 }));
        assert_eq!(with("max\n", "max\n"), None);
        assert_eq!(with("\n", "?"), None);
    }

    #[test]
    fn missing_files_are_missing_knowledge() {
        assert_eq!(headroom(&[]), None);
        assert_eq!(headroom(&[("memory.max", "1000\n")]), None);
        assert_eq!(
            headroom(&[USED[0], ("memory.max", "1000\n"), ("memory.stat", "")]).unwrap().available,
            400
        );
    }

    #[test]
    fn a_limit_can_come_and_go() {
        let dir = tree(&[USED[0], USED[1], ("memory.max", "max\n"), ("memory.events", "max 0\n")]);
        let mut buffer = vec![0; BUFFER_SIZE];
        let mut level = Level::open(dir.path(), &mut buffer).unwrap();
        assert_eq!(level.headroom(&mut buffer), None);
        assert!(level.events().is_none());

        fs::write(dir.path().join("memory.max"), "1000\n").unwrap();
        level.refresh(&mut buffer);
        assert_eq!(level.headroom(&mut buffer).unwrap().limit, 1000);
        assert!(level.describe(&mut buffer).ends_with("limit 1000 bytes, events when it is met"));
        level.acknowledge(&mut buffer);
        assert!(level.events().is_some());

        fs::write(dir.path().join("memory.max"), "2000\n").unwrap();
        assert_eq!(level.headroom(&mut buffer).unwrap().limit, 2000);

        fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        level.refresh(&mut buffer);
        assert!(level.events().is_none());
        assert!(level.describe(&mut buffer).ends_with("no limit"));
    }
}
