//! The memory controller of cgroup v1 (`Documentation/admin-guide/cgroup-v1/memory.rst`).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::Builder;

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags};

use super::Headroom;
use super::file::{KeptFile, open_dir};
use super::parse::{cgroup_headroom, parse_keyed, parse_number};
use crate::sys::aside::aside;

const USAGE: &CStr = c"memory.usage_in_bytes";

/// No limit is written as the largest number of whole pages, which depends on the kernel.
const NO_LIMIT: u64 = 1 << 60;

/// A cgroup. Its files are open only while it has a limit.
#[derive(Debug)]
pub(super) struct Level {
    dir: OwnedFd,
    path: PathBuf,
    /// What is above it cannot be seen.
    is_highest: bool,
    files: Option<Files>,
    threshold: Option<Threshold>,
    /// One that is being set by a thread.
    coming: Option<Receiver<Option<Threshold>>>,
}

#[derive(Debug)]
struct Files {
    limit: KeptFile,
    usage: KeptFile,
    stat: KeptFile,
    is_highest: bool,
}

/// The kernel adds to the eventfd whenever the usage crosses `at` (bytes), up or down. It ends with the eventfd.
#[derive(Debug)]
struct Threshold {
    eventfd: OwnedFd,
    at: u64,
    limit: u64,
}

impl Level {
    pub(super) fn open(path: &Path, is_highest: bool, buffer: &mut [u8]) -> Option<Level> {
        let (dir, path) = (open_dir(path)?, path.to_owned());
        let mut level = Level { dir, path, is_highest, files: None, threshold: None, coming: None };
        level.refresh(buffer);
        Some(level)
    }

    /// Looks whether a limit was set or removed.
    pub(super) fn refresh(&mut self, buffer: &mut [u8]) {
        if self.files.as_ref().and_then(|files| files.limit(buffer)).is_none() {
            let files = Files::open(self.dir.as_fd(), self.is_highest);
            self.files = files.filter(|files| files.limit(buffer).is_some());
            self.threshold = None;
        }
    }

    /// What is left of the limit now, and whether the threshold will announce that the reserve is reached;
    /// `None` without a limit.
    pub(super) fn headroom(&self, buffer: &mut [u8]) -> Option<(Headroom, bool)> {
        let files = self.files.as_ref()?;
        let limit = files.limit(buffer)?;
        let used = files.usage(buffer)?;
        let inactive = files.stat.read(buffer).and_then(|text| parse_keyed(text, b"total_inactive_file"));
        // Usage above the threshold may be page cache. When that shrinks in favour of something else, usage stays
        // where it is and no event comes.
        let announced =
            self.threshold.as_ref().is_some_and(|threshold| threshold.limit == limit && used < threshold.at);
        Some((cgroup_headroom(limit, used, inactive.unwrap_or(0)), announced))
    }

    /// Sets the threshold to where only the reserve is left. Inactive page cache counts as used there, so the event
    /// comes early rather than late.
    pub(super) fn arm(&mut self, reserve: &dyn Fn(u64) -> u64, buffer: &mut [u8]) {
        let Some((files, at, limit)) = self.wanted(reserve, buffer) else { return };
        let request = if at > 0 { files.request(self.dir.as_fd(), at, limit) } else { None };
        (self.threshold, self.coming) = (request.and_then(Request::make), None);
    }

    /// [`arm`](Self::arm) by a thread of its own, as the kernel takes some tens of milliseconds for it. [`take_over`](Self::take_over) finds the
    /// result.
    pub(super) fn arm_meanwhile(&mut self, reserve: &dyn Fn(u64) -> u64, buffer: &mut [u8]) {
        let Some((files, at, limit)) = self.wanted(reserve, buffer) else { return };
        let request = if at > 0 { files.request(self.dir.as_fd(), at, limit) } else { None };
        let (answer, coming) = mpsc::channel();
        let make = || {
            let request = request?;
            // Fails when the level is gone by then.
            let run = move || drop(answer.send(request.make()));
            Builder::new().name("threshold".to_owned()).spawn(run).ok()
        };
        (self.threshold, self.coming) = (None, make().map(|_| coming));
    }

    /// Takes over what was set meanwhile.
    pub(super) fn take_over(&mut self) {
        let answer = self.coming.as_ref().map(Receiver::try_recv);
        if let Some(Ok(_) | Err(TryRecvError::Disconnected)) = answer {
            (self.threshold, self.coming) = (answer.and_then(Result::ok).flatten(), None);
        }
    }

