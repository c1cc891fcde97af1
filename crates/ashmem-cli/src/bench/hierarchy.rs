//! Which cgroup of the memory controller this process is in (`proc_pid_cgroup(5)`, `proc_pid_mountinfo(5)`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Error;

/// The two interfaces of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hierarchy {
    /// Of the memory controller alone.
    V1,
    /// The unified one.
    V2,
}

impl Hierarchy {
    pub fn name(self) -> &'static str {
        match self {
            Hierarchy::V1 => "cgroup v1",
            Hierarchy::V2 => "cgroup v2",
        }
    }
}

/// The directory of this process's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub hierarchy: Hierarchy,
    pub directory: PathBuf,
}

impl Own {
    /// Where the memory controller is: a system has it in one of the two.
    pub fn find(wanted: Option<Hierarchy>) -> Result<Own, Error> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| Error::Input { path: path.into(), source })
        };
        let (cgroup, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
        let candidates = match wanted {
            Some(one) => vec![one],
            None => vec![Hierarchy::V1, Hierarchy::V2],
        };
        let mut reasons = Vec::new();
        for hierarchy in candidates {
            match find(&cgroup, &mounts, hierarchy) {
                None => reasons.push(format!("{}: not mounted, or not for this process", hierarchy.name())),
                Some(own) => match own.has_memory() {
                    Ok(true) => return Ok(own),
                    Ok(false) => {
                        reasons.push(format!("{}: without the memory controller", own.directory.display()));
                    }
                    Err(error) => reasons.push(format!("{}: {error}", own.directory.display())),
                },
            }
        }
        Err(Error::NoCgroup { reason: reasons.join("; ") })
    }

    fn has_memory(&self) -> io::Result<bool> {
        match self.hierarchy {
            Hierarchy::V1 => Ok(self.directory.is_dir()),
            Hierarchy::V2 => {
                let controllers = fs::read_to_string(self.directory.join("cgroup.controllers"))?;
                Ok(has_word(&controllers, "memory"))
            }
        }
    }
}

/// Whether a list has a word.
pub fn has_word(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == word)
}

fn find(cgroup: &str, mounts: &str, hierarchy: Hierarchy) -> Option<Own> {
    let path = cgroup.lines().find_map(|line| membership(line, hierarchy))?;
    // Of two mounts on one directory the later covers the earlier.
    let directory = mounts.lines().rev().find_map(|line| directory(line, hierarchy, path))?;
    Some(Own { hierarchy, directory })
}

fn membership(line: &str, hierarchy: Hierarchy) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_meant = match hierarchy {
        Hierarchy::V1 => controllers.split(',').any(|name| name == "memory"),
        Hierarchy::V2 => id == "0" && controllers.is_empty(),
    };
    is_meant.then_some(path)
}

/// Where a mount, a line of `mountinfo`, shows a cgroup.
fn directory(line: &str, hierarchy: Hierarchy, path: &str) -> Option<PathBuf> {
    let (about_place, about_kind) = line.split_once(" - ")?;
    let mut place = about_place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut kind = about_kind.split(' ');
    let is_meant = match hierarchy {
        Hierarchy::V2 => kind.next()? == "cgroup2",
        Hierarchy::V1 => kind.next()? == "cgroup" && kind.nth(1)?.split(',').any(|name| name == "memory"),
    };
    let below = Path::new(path).strip_prefix(root).ok()?;
    // With "..", the cgroup is outside of the namespace, and not shown.
    (is_meant && !path.contains("/..")).then(|| Path::new(&unescape(point)).join(below))
}

/// Undoes the `\040` that `mountinfo` writes for a space.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUP: &str = "4:memory:/user/me\n3:cpu,cpuacct:/cpu\n1:name=systemd:/x\n0::/slice/a\n";
    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 /slice /cg\\040two rw shared:9 master:1 - cgroup2 cgroup2 rw\n";

    #[test]
    fn both_hierarchies_are_found() {
        let found = |hierarchy| find(CGROUP, MOUNTS, hierarchy).unwrap().directory;
        assert_eq!(found(Hierarchy::V1), Path::new("/sys/fs/cgroup/memory/user/me"));
        assert_eq!(found(Hierarchy::V2), Path::new("/cg two/a"));
    }

    #[test]
    fn what_is_not_shown_is_not_found() {
        assert_eq!(find("0::/other\n", MOUNTS, Hierarchy::V2), None);
        assert_eq!(find("4:memory:/../other\n", MOUNTS, Hierarchy::V1), None);
        assert_eq!(find("0::/slice/a\n", MOUNTS, Hierarchy::V1), None);
        assert_eq!(find("", "garbage\n - cgroup2", Hierarchy::V2), None);
    }
}
