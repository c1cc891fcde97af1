//! Where the cgroups of a process are in the file system (`proc_pid_cgroup(5)`, `proc_pid_mountinfo(5)`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::file::KeptFile;

/// Where procfs is.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// A directory with the memory controller's files of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directory {
    pub(super) hierarchy: Hierarchy,
    /// Where it is.
    pub path: PathBuf,
    /// The cgroup, as `/proc/PID/cgroup` has it.
    pub cgroup: PathBuf,
    /// What is above it cannot be seen.
    pub(super) is_highest: bool,
}

/// The cgroups that may limit a process's memory, as far as this process can see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The process's own cgroup, then those above it, in each hierarchy: v2, then v1.
    pub directories: Vec<Directory>,
    /// The cgroup that the process is in, in the hierarchy with the memory controller, is among them. Of those above it a mount may
    /// hide some, from everybody who has no other mount.
    pub is_complete: bool,
}

impl Default for Proc {
    fn default() -> Proc {
        Proc::at(Path::new("/proc"))
    }
}

impl Proc {
    /// Procfs in this place, in which `self/mountinfo` tells where cgroups are.
    #[must_use]
    pub fn at(root: &Path) -> Proc {
        Proc { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// `/proc/PID/cgroup`, of this process without a number. `None` when the process is gone, or hidden from this one.
    ///
    /// Opened anew each time: an open one keeps showing the process that opened it.
    #[must_use]
    pub fn cgroups_of(&self, process: Option<u32>, buffer: &mut [u8]) -> Option<Vec<u8>> {
        let process = process.map_or_else(|| "self".to_owned(), |number| number.to_string());
        let file = KeptFile::open_path(&self.root.join(process).join("cgroup"))?;
        file.read(buffer).map(<[u8]>::to_vec)
    }

    /// This process's `mountinfo`; empty when it cannot be read.
    #[must_use]
    pub fn mounts(&self) -> Vec<u8> {
        std::fs::read(self.root.join("self/mountinfo")).unwrap_or_default()
    }
}

impl Membership {
    /// What `/proc/PID/cgroup` and this process's `mountinfo` say, through the first mount that has the directory.
    #[must_use]
    pub fn find(cgroups: &[u8], mounts: &[u8]) -> Membership {
        let mut directories = Vec::new();
        let mut found = |hierarchy| {
            let path = membership(cgroups, hierarchy)?;
            let shown = shown(mounts, hierarchy, path)
                .into_iter()
                .find(|shown| shown.levels.first().is_some_and(|own| own.is_dir()))?;
            let is_own = shown.is_own;
            let path = Path::new(OsStr::from_bytes(if is_own { path } else { &shown.root }));
            let mut levels = shown.levels.into_iter().zip(path.ancestors()).peekable();
            while let Some((path, cgroup)) = levels.next() {
                let (cgroup, is_highest) = (cgroup.to_owned(), levels.peek().is_none());
                directories.push(Directory { hierarchy, path, cgroup, is_highest });
            }
            Some(is_own)
        };
        let v2 = found(Hierarchy::V2);
        let v1 = found(Hierarchy::V1Memory);
        // A controller is in one hierarchy only; where it is in none, nothing limits memory.
        let is_complete = match [Hierarchy::V1Memory, Hierarchy::V2].map(|kind| membership(cgroups, kind)) {
            [Some(_), _] => v1 == Some(true),
            [None, Some(_)] => v2 == Some(true),
            [None, None] => true,
        };
        Membership { directories, is_complete }
    }
}

/// Which cgroup hierarchy controls memory. A hybrid system has both, though only one with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hierarchy {
    /// cgroup v1 with the memory controller.
    V1Memory,
    /// cgroup v2.
    V2,
}

/// The process's path in a hierarchy, as `/proc/self/cgroup` has it.
pub(super) fn membership(cgroup: &[u8], hierarchy: Hierarchy) -> Option<&[u8]> {
    cgroup.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = match hierarchy {
            Hierarchy::V1Memory => controllers.split(|&byte| byte == b',').any(|name| name == b"memory"),
            Hierarchy::V2 => id == b"0" && controllers.is_empty(),
        };
        wanted.then_some(path)
    })
}

/// The directories of the cgroup at `path`: for each mount that shows it, its own and then its ancestors' as far up
/// as the mount goes. The mount that shows most comes first.
fn shown(mountinfo: &[u8], hierarchy: Hierarchy, path: &[u8]) -> Vec<Shown> {
    let mut found: Vec<Shown> = mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(Mount::parse)
        .filter(|mount| mount.hierarchy == hierarchy)
        .filter_map(|mount| mount.shown(path))
        .collect();
    // Of two mounts on one directory the later covers the earlier.
    found.reverse();
    found.sort_by_key(|shown| std::cmp::Reverse(shown.levels.len()));
    found
}

