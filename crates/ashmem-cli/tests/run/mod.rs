//! What the tests of `ashmem run` have in common: a device of each test's own, programs that end, and C compilers.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ashmem::driver::{peer, socket};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

pub const ASHMEM: &str = env!("CARGO_BIN_EXE_ashmem");

/// No test gets there; it only ends those that fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub fn until(mut is_so: impl FnMut() -> bool, what: impl Fn() -> String) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "waited too long: {}", what());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says why something is not tested.
pub fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// A place with a device of its own. Its server is killed on drop.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.path().join("device")
    }

    /// `ashmem run`, with everything but the program.
    pub fn run(&self) -> Command {
        let mut command = Command::new(ASHMEM);
        command.args(["run", "--socket"]).arg(self.socket()).arg("--").env_remove("ASHMEM_DEVICE");
        command
    }

    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.run();
        command.arg(program);
        command
    }

    /// The server, if there is one.
    pub fn server(&self) -> Option<Pid> {
        let connection = socket::connect(&self.socket()).ok()?;
        Pid::from_raw(i32::try_from(peer::peer(connection).ok()?.process).ok()?)
    }

    /// How many files of areas the server has open. Each is one area's, or is about to be let go.
    pub fn files(&self) -> usize {
        let Some(server) = self.server() else { return 0 };
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.as_raw_nonzero())).unwrap();
        let links = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let is_area = |link: &PathBuf| link.to_string_lossy().starts_with("/memfd:");
        links.filter(is_area).count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(server) = self.server() {
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

/// What a program has said, and how it ended.
pub struct Outcome {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Succeeded, and is what it said.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.out, self.err);
        self.out
    }
}

/// A program that runs, in a process group of its own, which is killed on drop.
pub struct Running {
    child: Child,
    out: File,
    err: File,
    ended: bool,
}

impl Running {
    /// Starts a program without input, unless the command has one.
    pub fn start(command: &mut Command, input: Option<Stdio>) -> Running {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdin(input.unwrap_or_else(Stdio::null));
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).process_group(0);
        Running { child: command.spawn().unwrap(), out, err, ended: false }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn kill(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn said(&self) -> String {
        read(&self.out)
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn until_said(&mut self, what: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.said().contains(what) {
            let lives = self.lives();
            let said = self.said();
            if said.contains(what) {
                return;
            }
            assert!(lives && Instant::now() < give_up, "no {what:?}: {said}{}", read(&self.err));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub fn end(mut self) -> Outcome {
        let give_up = Instant::now() + PATIENCE;
        while self.lives() {
            let said = || format!("{}{}", self.said(), read(&self.err));
            assert!(Instant::now() < give_up, "the program hangs: {}", said());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ended = true;
        let status = self.child.wait().unwrap();
        Outcome { status, out: read(&self.out), err: read(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read(file: &File) -> String {
    // The position is also that of who writes, who has it elsewhere only after this.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut bytes = Vec::new();
    let mut file = File::open(path).unwrap();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a program to its end.
#[track_caller]
pub fn outcome(command: &mut Command) -> Outcome {
    Running::start(command, None).end()
}

/// Makes a static program of a C source; `None`, said aloud, where there is no C compiler.
pub fn compile(source: impl AsRef<Path>) -> Option<PathBuf> {
    let source = source.as_ref();
    let name = source.file_stem().unwrap().to_str().unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run");
    std::fs::create_dir_all(&directory).unwrap();
    // Others may be making or running it at the same time.
    let new = tempfile::Builder::new().prefix(name).tempfile_in(&directory).unwrap().into_temp_path();
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-static", "-pthread", "-o"]).arg(&new).arg(source);
    let said = match cc.output() {
        Ok(output) if output.status.success() => {
            let path = directory.join(name);
            new.persist(&path).unwrap();
            return Some(path);
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skipped(&format!("no C compiler: cc makes no static program of {name}.c: {}", said.trim_end()));
    None
}

/// A C program of these tests.
pub fn client() -> Option<PathBuf> {
    compile(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/client.c"))
}

/// The interpreter that recorded the traces.
pub fn interpreter() -> Option<PathBuf> {
    compile(traces().join("ashmem_trace.c"))
}

/// The recorded traces.
pub fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ashmem-device/tests/traces")
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Two ends of a connection.
pub fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// Waits for a packet; `None` when nobody is there any more.
pub fn receive(from: &OwnedFd) -> Option<socket::Packet> {
    let patience = PATIENCE.try_into().unwrap();
    let came = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(came, 1, "waited too long for a packet");
    socket::receive(from).unwrap()
}
