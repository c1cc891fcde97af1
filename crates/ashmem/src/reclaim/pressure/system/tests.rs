use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::event::EventfdFlags;
use rustix::net::SendFlags;
use tempfile::TempDir;

use super::super::mounts::Hierarchy;
use super::super::psi::Trigger;
use super::*;

const MEMINFO: &str = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n";

/// A procfs with cgroup mounts next to it.
struct Fake {
    root: TempDir,
}

impl Fake {
    fn new(cgroup: &str, mounts: &[(&str, &str, &str)]) -> Fake {
        let fake = Fake { root: tempfile::tempdir().unwrap() };
        let mountinfo: String = mounts
            .iter()
            .map(|(root, point, kind)| {
                format!("30 20 0:30 {root} {}/{point} rw - {kind}\n", fake.root.path().display())
            })
            .collect();
        fake.write("proc/meminfo", MEMINFO);
        fake.write("proc/self/cgroup", cgroup);
        fake.write("proc/self/mountinfo", &mountinfo);
        fake
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn v2(&self, dir: &str, max: &str, used: u64) {
        self.write(&format!("{dir}/memory.max"), max);
        self.write(&format!("{dir}/memory.current"), &used.to_string());
        self.write(&format!("{dir}/memory.stat"), "inactive_file 10\n");
        self.write(&format!("{dir}/memory.events"), "max 0\n");
    }

    fn v1(&self, dir: &str, limit: u64, used: u64) {
        self.write(&format!("{dir}/memory.limit_in_bytes"), &limit.to_string());
        self.write(&format!("{dir}/memory.usage_in_bytes"), &used.to_string());
        self.write(&format!("{dir}/memory.stat"), "total_inactive_file 10\n");
        self.write(&format!("{dir}/cgroup.event_control"), "");
    }

    fn source(&self) -> SystemPressure {
        SystemPressure::with_proc(&self.root.path().join("proc"))
    }

    /// What is left of the cgroups' limits, as (available, limit).
    fn cgroups(&self) -> Vec<(u64, u64)> {
        pairs(&self.source().read())[1..].to_vec()
    }
}

fn pairs(reading: &Reading) -> Vec<(u64, u64)> {
    reading.headrooms.iter().map(|headroom| (headroom.available, headroom.limit)).collect()
}

fn wake() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}

const V2: &str = "cgroup2 cgroup2 rw";
const V1: &str = "cgroup cgroup rw,memory";

#[test]
fn reads_the_system() {
    let fake = Fake::new("", &[]);
    let mut source = fake.source();
    assert_eq!(pairs(&source.read()), [(400 * 1024, 1000 * 1024)]);
    fake.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 3 kB\n");
    assert_eq!(pairs(&source.read()), [(3 * 1024, 1000 * 1024)]);
}

#[test]
fn knows_nothing_without_proc() {
    let empty = tempfile::tempdir().unwrap();
    let mut source = SystemPressure::with_proc(&empty.path().join("absent"));
    source.arm(&|limit| limit / 8);
    assert_eq!(source.read(), Reading::default());
    assert!(source.describe().is_empty());
    assert!(!source.has_events_for(0));
    assert_eq!(source.wait(wake().as_fd(), Some(Duration::ZERO)), Woken::TimedOut);
}

#[test]
fn v2_counts_every_level_with_a_limit() {
    let fake = Fake::new("0::/a/b/c\n", &[("/", "cg", V2)]);
    fake.v2("cg/a/b/c", "1000", 300);
    fake.v2("cg/a/b", "max", 500);
    fake.v2("cg/a", "2000", 1900);
    assert_eq!(fake.cgroups(), [(710, 1000), (110, 2000)]);
    assert_eq!(fake.source().describe().len(), 1 + 4);
}

#[test]
fn v2_in_a_namespace() {
    let fake = Fake::new("0::/\n", &[("/", "cg", V2)]);
    fake.v2("cg", "1000", 300);
    assert_eq!(fake.cgroups(), [(710, 1000)]);

    let fake = Fake::new("0::/../elsewhere\n", &[("/", "cg", V2)]);
    fake.v2("cg", "1000", 300);
    assert_eq!(fake.cgroups(), []);
}

