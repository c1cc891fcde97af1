//! Places of their own for tests, and processes in them.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests are tests, and not each uses all")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use rustix::process::{Pid, Signal};
use surface_flinger::Composer;
use tempfile::TempDir;

/// A directory with services and temporary files of its own.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.temporary()).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("services").display())
    }

    pub fn services(&self) -> ServiceManager {
        ServiceManager::options().timeout(Some(Duration::from_secs(60))).open_at(&self.address()).unwrap()
    }

    pub fn composer(&self) -> Composer {
        Composer::find(&self.services()).unwrap()
    }

    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surface_flinger"));
        command.args(arguments).stdin(Stdio::null());
        command.env("ASHMEM_BINDER", self.address()).env("TMPDIR", self.temporary());
        command
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET")
            .env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    pub fn spawn(&self, arguments: &[&str]) -> Process {
        Process::start(self.program(arguments).stdout(Stdio::piped()).stderr(Stdio::null()))
    }

    /// One that ends with its input.
    pub fn compositor(&self) -> Process {
        self.compositor_with(&[])
    }

    pub fn compositor_with(&self, more: &[&str]) -> Process {
        let mut command = self.program(&["compositor", "--child", "--size=64x48", "--rate=1000"]);
        command.args(more);
        let process =
            Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
        self.services().wait_for_service("SurfaceFlinger", Some(Duration::from_secs(60))).unwrap();
        process
    }
}

/// Killed on drop.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Process {
        Process(command.spawn().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn end_input(&mut self) {
        drop(self.0.stdin.take());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let mut byte = [0];
        while self.0.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(char::from(byte[0]));
        }
        line
    }

    pub fn last_line(&mut self) -> String {
        BufReader::new(self.0.stdout.take().unwrap()).lines().last().unwrap().unwrap()
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Windows whose memory it has.
    pub fn window_mappings(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.id())).unwrap();
        maps.lines().filter(|line| line.contains("memfd:") && line.contains("window")).count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn output_of(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub fn eventually(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "it did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The children of a process, and their arguments.
pub fn children(process: u32) -> Vec<(u32, Vec<String>)> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let arguments = |child: u32| {
        let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    let children = list.split_whitespace().map(|child| child.parse().unwrap());
    children.map(|child| (child, arguments(child))).collect()
}

/// Whether it is there, and no zombie.
pub fn is_running(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

pub fn kill(process: u32) {
    signal(process, Signal::KILL);
}

pub fn signal(process: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Where a program is, if it is installed.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| Path::is_file(path))
}
