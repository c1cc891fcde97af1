//! What tells that memory is short, and what else of the kernel can be used.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ashmem::pressure::{PressureSource, SystemPressure};
use ashmem::{MapOptions, Region, page_size};
use rustix::fs::OFlags;

use super::Finding;
use crate::memory::memory_of_system;
use crate::text::size;

/// As the reclaimer asks for it: a window that unprivileged processes may have.
const TRIGGER: &[u8] = b"some 150000 2000000\0";

pub fn stalls() -> Finding {
    const FEATURE: &str = "stalls (PSI)";
    let path = "/proc/pressure/memory";
    if let Err(error) = fs::read(path) {
        return Finding::missing(
            FEATURE,
            format!(
                "nobody tells when programs wait for memory, so reclaimers look how much is left: {error}"
            ),
            "boot with psi=1; the kernel needs CONFIG_PSI",
        );
    }
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let opened = fs::OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path);
    // It ends with the descriptor.
    match opened.and_then(|mut file| file.write_all(TRIGGER)) {
        Ok(()) => Finding::ok(FEATURE, "reclaimers are told when programs wait for memory"),
        Err(error) => Finding::limited(
            FEATURE,
            format!(
                "it can be read, but does not tell by itself, so reclaimers look how much is left: {error}"
            ),
            "use Linux 6.4 or newer, or run with CAP_SYS_RESOURCE; in a container, mount /proc/pressure writable",
        ),
    }
}

pub fn cgroups() -> Finding {
    const FEATURE: &str = "cgroups";
    let seen = SystemPressure::new().describe();
    let limits: Vec<_> = seen
        .iter()
        .filter_map(|line| line.strip_prefix("cgroup ")?.split_once(": limit "))
        .map(|(cgroup, limit)| {
            let bytes = limit.split(' ').next().and_then(|bytes| bytes.parse().ok());
            format!("{cgroup} {}", bytes.map_or_else(|| limit.to_owned(), size))
        })
        .collect();
    if !limits.is_empty() {
        return Finding::ok(
            FEATURE,
            format!("reclaimers keep below the limits in force: {}", limits.join(", ")),
        );
    }
    let versions =
        ["v1", "v2"].map(|version| seen.iter().any(|line| line.starts_with(&format!("cgroup {version} "))));
    let mounted = match versions {
        [true, true] => "v1 and v2",
        [true, false] => "v1",
        [false, true] => "v2",
        [false, false] => "",
    };
    if !mounted.is_empty() {
        let meaning = format!("{mounted}: no limit on memory is in force; one would be kept to");
        return Finding::ok(FEATURE, meaning);
    }
    Finding::missing(
        FEATURE,
        "a limit on this process's memory would not be seen, and met by being killed",
        "mount the hierarchy that has the memory controller (cgroup2 on /sys/fs/cgroup, or v1 with memory)",
    )
}

pub fn swap() -> Finding {
    const FEATURE: &str = "swap";
    match memory_of_system("SwapTotal") {
        None => Finding::limited(FEATURE, "whether there is any cannot be told without /proc", "mount /proc"),
        Some(0) => Finding::limited(
            FEATURE,
            "pinned pages cannot leave memory; what gives way is what is unpinned",
            "add swap (swapon(8)) where pinned data should give way, too; unpinned pages do not need it",
        ),
        Some(bytes) => Finding::ok(FEATURE, format!("{}: pinned pages can leave memory, too", size(bytes))),
    }
}

pub fn huge_pages() -> Finding {
    const FEATURE: &str = "huge pages";
    let collapsed = || -> ashmem::Result<()> {
        const SIZE: u64 = 4 << 20;
        let region = Region::options().never_purgeable().create("doctor", SIZE)?;
        let mapping = MapOptions::new().aligned().map(&region)?;
        mapping.fill(0, SIZE, 1)?;
        mapping.collapse()
    };
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let chosen = setting.split(['[', ']']).nth(1).unwrap_or("unknown");
    match (collapsed(), chosen) {
        (Ok(()), "never" | "deny" | "unknown") => Finding::limited(
            FEATURE,
            "regions get them where a program asks for them, and not by themselves",
            "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, for large regions that are used much",
        ),
        (Ok(()), chosen) => {
            Finding::ok(FEATURE, format!("regions can have them (shmem_enabled is {chosen})"))
        }
        (Err(error), _) => Finding::missing(
            FEATURE,
            format!("regions are in pages of {} alone: {}", size(page_size()), crate::with_causes(&error)),
            "nothing needs them; Linux has them for regions from 6.1 on, with CONFIG_TRANSPARENT_HUGEPAGE",
        ),
    }
}

pub fn seccomp() -> Finding {
    const FEATURE: &str = "seccomp notification";
    let path = "/proc/sys/kernel/seccomp/actions_avail";
    let actions = match fs::read_to_string(path) {
        Ok(actions) => actions,
        Err(error) if Path::new("/proc/self").exists() && error.kind() == ErrorKind::NotFound => {
            String::new()
        }
        Err(error) => {
            let meaning = format!("whether there is any cannot be told: {path}: {error}");
            return Finding::limited(FEATURE, meaning, "let the container see it; regions do not need it");
        }
    };
    if actions.split_whitespace().any(|action| action == "user_notif") {
        return Finding::ok(FEATURE, "unmodified programs can have a /dev/ashmem: ashmem run");
    }
    Finding::missing(
        FEATURE,
        "unmodified programs cannot be given a /dev/ashmem",
        "regions do not need it; the kernel needs CONFIG_SECCOMP_FILTER, from 5.9 on",
    )
}

pub fn binder() -> Finding {
    const FEATURE: &str = "kernel binder";
    let device = ["/dev/binderfs/binder", "/dev/binder"].into_iter().find(|path| Path::new(path).exists());
    if let Some(device) = device {
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let opened = fs::OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(device);
        return match opened {
            Ok(_) => Finding::ok(FEATURE, format!("{device}: heaps can be shared with --at binder://")),
            Err(error) => Finding::limited(
                FEATURE,
                format!("{device} cannot be opened: {error}"),
                "give this user permission to it; services in a directory need none",
            ),
        };
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some("binder")) {
        return Finding::limited(
            FEATURE,
            "the kernel has it, but there is no device",
            "mount -t binder binder /dev/binderfs, as root; services in a directory need none",
        );
    }
    Finding::missing(
        FEATURE,
        "heaps are shared over sockets alone, which is the default",
        "nothing needs it; the kernel has it with CONFIG_ANDROID_BINDERFS (on some systems: modprobe binder_linux)",
    )
}
