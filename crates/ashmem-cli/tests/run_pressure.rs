//! Memory pressure: unpinned areas of a program under `ashmem run` give way when the program's cgroup is about to be full.
//!
//! Needs permission to make a memory cgroup (v1 or v2) below the test's own; says so and passes where there is none. The program is this test
//! binary again, running an ignored test.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "run/ioctl.rs"]
mod ioctl;
mod run;

use std::fs;
use std::path::{Path, PathBuf};

use run::{Place, Running, skipped};

const CGROUP: &str = "ASHMEM_TEST_CGROUP";

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 128 * MIB;
const AREA: u64 = 4 * MIB;
/// What is unpinned, and what is wanted then: together more than the limit.
const UNPINNED: u64 = 100 * MIB;
const WANTED: u64 = 80 * MIB;

/// How many milliseconds the program waits near the limit, in all, before it goes on and is killed.
const PATIENCE: u32 = 20_000;

/// A memory cgroup with a limit, removed on drop.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Cgroup, String> {
        let parent = own_cgroup().ok_or("this process is in no memory cgroup")?;
        let path = parent.join(format!("ashmem-run-test-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let cgroup = Cgroup(path);
        // Without swap, as far as the kernel lets us: pages in swap are no longer in the way.
        for file in ["memory.swap.max", "memory.swappiness"] {
            let _ = fs::write(cgroup.0.join(file), "0");
        }
        for file in ["memory.limit_in_bytes", "memory.max"] {
            if fs::write(cgroup.0.join(file), LIMIT.to_string()).is_ok() {
                return Ok(cgroup);
            }
        }
        Err("the new cgroup has no memory limit to set".into())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was just killed may still be leaving.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The directory of this process's memory cgroup, where it is mounted in the usual place.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some(Path::new("/sys/fs/cgroup/memory").join(path));
        }
    }
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let dir = Path::new("/sys/fs/cgroup").join(path);
    let controllers = fs::read_to_string(dir.join("cgroup.subtree_control")).ok()?;
    controllers.split_whitespace().any(|controller| controller == "memory").then_some(dir)
}

/// Bytes that count in a cgroup.
fn used(cgroup: &Path) -> u64 {
    let read = |file| fs::read_to_string(cgroup.join(file)).ok()?.trim().parse().ok();
    ["memory.usage_in_bytes", "memory.current"].into_iter().find_map(read).unwrap_or(0)
}

fn area(byte: u8) -> (std::os::fd::OwnedFd, ioctl::Memory) {
    let fd = ioctl::open().unwrap();
    ioctl::set_size(&fd, AREA).unwrap();
    let memory = ioctl::Memory::map(&fd, AREA as usize).unwrap();
    memory.touch(byte);
    (fd, memory)
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn member() {
    let Ok(cgroup) = std::env::var(CGROUP) else { return };
    let cgroup = PathBuf::from(cgroup);
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let cache: Vec<_> = (0..UNPINNED / AREA).map(|_| area(7)).collect();
    for (fd, _) in &cache {
        assert_eq!(ioctl::unpin(fd, 0, 0), Ok(0));
    }
    let mut patience = PATIENCE;
    let mut hoard = Vec::new();
    for _ in 0..WANTED / MIB {
        // Not a race: the server may not have run yet.
        while patience > 0 && used(&cgroup) > LIMIT - 4 * MIB {
            std::thread::sleep(std::time::Duration::from_millis(1));
            patience -= 1;
        }
        hoard.push(vec![1_u8; MIB as usize]);
    }
    let purged: Vec<bool> = cache.iter().map(|(fd, _)| ioctl::pin(fd, 0, 0) == Ok(1)).collect();
    let oldest_first = purged.windows(2).all(|pair| pair[0] >= pair[1]);
    let mut intact = cache.iter().zip(&purged).filter(|(_, purged)| !**purged);
    let intact =
        intact.all(|((_, memory), _)| (0..AREA as usize).step_by(4096).all(|at| memory.read(at) == 7));
    let zero =
        cache.iter().zip(&purged).filter(|(_, purged)| **purged).all(|((_, memory), _)| memory.read(0) == 0);
    println!("purged {} {oldest_first} {intact} {zero}", purged.iter().filter(|purged| **purged).count());
}

#[test]
fn unpinned_areas_give_way() {
    let cgroup = match Cgroup::make() {
        Ok(cgroup) => cgroup,
        Err(reason) => return skipped(&format!("cannot make a memory cgroup: {reason}")),
    };
    let place = Place::new();
    let mut command = place.program(std::env::current_exe().unwrap());
    command
        .args(["--exact", "member", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CGROUP, &cgroup.0);
    let said = Running::start(&mut command, None).end().success();
    let line = said.lines().find_map(|line| line.split_once("purged ")).unwrap_or_else(|| panic!("{said}")).1;
    let words: Vec<&str> = line.split(' ').collect();
    let purged: u64 = words[0].parse().unwrap();
    assert!(purged * AREA >= UNPINNED + WANTED - LIMIT, "{said}");
    assert_eq!(words[1..], ["true", "true", "true"], "oldest first; what is intact is intact: {said}");
}