/// What a mount shows of a cgroup.
struct Shown {
    /// Its directory, then those above it.
    levels: Vec<PathBuf>,
    /// The first is its own. Else it is that of an ancestor, `root`.
    is_own: bool,
    root: Vec<u8>,
}

/// A line of `mountinfo` that is about cgroups.
struct Mount {
    hierarchy: Hierarchy,
    root: Vec<u8>,
    point: PathBuf,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = fields.nth(3)?;
        let point = fields.next()?;
        // Mount options, then any number of optional fields up to a dash.
        fields.by_ref().skip(1).find(|&field| field == b"-")?;
        let (kind, _device, options) = (fields.next()?, fields.next()?, fields.next()?);
        let hierarchy = match kind {
            b"cgroup2" => Hierarchy::V2,
            b"cgroup" if options.split(|&byte| byte == b',').any(|option| option == b"memory") => {
                Hierarchy::V1Memory
            }
            _ => return None,
        };
        let point = PathBuf::from(OsStr::from_bytes(&unescape(point)));
        Some(Mount { hierarchy, root: unescape(root), point })
    }

    /// The directories from that of the cgroup at `path` up to the mount point; `None` when the mount does not show it.
    fn shown(self, path: &[u8]) -> Option<Shown> {
        let (root, cgroup) = (Position::parse(&self.root)?, Position::parse(path)?);
        let names = below(&root, &cgroup)?;
        let own = names.iter().fold(self.point.clone(), |path, name| path.join(OsStr::from_bytes(name)));
        let levels = own.ancestors().take(names.len() + 1).map(Path::to_path_buf).collect();
        let is_own = root.up == cgroup.up;
        Some(Shown { levels, is_own, root: self.root })
    }
}

/// A cgroup seen from the root of the reader's cgroup namespace: so many levels up, then down these names.
/// "/../.." leads to an ancestor that the namespace hides.
#[derive(Debug, PartialEq, Eq)]
struct Position<'a> {
    up: usize,
    down: Vec<&'a [u8]>,
}

impl<'a> Position<'a> {
    fn parse(path: &'a [u8]) -> Option<Position<'a>> {
        let mut position = Position { up: 0, down: Vec::new() };
        for name in path.strip_prefix(b"/")?.split(|&byte| byte == b'/') {
            match name {
                b"" => {}
                b".." if position.down.is_empty() => position.up += 1,
                // The kernel writes neither; following them could leave the mount.
                b".." | b"." => return None,
                name => position.down.push(name),
            }
        }
        Some(position)
    }
}

/// The names that lead from a mount's root down to a cgroup.
///
/// A root above the namespace has on the way down to it names that nobody tells. Then the root itself, which is an
/// ancestor, is all that can be found.
fn below<'a>(root: &Position<'a>, cgroup: &Position<'a>) -> Option<Vec<&'a [u8]>> {
    if root.up == cgroup.up {
        cgroup.down.strip_prefix(root.down.as_slice()).map(<[&[u8]]>::to_vec)
    } else {
        (root.up > cgroup.up && root.down.is_empty()).then(Vec::new)
    }
}

/// Undoes the `\040` that `mountinfo` writes for a space, tab, newline or backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'\\', &[a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ref after @ ..]) => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &[u8] = b"4:memory:/user/me\n3:cpu,cpuacct:/cpu\n1:name=systemd:/x\n0::/user.slice/a:b\n";