    /// Where the threshold is to be, and of which limit, if it is not there.
    fn wanted(&self, reserve: &dyn Fn(u64) -> u64, buffer: &mut [u8]) -> Option<(&Files, u64, u64)> {
        let files = self.files.as_ref()?;
        let limit = files.limit(buffer)?;
        let at = limit.saturating_sub(reserve(limit));
        let is_there = self.threshold.as_ref().is_some_and(|old| old.at == at && old.limit == limit);
        (!is_there).then_some((files, at, limit))
    }

    /// What to poll for `POLLIN`.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.threshold.as_ref().map(|threshold| threshold.eventfd.as_fd())
    }

    /// Makes `events` quiet until the usage crosses the threshold again.
    pub(super) fn acknowledge(&mut self, buffer: &mut [u8]) {
        let Some(threshold) = &self.threshold else { return };
        // It does not block, and a count that is gone already is as good.
        let _ = rustix::io::read(&threshold.eventfd, &mut [0; 8]);
        // The last event of a removed cgroup says so; there is nothing left to watch.
        if self.files.as_ref().and_then(|files| files.usage(buffer)).is_none() {
            self.files = None;
            self.threshold = None;
        }
    }

    pub(super) fn describe(&self, buffer: &mut [u8]) -> String {
        let path = self.path.display();
        match (self.headroom(buffer), &self.threshold) {
            (None, _) => format!("cgroup v1 {path}: no limit"),
            (Some((headroom, _)), None) => format!("cgroup v1 {path}: limit {} bytes", headroom.limit),
            (Some((headroom, _)), Some(threshold)) => {
                format!("cgroup v1 {path}: limit {} bytes, event at {} bytes", headroom.limit, threshold.at)
            }
        }
    }
}

impl Files {
    fn open(dir: BorrowedFd<'_>, is_highest: bool) -> Option<Files> {
        Some(Files {
            limit: KeptFile::open(dir, c"memory.limit_in_bytes")?,
            usage: KeptFile::open(dir, USAGE)?,
            stat: KeptFile::open(dir, c"memory.stat")?,
            is_highest,
        })
    }

    fn usage(&self, buffer: &mut [u8]) -> Option<u64> {
        parse_number(self.usage.read(buffer)?)
    }

    /// The cgroup's limit, or that of an ancestor if it is smaller and a mount does not show the ancestor.
    fn limit(&self, buffer: &mut [u8]) -> Option<u64> {
        let own = self.limit.read(buffer).and_then(parse_number);
        let above = if self.is_highest { self.stat.read(buffer) } else { None };
        let above = above.and_then(|text| parse_keyed(text, b"hierarchical_memory_limit"));
        own.into_iter().chain(above).min().filter(|&limit| limit < NO_LIMIT)
    }

    /// `None` without permission to write to the cgroup's files.
    fn request(&self, dir: BorrowedFd<'_>, at: u64, limit: u64) -> Option<Request> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let control = rustix::fs::openat(dir, c"cgroup.event_control", flags, Mode::empty()).ok()?;
        let eventfd =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(aside)?;
        // A level that is closed meanwhile closes its own.
        let usage = aside(self.usage.as_fd().try_clone_to_owned().ok()?);
        Some(Request { control, usage, threshold: Threshold { eventfd, at, limit } })
    }
}

/// A threshold that the kernel does not know of yet.
#[derive(Debug)]
struct Request {
    control: OwnedFd,
    usage: OwnedFd,
    threshold: Threshold,
}

