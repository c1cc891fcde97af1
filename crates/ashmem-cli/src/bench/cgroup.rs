//! Memory cgroups with a limit, made for one run each, and removed.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Error;
use super::hierarchy::{Hierarchy, Own, has_word};

/// How cgroups of this program are called, with its process number.
const PREFIX: &str = "ashmem-pressure-";

/// How long processes that were killed may take to leave a cgroup.
const LEAVING: Duration = Duration::from_secs(5);

/// What a cgroup may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In bytes; beyond them somebody is killed.
    pub max: u64,
    /// Whether `memory.high` is set as well, a 32nd below: beyond that, who allocates is slowed down.
    pub high: bool,
}

impl Limit {
    fn high_bytes(self) -> Option<u64> {
        self.high.then(|| self.max - self.max / 32)
    }
}

/// The cgroup below which others can be made.
#[derive(Debug)]
pub struct Parent {
    own: Own,
    /// The leaf that this process went into, as v2 wants no processes beside cgroups with controllers.
    leaf: Option<PathBuf>,
    made: Cell<u32>,
}

impl Parent {
    /// Finds out whether this process may make memory cgroups, and makes that possible.
    pub fn prepare(wanted: Option<Hierarchy>) -> Result<Parent, Error> {
        let own = Own::find(wanted)?;
        remove_old(&own.directory);
        let mut parent = Parent { own, leaf: None, made: Cell::new(0) };
        if parent.own.hierarchy == Hierarchy::V2 {
            parent.enable()?;
        }
        // Tried out once, so that nothing else begins where it is in vain.
        parent.make(Limit { max: 1 << 30, high: false })?;
        Ok(parent)
    }

    pub fn hierarchy(&self) -> Hierarchy {
        self.own.hierarchy
    }

    /// Hands the memory controller down.
    fn enable(&mut self) -> Result<(), Error> {
        let control = self.own.directory.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control).map_err(denied(&control))?;
        if has_word(&enabled, "memory") {
            return Ok(());
        }
        match fs::write(&control, "+memory") {
            Ok(()) => return Ok(()),
            // Processes are in it: this one, and if that is all, it can go into a leaf.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(denied(&control)(error)),
        }
        let procs = self.own.directory.join("cgroup.procs");
        let inside = fs::read_to_string(&procs).map_err(denied(&procs))?;
        let own = std::process::id().to_string();
        if inside.split_ascii_whitespace().any(|process| process != own) {
            return Err(Error::NoCgroup {
                reason: format!(
                    "{} has other processes; try `systemd-run --user --scope -p Delegate=yes ashmem bench pressure`",
                    self.own.directory.display()
                ),
            });
        }
        let leaf = self.own.directory.join(format!("{PREFIX}{own}-leaf"));
        fs::create_dir(&leaf).map_err(denied(&leaf))?;
        let procs = leaf.join("cgroup.procs");
        let moved = fs::write(&procs, &own).map_err(denied(&procs));
        // From here on `drop` undoes it.
        self.leaf = Some(leaf);
        moved?;
        fs::write(&control, "+memory").map_err(denied(&control))
    }

    /// A new cgroup, without swap as far as the kernel lets us: pages in swap are no longer in the way.
    pub fn make(&self, limit: Limit) -> Result<Cgroup, Error> {
        let number = self.made.replace(self.made.get() + 1);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let directory = self.own.directory.join(name);
        fs::create_dir(&directory).map_err(denied(&directory))?;
        let cgroup = Cgroup { hierarchy: self.own.hierarchy, directory };
        match cgroup.hierarchy {
            Hierarchy::V1 => {
                let _ = cgroup.set("memory.swappiness", "0");
                cgroup.set("memory.limit_in_bytes", &limit.max.to_string())?;
                // Only where the kernel counts swap.
                let _ = cgroup.set("memory.memsw.limit_in_bytes", &limit.max.to_string());
            }
            Hierarchy::V2 => {
                let _ = cgroup.set("memory.swap.max", "0");
                let _ = cgroup.set("memory.zswap.max", "0");
                cgroup.set("memory.max", &limit.max.to_string())?;
                if let Some(high) = limit.high_bytes() {
                    cgroup.set("memory.high", &high.to_string())?;
                }
            }
        }
        Ok(cgroup)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let Some(leaf) = &self.leaf else { return };
        // Out of the leaf only works once the controller is off again. What fails leaves an empty cgroup.
        let _ = fs::write(self.own.directory.join("cgroup.subtree_control"), "-memory");
        let _ = fs::write(self.own.directory.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(leaf);
    }
}

/// A memory cgroup. Removed on drop; whoever is in it then is killed.
#[derive(Debug)]
pub struct Cgroup {
    hierarchy: Hierarchy,
    directory: PathBuf,
}

impl Cgroup {
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the bytes that count.
    pub fn usage_file(&self) -> PathBuf {
        self.directory.join(match self.hierarchy {
            Hierarchy::V1 => "memory.usage_in_bytes",
            Hierarchy::V2 => "memory.current",
        })
    }

    /// The file that says how many processes were killed for want of memory.
    pub fn kills_file(&self) -> PathBuf {
        self.directory.join(match self.hierarchy {
            Hierarchy::V1 => "memory.oom_control",
            Hierarchy::V2 => "memory.events",
        })
    }

    /// Processes that were killed in it for want of memory.
    pub fn kills(&self) -> u64 {
        fs::read_to_string(self.kills_file()).ok().and_then(|text| kills_in(&text)).unwrap_or(0)
    }

    fn set(&self, file: &str, value: &str) -> Result<(), Error> {
        let path = self.directory.join(file);
        fs::write(&path, value).map_err(denied(&path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let give_up = Instant::now() + LEAVING;
        while let Err(error) = fs::remove_dir(&self.directory) {
            if error.kind() == io::ErrorKind::NotFound || Instant::now() > give_up {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a file says that counts kills.
pub fn kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Cgroups of processes of this program that were killed themselves. Those with processes in them cannot be removed.
fn remove_old(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn denied(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::NoCgroup { reason: format!("{}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_both_hierarchies() {
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(kills_in("low 0\nmax 17\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn high_is_below_max() {
        assert_eq!(Limit { max: 3200, high: true }.high_bytes(), Some(3100));
        assert_eq!(Limit { max: 3200, high: false }.high_bytes(), None);
    }

    #[test]
    fn only_the_dead_are_cleaned_up_after() {
        let directory = tempfile::tempdir().unwrap();
        let living = directory.path().join(format!("{PREFIX}{}-0", std::process::id()));
        // More than the kernel has.
        let dead = directory.path().join(format!("{PREFIX}4194305-leaf"));
        let other = directory.path().join("other");
        [&living, &dead, &other].into_iter().for_each(|path| fs::create_dir(path).unwrap());
        remove_old(directory.path());
        assert_eq!([&living, &dead, &other].map(|path| path.exists()), [true, false, true]);
    }
}
