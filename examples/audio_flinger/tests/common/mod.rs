//! Places, processes and files for the tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ashmem_binder::ServiceManager;
use audio_flinger::AudioFlinger;
use tempfile::TempDir;

/// No machine is that slow.
pub const LONG: Duration = Duration::from_secs(60);

/// A directory of files and services that nobody else uses.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program; its temporary files are where nobody else has any.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_audio_flinger"));
        let temporary = self.path("tmp");
        fs::create_dir_all(&temporary).unwrap();
        command.args(arguments).env("ASHMEM_BINDER", self.address()).env("TMPDIR", temporary);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.program(arguments).output().unwrap();
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0, "nothing is left over");
        output
    }

    pub fn address(&self) -> String {
        format!("unix://{}/services", self.0.path().display())
    }

    pub fn services(&self) -> ServiceManager {
        ServiceManager::options().timeout(Some(LONG)).open_at(&self.address()).unwrap()
    }

    /// A mixer in a process of its own, and a connection to it.
    pub fn mixer(&self, arguments: &[&str]) -> (Process, AudioFlinger) {
        let mut mixer = Process::start(self.program(&[&["mixer", "--json"], arguments].concat()));
        assert_eq!(mixer.line(), "ready");
        (mixer, AudioFlinger::connect(&self.services()).unwrap())
    }

    /// A pipe that nobody opens.
    pub fn pipe(&self, name: &str) {
        rustix::fs::mkfifoat(rustix::fs::CWD, self.path(name), rustix::fs::Mode::RWXU).unwrap();
    }

    /// A file of 16 bits.
    pub fn wav(&self, name: &str, rate: u32, channels: u16, samples: &[i16]) -> PathBuf {
        let path = self.path(name);
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = hound::WavWriter::create(&path, spec).unwrap();
        samples.iter().for_each(|sample| file.write_sample(*sample).unwrap());
        file.finalize().unwrap();
        path
    }
}

/// A process that is talked to. Killed on drop.
pub struct Process {
    pub child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(mut command: Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, output }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends its input; what it still said, and whether it ended well.
    pub fn finish(mut self) -> (String, bool) {
        self.child.stdin = None;
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().success())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Tracks that it has mapped.
    pub fn mapped_tracks(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        maps.lines().filter(|line| line.contains("audio track")).count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All samples of a WAV file.
pub fn samples(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
}

/// Made by the program, see the README there.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Numbers that look like noise, and are the same each time.
pub fn noise(count: usize, seed: u32, loudness: i32) -> Vec<i16> {
    let mut state = seed;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as i32 % (2 * loudness) - loudness) as i16
    };
    std::iter::repeat_with(next).take(count).collect()
}
