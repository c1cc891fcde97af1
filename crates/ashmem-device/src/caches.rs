//! `/proc/sys/vm/drop_caches`: with the driver, writing 2 there purges unpinned areas as memory pressure does.
//!
//! The kernel carries the write out. Where it is seen coming, through a high descriptor, the device goes first. Else (shells put it at a
//! low one) that it happened is seen in `/proc/vmstat`, which counts such writes: looked at before each call on the device for a while after
//! somebody opened the file to write.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::state::Shared;
use crate::task::Task;

const PATH: &str = "/proc/sys/vm/drop_caches";

/// How long after the file was opened it may be written to.
const WATCHED: Duration = Duration::from_secs(10);

/// Whether caches were dropped.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// The count, and until when it is to be looked at.
    watched: Option<(u64, Instant)>,
}

impl Caches {
    /// Somebody opens the file to write.
    pub(crate) fn opened(&mut self) {
        let until = Instant::now() + WATCHED;
        let count = self.watched.map(|(count, _)| count).or_else(count);
        self.watched = count.map(|count| (count, until));
    }

    /// One drop that is about to happen has been heeded.
    pub(crate) fn heeded(&mut self) {
        if let Some((count, _)) = &mut self.watched {
            *count += 1;
        }
    }

    /// How often slab caches were dropped since the last look.
    pub(crate) fn dropped(&mut self) -> u64 {
        let Some((before, until)) = self.watched else { return 0 };
        let now = count().unwrap_or(before);
        self.watched = (Instant::now() < until).then_some((now, until));
        now.saturating_sub(before)
    }
}

/// The file, opened for a caller who may write to it and sees it as this process does.
pub(crate) fn file_for(task: &Task<'_>, flags: OFlags) -> Option<OwnedFd> {
    let is_root = task.status().is_some_and(|status| status.users[3] == 0);
    let same_view = || task.shares("mnt") && task.shares("user");
    if flags & OFlags::RWMODE != OFlags::WRONLY || !is_root || !same_view() {
        return None;
    }
    rustix::fs::open(PATH, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The device's part of a write through a high descriptor, if it is one of that file.
pub(crate) fn heed(shared: &Shared, task: &Task<'_>) -> Result<(), Errno> {
    let link = rustix::fs::readlink(task.proc(&format!("fd/{}", task.descriptor(0))), Vec::new());
    if !link.is_ok_and(|link| link.as_bytes() == PATH.as_bytes()) {
        return Ok(());
    }
    let mut text = vec![0; task.argument(2).min(64) as usize];
    task.read_exact(task.argument(1), &mut text)?;
    let value: u32 = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if value & 2 != 0 && value <= 7 && task.is_waiting() {
        shared.lock().drop_caches();
    }
    Ok(())
}

fn count() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("drop_slab "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_before_somebody_opens_the_file() {
        let mut caches = Caches::default();
        assert_eq!(caches.dropped(), 0);
        caches.opened();
        assert_eq!(caches.watched.is_some(), count().is_some());
        caches.watched = Some((0, Instant::now()));
        assert_eq!(caches.dropped(), count().unwrap_or(0));
        assert!(caches.watched.is_none());
        caches.watched = Some((count().unwrap_or(0), Instant::now() + WATCHED));
        caches.heeded();
        assert_eq!(caches.dropped(), 0);
    }
}