#[test]
fn v1_in_a_container_that_mounts_only_its_own() {
    let fake = Fake::new("5:cpu:/x\n4:memory:/docker/1\n", &[("/docker/1", "cg", V1)]);
    fake.v1("cg", 1000, 300);
    assert_eq!(fake.cgroups(), [(710, 1000)]);
}

#[test]
fn hybrid_systems_have_both() {
    let fake = Fake::new("4:memory:/m\n0::/u\n", &[("/", "v1", V1), ("/", "v2", V2)]);
    fake.v1("v1/m", 1000, 300);
    fake.v1("v1", 1 << 62, 300);
    fake.v2("v2/u", "500", 400);
    assert_eq!(fake.cgroups(), [(110, 500), (710, 1000)]);
}

#[test]
fn a_mount_that_lacks_the_directory_is_passed_over() {
    let fake = Fake::new("0::/a/b\n", &[("/", "gone", V2), ("/a", "bind", V2)]);
    fake.v2("bind/b", "1000", 300);
    assert_eq!(fake.cgroups(), [(710, 1000)]);
}

#[test]
fn events_are_promised_only_where_they_will_come() {
    let fake = Fake::new("4:memory:/m\n0::/u\n", &[("/", "v1", V1), ("/", "v2", V2)]);
    fake.v1("v1/m", 1000, 300);
    fake.v2("v2/u", "500", 400);
    let mut source = fake.source();
    source.arm(&|limit| limit / 10);
    let promised = |source: &SystemPressure| [0, 1, 2, 3].map(|index| source.has_events_for(index));
    assert_eq!(promised(&source), [false; 4], "nothing was read yet");
    source.read();
    assert_eq!(promised(&source), [false, false, true, false]);
    fake.v1("v1/m", 1000, 950);
    source.read();
    assert_eq!(promised(&source), [false; 4]);
}

#[test]
fn follows_the_process_to_another_cgroup() {
    let fake = Fake::new("0::/a\n", &[("/", "cg", V2)]);
    fake.v2("cg/a", "1000", 300);
    fake.v2("cg/b", "max", 300);
    let mut source = fake.source();
    assert_eq!(pairs(&source.read())[1..], [(710, 1000)]);
    fake.write("proc/self/cgroup", "0::/b\n");
    source.refresh();
    assert_eq!(pairs(&source.read())[1..], []);
    fake.v2("cg/b", "600", 300);
    source.refresh();
    assert_eq!(pairs(&source.read())[1..], [(310, 600)]);
}

#[test]
fn reading_again_reuses_its_memory() {
    let fake = Fake::new("0::/a\n", &[("/", "cg", V2)]);
    fake.v2("cg/a", "1000", 300);
    let mut source = fake.source();
    let mut reading = source.read();
    let before = (reading.headrooms.as_ptr(), reading.headrooms.capacity(), source.announced.capacity());
    source.read_into(&mut reading);
    let after = (reading.headrooms.as_ptr(), reading.headrooms.capacity(), source.announced.capacity());
    assert_eq!(before, after);
    assert_eq!(reading.headrooms.len(), 2);
}

#[test]
fn the_wake_descriptor_ends_a_wait_and_is_not_drained() {
    let mut source = Fake::new("", &[]).source();
    let wake = wake();
    rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(source.wait(wake.as_fd(), None), Woken::Called);
    assert_eq!(source.wait(wake.as_fd(), Some(Duration::MAX)), Woken::Called);
}

/// Urgent data on a socket is `POLLPRI`, as a trigger that fires.
fn fired_trigger() -> (Trigger, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    rustix::net::send(&sender, b"!", SendFlags::OOB).unwrap();
    (Trigger::stand_in(receiver.into()), sender)
}