impl Request {
    /// Tells the kernel. It waits until no processor looks at the old thresholds any more.
    fn make(self) -> Option<Threshold> {
        let Request { control, usage, threshold } = self;
        let request = format!("{} {} {}", threshold.eventfd.as_raw_fd(), usage.as_raw_fd(), threshold.at);
        rustix::io::retry_on_intr(|| rustix::io::write(&control, request.as_bytes())).ok()?;
        Some(threshold)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::BUFFER_SIZE;
    use super::*;

    const NONE: &str = "9223372036854771712\n";

    fn tree(limit: &str, usage: &str, stat: &str) -> (tempfile::TempDir, Level, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("memory.limit_in_bytes", limit),
            ("memory.usage_in_bytes", usage),
            ("memory.stat", stat),
            ("cgroup.event_control", ""),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut buffer = vec![0; BUFFER_SIZE];
        let level = Level::open(dir.path(), true, &mut buffer).unwrap();
        (dir, level, buffer)
    }

    #[test]
    fn counts_the_whole_subtree() {
        let stat = "inactive_file 999\ntotal_inactive_file 50\ntotal_active_file 7\n";
        let (_dir, level, mut buffer) = tree("1000\n", "600\n", stat);
        let expected = Headroom { available: 450, limit: 1000 };
        assert_eq!(level.headroom(&mut buffer), Some((expected, false)));
    }

    #[test]
    fn no_limit_is_a_huge_number() {
        let (_dir, level, mut buffer) = tree(NONE, "600\n", "");
        assert_eq!(level.headroom(&mut buffer), None);
        assert!(level.describe(&mut buffer).ends_with("no limit"));
    }

    #[test]
    fn a_hidden_ancestor_may_limit() {
        let (dir, level, mut buffer) = tree(NONE, "600\n", "hierarchical_memory_limit 800\n");
        assert_eq!(level.headroom(&mut buffer).unwrap().0, Headroom { available: 200, limit: 800 });
        let level = Level::open(dir.path(), false, &mut buffer).unwrap();
        assert_eq!(level.headroom(&mut buffer), None, "the ancestor tells");
    }

    #[test]
    fn announces_only_what_is_still_to_come() {
        let (dir, mut level, mut buffer) = tree("1000\n", "600\n", "");
        level.arm(&|limit| limit / 4, &mut buffer);
        let request = fs::read_to_string(dir.path().join("cgroup.event_control")).unwrap();
        let eventfd = level.events().unwrap().as_raw_fd();
        assert!(request.starts_with(&format!("{eventfd} ")) && request.ends_with(" 750"), "{request}");
        assert!(level.headroom(&mut buffer).unwrap().1);
        assert!(level.describe(&mut buffer).ends_with("limit 1000 bytes, event at 750 bytes"));

        fs::write(dir.path().join("memory.usage_in_bytes"), "750\n").unwrap();
        assert!(!level.headroom(&mut buffer).unwrap().1, "above the threshold");
        fs::write(dir.path().join("memory.usage_in_bytes"), "600\n").unwrap();
        fs::write(dir.path().join("memory.limit_in_bytes"), "900\n").unwrap();
        assert!(!level.headroom(&mut buffer).unwrap().1, "another limit");
        level.arm(&|limit| limit / 4, &mut buffer);
        assert!(level.headroom(&mut buffer).unwrap().1);

        level.arm(&|_| u64::MAX, &mut buffer);
        assert!(level.events().is_none());
    }

    #[test]
    fn a_threshold_that_is_set_meanwhile_counts_once_it_is_there() {
        let (dir, mut level, mut buffer) = tree("1000\n", "600\n", "");
        level.arm_meanwhile(&|limit| limit / 4, &mut buffer);
        assert!(!level.headroom(&mut buffer).unwrap().1);
        while level.events().is_none() {
            std::thread::yield_now();
            level.take_over();
        }
        let request = fs::read_to_string(dir.path().join("cgroup.event_control")).unwrap();
        assert!(request.ends_with(" 750"), "{request}");
        assert!(level.headroom(&mut buffer).unwrap().1);
        fs::remove_file(dir.path().join("cgroup.event_control")).unwrap();
        level.arm_meanwhile(&|_| 100, &mut buffer);
        assert!(level.events().is_none() && level.coming.is_none());
    }

    #[test]
    fn without_permission_there_is_no_threshold() {
        let (dir, mut level, mut buffer) = tree("1000\n", "600\n", "");
        fs::remove_file(dir.path().join("cgroup.event_control")).unwrap();
        level.arm(&|_| 100, &mut buffer);
        assert!(level.events().is_none());
        assert!(!level.headroom(&mut buffer).unwrap().1);
    }

    #[test]
    fn forgets_a_removed_cgroup() {
        let (dir, mut level, mut buffer) = tree("1000\n", "600\n", "");
        level.arm(&|_| 100, &mut buffer);
        level.acknowledge(&mut buffer);
        assert!(level.events().is_some());
        fs::write(dir.path().join("memory.usage_in_bytes"), "").unwrap();
        level.acknowledge(&mut buffer);
        assert!(level.events().is_none());
    }
}
