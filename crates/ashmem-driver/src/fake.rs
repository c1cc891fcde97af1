//! A procfs and a cgroup hierarchy of plain files, for tests.

use std::fs;
use std::path::PathBuf;

use ashmem::pressure::Proc;
use tempfile::TempDir;

pub(crate) struct Fake {
    root: TempDir,
}

impl Fake {
    /// Plenty of memory, nobody in any cgroup.
    pub(crate) fn new() -> Fake {
        let fake = Fake { root: tempfile::tempdir().expect("a directory") };
        let point = |name: &str| fake.root.path().join(name).display().to_string();
        let mounts = format!(
            "30 20 0:30 / {} rw - cgroup2 cgroup2 rw\n31 20 0:31 / {} rw - cgroup cgroup rw,memory\n",
            point("v2"),
            point("v1")
        );
        fake.write("proc/self/mountinfo", &mounts);
        fake.available(64 << 30);
        fs::create_dir(fake.root.path().join("v1")).expect("made");
        fs::create_dir(fake.root.path().join("v2")).expect("made");
        fake
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn proc(&self) -> Proc {
        Proc::at(&self.path("proc"))
    }

    /// What the system, of 64 GiB, has left.
    pub(crate) fn available(&self, bytes: u64) {
        let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 64 << 20, bytes >> 10);
        self.write("proc/meminfo", &text);
    }

    /// Puts a process into a cgroup v2.
    pub(crate) fn process(&self, number: u32, cgroup: &str) {
        self.write(&format!("proc/{number}/cgroup"), &format!("0::/{cgroup}\n"));
    }

    /// Puts a process into a memory cgroup v1.
    pub(crate) fn process_v1(&self, number: u32, cgroup: &str) {
        self.write(&format!("proc/{number}/cgroup"), &format!("4:memory:/{cgroup}\n0::/\n"));
    }

    pub(crate) fn v2(&self, cgroup: &str, max: &str, used: u64) {
        self.write(&format!("v2/{cgroup}/memory.max"), max);
        self.write(&format!("v2/{cgroup}/memory.current"), &used.to_string());
        self.write(&format!("v2/{cgroup}/memory.stat"), "inactive_file 0\n");
    }

    pub(crate) fn v1(&self, cgroup: &str, limit: u64, used: u64) {
        self.write(&format!("v1/{cgroup}/memory.limit_in_bytes"), &limit.to_string());
        self.write(&format!("v1/{cgroup}/memory.usage_in_bytes"), &used.to_string());
        self.write(&format!("v1/{cgroup}/memory.stat"), "total_inactive_file 0\n");
        self.write(&format!("v1/{cgroup}/cgroup.event_control"), "");
    }
}