#[test]
fn a_stall_ends_a_wait_and_is_reported() {
    let fake = Fake::new("0::/a\n", &[("/", "cg", V2)]);
    fake.v2("cg/a", "1000", 300);
    let mut source = fake.source();
    let (trigger, sender) = fired_trigger();
    source.gauges[0].trigger = Some(trigger);
    assert_eq!(source.wait(wake().as_fd(), None), Woken::Event);
    assert!(source.gauges[0].stalled);
    assert!(source.read().stalled);
    assert!(source.describe().contains(&"system: stall events".to_owned()));

    // An event that no wait has seen is found by the reading.
    let (trigger, _other) = fired_trigger();
    source.gauges[1].trigger = Some(trigger);
    source.gauges[0].trigger = None;
    assert!(source.describe().contains(&"cgroup v2: stall events".to_owned()));
    assert!(source.wait(wake().as_fd(), None) == Woken::Event && source.read().stalled);
    drop(sender);
}

#[test]
fn what_could_not_be_opened_is_tried_again() {
    let fake = Fake::new("", &[]);
    fs::remove_file(fake.root.path().join("proc/meminfo")).unwrap();
    let mut source = fake.source();
    assert!(source.read().headrooms.is_empty());
    fake.write("proc/meminfo", MEMINFO);
    source.refresh();
    assert_eq!(source.read().headrooms.len(), 1);
}

#[test]
fn a_trigger_that_only_fails_is_dropped() {
    let mut source = Fake::new("", &[]).source();
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(writer);
    source.gauges[0].trigger = Some(Trigger::stand_in(reader.into()));
    source.wait(wake().as_fd(), Some(Duration::ZERO));
    assert!(source.gauges[0].trigger.is_none());
    assert!(!source.read().stalled);
}

#[test]
fn reads_the_real_system() {
    let mut source = SystemPressure::new();
    println!("{}", source.describe().join("\n"));
    let reading = source.read();
    assert!(reading.headrooms.iter().all(|headroom| headroom.available <= headroom.limit));
    if Path::new("/proc/meminfo").exists() {
        assert!(!reading.headrooms.is_empty());
    }
}

/// A memory cgroup below the process's own, removed when dropped.
struct Cgroup {
    directory: PathBuf,
    path: String,
    mount: String,
}

impl Cgroup {
    fn make() -> Option<Cgroup> {
        let text = fs::read("/proc/self/cgroup").ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let found = Membership::find(&text, &mounts);
        let own = found.directories.iter().find(|own| own.hierarchy == Hierarchy::V1Memory)?;
        let name = format!("ashmem-test-{}", std::process::id());
        let directory = own.path.join(&name);
        fs::create_dir(&directory).ok()?;
        let path = own.cgroup.join(&name).to_str()?.to_owned();
        Some(Cgroup { directory, path, mount: String::from_utf8(mounts).ok()? })
    }

    fn write(&self, file: &str, text: &str) -> std::io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.directory.join(file))?.write_all(text.as_bytes())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A child that was waited for can still count as a member for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("left behind: {}", self.directory.display());
    }
}

#[test]
fn a_real_threshold_ends_a_wait() {
    let Some(cgroup) = Cgroup::make() else {
        println!("skipped: no cgroup v1 memory controller in which a cgroup can be made");
        return;
    };
    const LIMIT: u64 = 128 << 20;
    cgroup.write("memory.limit_in_bytes", &LIMIT.to_string()).unwrap();

    let fake = Fake::new(&format!("4:memory:{}\n", cgroup.path), &[]);
    fake.write("proc/self/mountinfo", &cgroup.mount);
    let mut source = fake.source();
    source.arm(&|_| LIMIT - (32 << 20));
    let own = source.read().headrooms.iter().position(|headroom| headroom.limit == LIMIT).unwrap();
    assert!(source.has_events_for(own), "{:?}", source.describe());
    assert_eq!(source.wait(wake().as_fd(), Some(Duration::ZERO)), Woken::TimedOut);

    // The child joins the cgroup and then uses 64 MiB. There is no need for it to be there when we look.
    let script = "echo $$ > \"$0\" && exec dd if=/dev/zero of=/dev/null bs=64M count=1 status=none";
    let mut child =
        Command::new("sh").args(["-c", script]).arg(cgroup.directory.join("cgroup.procs")).spawn().unwrap();
    let woken = source.wait(wake().as_fd(), Some(Duration::from_secs(60)));
    assert!(child.wait().unwrap().success());
    assert_eq!(woken, Woken::Event);
}
