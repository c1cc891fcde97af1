//! An agent, and containers made of a static program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// No test gets there; it only ends those that fail.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn until(mut is_so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "{}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An agent that is killed in the end.
pub struct Agent {
    pub socket: PathBuf,
    said: PathBuf,
    child: Child,
}

impl Agent {
    pub fn start(dir: &Path) -> Agent {
        Agent::start_with(dir, |_| {})
    }

    pub fn start_with(dir: &Path, change: impl FnOnce(&mut Command)) -> Agent {
        let (socket, said) = (dir.join("agent/agent.sock"), dir.join("agent.said"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashmem"));
        command.args(["seccomp-agent", "--verbose", "--listen"]).arg(&socket).stdin(Stdio::null());
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").stderr(File::create(&said).unwrap());
        change(&mut command);
        let child = command.spawn().unwrap();
        let agent = Agent { socket, said, child };
        until(|| agent.said().contains("waiting for containers"), || agent.said());
        agent
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    pub fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        (status, self.said())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a container is made from.
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// Makes one; `None`, said aloud, where there is no C compiler.
    pub fn make(dir: &Path, name: &str, seccomp: &serde_json::Value, arguments: &[&str]) -> Option<Bundle> {
        let path = dir.join(name);
        let root = path.join("rootfs");
        for inside in ["dev", "proc"] {
            fs::create_dir_all(root.join(inside)).unwrap();
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp_agent/init.c");
        let compiled =
            Command::new("cc").args(["-static", "-O1", "-o"]).arg(root.join("init")).arg(source).status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("skipped: cc cannot make a static program");
            return None;
        }
        let mut config = config(arguments);
        config["linux"]["seccomp"] = seccomp.clone();
        fs::write(path.join("config.json"), config.to_string()).unwrap();
        Some(Bundle { path })
    }
}

fn config(arguments: &[&str]) -> serde_json::Value {
    let args: Vec<&str> = std::iter::once("/init").chain(arguments.iter().copied()).collect();
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "env": ["PATH=/"],
            "capabilities": { "bounding": [], "effective": [], "permitted": [] }, "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }] },
    })
}

/// A container runtime that is installed.
pub struct Runtime {
    pub name: &'static str,
    state: tempfile::TempDir,
}

impl Runtime {
    /// Those that there are. Says which are missing.
    pub fn all() -> Vec<Runtime> {
        let mut runtimes = Vec::new();
        for name in ["crun", "runc"] {
            if Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()) {
                runtimes.push(Runtime { name, state: tempfile::tempdir().unwrap() });
            } else {
                println!("skipped: {name} is not installed");
            }
        }
        runtimes
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name);
        if self.name == "crun" {
            // It will not run beside both versions of control groups, and needs neither here.
            const UNIFIED: &str = "/sys/fs/cgroup/unified";
            if Path::new(UNIFIED).exists() {
                command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", "umount \"$0\" && exec crun \"$@\"", UNIFIED]);
            }
            command.arg("--cgroup-manager=disabled");
        }
        command.arg("--root").arg(self.state.path()).stdin(Stdio::null());
        command
    }

    /// Why no containers can be run here, tried with one that has no seccomp profile.
    pub fn refuses(&self, dir: &Path) -> Option<String> {
        let bundle = Bundle::make(dir, "plain", &serde_json::Value::Null, &[])?;
        let (status, said) = self.run(&bundle, "plain");
        // The program ran, and found no device.
        (status.code() != Some(77)).then_some(said)
    }

    /// Containers of other tests have other names, and so other cgroups.
    fn id(&self, id: &str) -> String {
        let own = self.state.path().file_name().unwrap().to_str().unwrap();
        format!("ashmem{own}-{id}")
    }

    /// Runs a container to its end.
    pub fn run(&self, bundle: &Bundle, id: &str) -> (ExitStatus, String) {
        let mut container = self.spawn(bundle, id);
        let status = container.wait();
        (status, container.said())
    }

    pub fn spawn(&self, bundle: &Bundle, id: &str) -> Container {
        let said = bundle.path.join(format!("said-{id}-{}", fs::read_dir(&bundle.path).unwrap().count()));
        let output = File::create(&said).unwrap();
        let mut command = self.command();
        command.args(["run", "--bundle"]).arg(&bundle.path).arg(self.id(id));
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Container { child: command.spawn().unwrap(), said }
    }

    pub fn kill(&self, id: &str) {
        let killed = self.command().args(["kill", &self.id(id), "KILL"]).output().unwrap();
        assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    }
}

/// A container that runs.
pub struct Container {
    child: Child,
    said: PathBuf,
}

impl Container {
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    pub fn works(&self) -> bool {
        self.said().contains("ashmem works")
    }

    /// Waits until it works; fails with all that was said when it ends instead.
    pub fn comes_to_work(&mut self, agent: &Agent) {
        let said = self.said.clone();
        let told = || format!("{}{}", fs::read_to_string(&said).unwrap(), agent.said());
        until(
            || {
                let works = self.works();
                assert!(works || self.lives(), "{}", told());
                works
            },
            told,
        );
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(&mut self) -> ExitStatus {
        until(|| self.child.try_wait().unwrap().is_some(), || "a container does not end".into());
        self.child.wait().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