    fn dirs(mountinfo: &str, hierarchy: Hierarchy, path: &str) -> Vec<Vec<String>> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let found = shown(mountinfo.as_bytes(), hierarchy, path.as_bytes());
        found.into_iter().map(|shown| shown.levels.into_iter().map(text).collect()).collect()
    }

    fn v2(root: &str, path: &str) -> Vec<Vec<String>> {
        dirs(&format!("35 31 0:32 {root} /cg rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"), Hierarchy::V2, path)
    }

    #[test]
    fn finds_the_own_cgroups() {
        assert_eq!(membership(HYBRID, Hierarchy::V1Memory), Some(&b"/user/me"[..]));
        assert_eq!(membership(HYBRID, Hierarchy::V2), Some(&b"/user.slice/a:b"[..]));
        assert_eq!(membership(b"5:cpu,memory:/\n", Hierarchy::V1Memory), Some(&b"/"[..]));
        assert_eq!(membership(b"5:cpu,memory:/\n", Hierarchy::V2), None);
        assert_eq!(membership(b"5:name=memory:/\n", Hierarchy::V1Memory), None);
    }

    #[test]
    fn walks_from_the_own_directory_up_to_the_mount_point() {
        assert_eq!(v2("/", "/a/b"), [["/cg/a/b", "/cg/a", "/cg"]]);
        assert_eq!(v2("/", "/"), [["/cg"]]);
    }

    #[test]
    fn a_mount_may_show_a_part_of_the_hierarchy() {
        assert_eq!(v2("/docker/x", "/docker/x"), [["/cg"]]);
        assert_eq!(v2("/docker/x", "/docker/x/y"), [["/cg/y", "/cg"]]);
        assert!(v2("/docker/x", "/docker/xy").is_empty());
        assert!(v2("/docker/x", "/").is_empty());
    }

    #[test]
    fn namespaces_hide_what_is_above() {
        // A process outside of its namespace, and a mount from outside.
        assert!(v2("/", "/../other").is_empty());
        assert_eq!(v2("/..", "/../other"), [["/cg/other", "/cg"]]);
        assert_eq!(v2("/../pod", "/../pod/c"), [["/cg/c", "/cg"]]);
        assert_eq!(v2("/../..", "/own"), [["/cg"]]);
        assert!(v2("/../pod", "/own").is_empty());
        assert!(v2("/", "/a/../b").is_empty());
    }

    #[test]
    fn picks_the_mounts_of_the_hierarchy_and_the_best_first() {
        let mountinfo = "\
            1 2 0:1 / /v1/cpu rw - cgroup cgroup rw,cpu\n\
            1 2 0:2 /a /bind rw - cgroup cgroup rw,memory\n\
            1 2 0:2 / /v1/with\\040space rw master:1 shared:2 - cgroup cgroup rw,cpu,memory\n\
            1 2 0:2 / /later rw - cgroup cgroup rw,memory\n\
            1 2 0:3 / /v2 rw - cgroup2 none rw\n";
        let found = dirs(mountinfo, Hierarchy::V1Memory, "/a");
        assert_eq!(found[0], ["/later/a", "/later"]);
        assert_eq!(found[1], ["/v1/with space/a", "/v1/with space"]);
        assert_eq!(found[2], ["/bind"]);
        assert_eq!(dirs(mountinfo, Hierarchy::V2, "/a"), [["/v2/a", "/v2"]]);
    }

    #[test]
    fn a_process_is_in_the_cgroups_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let found = |cgroups: &str, root: &str, kind: &str| {
            let mounts = format!("35 31 0:32 {root} {point} rw - {kind}\n");
            let found = Membership::find(cgroups.as_bytes(), mounts.as_bytes());
            let cgroups =
                found.directories.into_iter().map(|found| found.cgroup.to_str().unwrap().to_owned());
            (cgroups.collect::<Vec<_>>().join(" "), found.is_complete)
        };
        let (v2, v1) = ("cgroup2 cgroup2 rw", "cgroup cgroup rw,memory");
        let seen = |names: &str, is_complete| (names.to_owned(), is_complete);
        assert_eq!(found("0::/a/b\n", "/", v2), seen("/a/b /a /", true));
        assert_eq!(found("0::/x/a/b\n", "/x", v2), seen("/x/a/b /x/a /x", true), "a part of the hierarchy");
        assert_eq!(found("0::/gone\n", "/", v2), seen("", false));
        assert_eq!(found("0::/../other\n", "/", v2), seen("", false), "in another namespace");
        assert_eq!(found("0::/\n", "/..", v2), seen("/..", false), "only what is above");
        assert_eq!(found("0::/a\n", "/", v1), seen("", false));
        assert_eq!(found("4:memory:/a\n0::/\n", "/", v1), seen("/a /", true));
        assert_eq!(
            found("4:memory:/a\n0::/a\n", "/", v2),
            seen("/a /", false),
            "memory is in the other hierarchy"
        );
        assert_eq!(found("3:cpu:/a\n", "/", v1), seen("", true), "nothing limits memory");
    }

    #[test]
    fn unescapes_only_what_is_escaped() {
        assert_eq!(unescape(br"a\040b\134c\09\"), b"a b\\c\\09\\");
        assert_eq!(unescape(br"\777"), br"\777");
    }

    proptest! {
        #[test]
        fn survives_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..300), path in "[/.a]{0,12}") {
            let _ = membership(&text, Hierarchy::V2);
            let _ = shown(&text, Hierarchy::V2, path.as_bytes());
            let _ = Membership::find(&text, &text);
        }

        #[test]
        fn never_leaves_the_mount_point(root in "/[/.a]{0,6}", path in "/[/.a]{0,12}") {
            for level in v2(&root, &path).concat() {
                prop_assert!(level == "/cg" || level.starts_with("/cg/"));
                prop_assert!(!level.contains("/../") && !level.ends_with("/.."));
            }
        }
    }
}
