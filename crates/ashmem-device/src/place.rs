//! What a path names, as far as the device cares.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::task::{FileId, Task};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/dev/ashmem`, or `/dev/ashmem` followed by the system's boot id.
    Device,
    /// As if the device were a directory.
    InsideDevice,
    /// `/proc/PID/fd/N` or what stands for it.
    Descriptor { process: Process, fd: i32 },
    /// `/proc/PID/fdinfo/N`.
    DescriptorInfo { process: Process, fd: i32 },
    /// `/proc/PID/maps`, `smaps` or `numa_maps`.
    Maps { process: Process, file: &'static str },
    /// `/proc/sys/vm/drop_caches`.
    DropCaches,
}

/// Whose file in `/proc` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// Who asks.
    Own,
    /// A process of this number, as who asks sees it.
    Number(i32),
}

/// What `path` leads to, for a call whose paths start at `directory` (a descriptor, or `AT_FDCWD`).
pub(crate) fn find(task: &Task<'_>, directory: i32, path: &[u8]) -> Option<Place> {
    if path == b"/dev/ashmem" {
        return Some(Place::Device);
    }
    if let Some(rest) = path.strip_prefix(b"/proc/") {
        return in_proc(rest);
    }
    if let Some(number) = path.strip_prefix(b"/dev/fd/") {
        return Some(Place::Descriptor { process: Process::Own, fd: number_of(number)? });
    }
    match path {
        b"/dev/stdin" => return Some(Place::Descriptor { process: Process::Own, fd: 0 }),
        b"/dev/stdout" => return Some(Place::Descriptor { process: Process::Own, fd: 1 }),
        b"/dev/stderr" => return Some(Place::Descriptor { process: Process::Own, fd: 2 }),
        _ => {}
    }
    if path.starts_with(b"/dev/ashmem/") {
        return Some(Place::InsideDevice);
    }
    // Another way of writing it: the directory tells.
    let split = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = path.split_at(split);
    let is_device = is_device_name(name) && is_dev(task, directory, parent);
    is_device.then_some(Place::Device)
}

fn is_device_name(name: &[u8]) -> bool {
    let Some(suffix) = name.strip_prefix(b"ashmem") else { return false };
    suffix.is_empty() || suffix == boot_id()
}

/// The system's boot id, which names the device from Android 10 on.
fn boot_id() -> &'static [u8] {
    static ID: OnceLock<Vec<u8>> = OnceLock::new();
    ID.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim_ascii().to_vec()
    })
}

/// Whether a directory is the caller's `/dev`. Only what the kernel knows already is looked at: a file system in user space may never
/// answer, or be served by a program that waits for this very thread.
fn is_dev(task: &Task<'_>, directory: i32, parent: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = || rustix::fs::open(task.proc("root"), flags, Mode::empty()).ok();
    let walk = |start: OwnedFd, path: &Path, resolve| {
        let resolve = resolve | ResolveFlags::CACHED | ResolveFlags::NO_MAGICLINKS;
        let found = rustix::fs::openat2(start, path, flags, Mode::empty(), resolve).ok()?;
        FileId::of(found).ok()
    };
    let in_root = |path: &Path| walk(root()?, path, ResolveFlags::IN_ROOT);
    let path = Path::new(std::ffi::OsStr::from_bytes(parent));
    let found = match (parent.first(), directory) {
        (Some(b'/'), _) => in_root(path),
        (_, directory) => {
            let start =
                if directory == libc::AT_FDCWD { "cwd".to_owned() } else { format!("fd/{directory}") };
            let start = rustix::fs::open(task.proc(&start), flags, Mode::empty()).ok();
            let path = if parent.is_empty() { Path::new(".") } else { path };
            start.and_then(|start| walk(start, path, ResolveFlags::empty()))
        }
    };
    found.is_some() && found == in_root(Path::new("/dev"))
}

fn in_proc(rest: &[u8]) -> Option<Place> {
    let text = std::str::from_utf8(rest).ok()?;
    let mut parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts == ["sys", "vm", "drop_caches"] {
        return Some(Place::DropCaches);
    }
    let process = match *parts.first()? {
        "self" | "thread-self" => Process::Own,
        number => Process::Number(number_of(number.as_bytes())?),
    };
    parts.remove(0);
    if parts.len() > 2 && parts[0] == "task" {
        // Threads have their process's memory, and as a rule its descriptors.
        parts.drain(..2);
    }
    match *parts {
        ["fd", fd] => Some(Place::Descriptor { process, fd: number_of(fd.as_bytes())? }),
        ["fdinfo", fd] => Some(Place::DescriptorInfo { process, fd: number_of(fd.as_bytes())? }),
        ["maps"] => Some(Place::Maps { process, file: "maps" }),
        ["smaps"] => Some(Place::Maps { process, file: "smaps" }),
        ["numa_maps"] => Some(Place::Maps { process, file: "numa_maps" }),
        _ => None,
    }
}

fn number_of(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The process that a path of the caller's names, as this process sees it; `None` for one that the caller may not look at.
pub(crate) fn resolve(task: &Task<'_>, process: Process) -> Option<i32> {
    let Process::Number(number) = process else { return Some(task.thread()) };
    let status = task.status()?;
    if number == status.own_number || number == task.thread() && number == status.process {
        return Some(status.process);
    }
    (task.shares("pid") && task.may_look_at(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_proc() {
        let own = Process::Own;
        assert_eq!(in_proc(b"self/fd/7"), Some(Place::Descriptor { process: own, fd: 7 }));
        assert_eq!(in_proc(b"thread-self/fd/7"), Some(Place::Descriptor { process: own, fd: 7 }));
        assert_eq!(in_proc(b"self//fd/./7"), Some(Place::Descriptor { process: own, fd: 7 }));
        let other = Process::Number(12);
        assert_eq!(in_proc(b"12/fdinfo/0"), Some(Place::DescriptorInfo { process: other, fd: 0 }));
        assert_eq!(in_proc(b"12/task/13/maps"), Some(Place::Maps { process: other, file: "maps" }));
        assert_eq!(in_proc(b"self/smaps"), Some(Place::Maps { process: own, file: "smaps" }));
        assert_eq!(in_proc(b"sys/vm/drop_caches"), Some(Place::DropCaches));
        for other in
            ["", "self", "self/fd", "self/fd/", "self/fd/x", "self/fd/-1", "self/fd/99999999999", "x/fd/1"]
        {
            assert_eq!(in_proc(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn names_of_the_device() {
        assert!(is_device_name(b"ashmem"));
        assert!(is_device_name(&[b"ashmem", boot_id()].concat()));
        assert!(!is_device_name(b"ashmem1"));
        assert!(!is_device_name(b"ashme"));
    }
}
