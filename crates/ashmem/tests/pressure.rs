//! Memory pressure for real: in a memory cgroup, a cache of unpinned regions gives way to a neighbour that allocates as
//! fast as it can. The same cache in plain memfds gets somebody killed.
//!
//! Needs permission to make a memory cgroup (v1 or v2) below the test's own; says so and passes where there is none.
//! The processes in it are this test binary again, running the ignored test `member`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use ashmem::Region;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 256 * MIB;
/// The cache leaves 56 MiB of the limit free, and its unpinned pages are several times that.
const CACHE: u64 = 200 * MIB;
const NEIGHBOUR: u64 = 160 * MIB;
const REGION: u64 = 8 * MIB;

/// How many milliseconds the neighbour waits at the limit, in all, before it goes on.
const PATIENCE: u32 = 5000;

const ROLE: &str = "ASHMEM_TEST_ROLE";
const CGROUP: &str = "ASHMEM_TEST_CGROUP";

/// A memory cgroup with a limit, removed on drop.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Cgroup, String> {
        let parent = own_cgroup().ok_or("this process is in no memory cgroup")?;
        let path = parent.join(format!("ashmem-test-{}", std::process::id()));
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

/// Bytes that count in a cgroup.
fn used(cgroup: &Path) -> u64 {
    let read = |file| fs::read_to_string(cgroup.join(file)).ok()?.trim().parse().ok();
    ["memory.usage_in_bytes", "memory.current"].into_iter().find_map(read).unwrap_or(0)
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

/// A process in the cgroup.
struct Member {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn start(cgroup: &Cgroup, role: &str) -> Member {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "member", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(CGROUP, &cgroup.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Member { child, output }
    }

    /// Waits for a line that starts with `word` and returns the rest of it; `None` when the process ends before.
    fn hear(&mut self, word: &str) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("a pipe") > 0 {
            if let Some(at) = line.find(word) {
                return Some(line[at + word.len()..].trim().to_owned());
            }
            line.clear();
        }
        None
    }

    fn go_on(&mut self) {
        // Fails when it was killed, which is seen at the end.
        let _ = self.child.stdin.as_mut().expect("piped").write_all(b"x");
    }

    /// Whether it was killed by SIGKILL, which here only the kernel does.
    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        let status = self.child.wait().expect("a child");
        assert!(status.success() || status.signal() == Some(9), "ended with {status}: {rest}");
        !status.success()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("a pipe");
}

/// Waits until the other side says something or goes away.
fn wait() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn member() {
    let (Ok(role), Ok(cgroup)) = (std::env::var(ROLE), std::env::var(CGROUP)) else { return };
    // Not to outlive a test that is killed itself.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    fs::write(Path::new(&cgroup).join("cgroup.procs"), std::process::id().to_string()).expect("joined");
    match role.as_str() {
        "neighbour" => {
            say("ready");
            wait();
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            let mut patience = PATIENCE;
            for _ in 0..NEIGHBOUR / MIB {
                // Not a race: on a machine that is busy, the reclaimer's thread may not have run yet.
                while patience > 0 && used(Path::new(&cgroup)) > LIMIT - 4 * MIB {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    patience -= 1;
                }
                hoard.push(vec![1; MIB as usize]);
            }
            say("filled");
            wait();
            drop(hoard);
        }
        role => {
            let regions: Vec<Region> =
                (0..CACHE / REGION).map(|_| Region::create("cache", REGION).expect("a region")).collect();
            for region in &regions {
                region.map().expect("mapped").fill(0, REGION, 7).expect("inside");
                if role == "cache" {
                    region.unpin(..).expect("unpinned");
                }
            }
            say("ready");
            wait();
            let purged: Vec<bool> =
                regions.iter().map(|region| region.pin(..).expect("pinned").is_purged()).collect();
            let oldest_first = purged.windows(2).all(|pair| pair[0] >= pair[1]);
            let intact = regions.iter().zip(&purged).filter(|(_, purged)| !**purged).all(|(region, _)| {
                let mapping = region.map().expect("mapped");
                (0..REGION).step_by(4096).all(|at| mapping.read_vec(at, 1).expect("inside") == [7])
            });
            say(&format!(
                "purged {} {oldest_first} {intact}",
                purged.iter().filter(|purged| **purged).count()
            ));
            wait();
        }
    }
}

/// Whether somebody was killed, and what the cache said at the end.
fn run(cgroup: &Cgroup, role: &str) -> (bool, Option<String>) {
    let mut cache = Member::start(cgroup, role);
    assert!(cache.hear("ready").is_some(), "the cache alone fits in the cgroup");
    let mut neighbour = Member::start(cgroup, "neighbour");
    assert!(neighbour.hear("ready").is_some());
    neighbour.go_on();
    let filled = neighbour.hear("filled").is_some();
    cache.go_on();
    let report = cache.hear("purged");
    let killed = [neighbour.end(), cache.end()];
    (!filled || killed.contains(&true), report)
}

#[test]
fn a_cache_gives_way_before_the_oom_killer_comes() {
    let cgroup = match Cgroup::make() {
        Ok(cgroup) => cgroup,
        Err(reason) => {
            println!("SKIPPED: cannot make a memory cgroup: {reason}");
            return;
        }
    };
    let (killed, _) = run(&cgroup, "plain");
    assert!(killed, "the limit is not enforced: a cache in plain memfds and its neighbour both fit");
    for _ in 0..5 {
        let (killed, report) = run(&cgroup, "cache");
        assert!(!killed, "somebody was killed although {} MiB could be purged", CACHE / MIB);
        let report = report.expect("the cache lives");
        let words: Vec<&str> = report.split(' ').collect();
        assert!(words[0].parse::<u64>().expect("a number") * REGION >= CACHE + NEIGHBOUR - LIMIT);
        assert_eq!(words[1..], ["true", "true"], "oldest first; what is intact is intact");
    }
}
