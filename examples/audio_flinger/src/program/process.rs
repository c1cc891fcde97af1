//! Other processes of this program, and what they say.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::{Result, Unusable};

/// What a child says once it has begun.
pub const READY: &str = "ready";
/// Bytes of a line at most.
const LONGEST: u64 = 16 << 20;

/// A child that says lines. Ends with this value, and with this process if that is killed.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program with another command, its arguments, and services at an address.
    pub fn start(address: &str, command: &str, arguments: &[OsString]) -> Result<Process> {
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .args([command, "--child-of", &std::process::id().to_string()])
            .args(arguments)
            .env("ASHMEM_BINDER", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Unusable(format!("start a process: {error}")))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| Unusable("a process has no output".to_owned()))?;
        Ok(Process { child, input, output: BufReader::new(output) })
    }

    /// Waits until it is ready; false when it ends before. It has said itself why.
    pub fn wait_until_ready(&mut self) -> bool {
        self.line().is_some_and(|line| line == READY)
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it ends. What it said last, if it did what it should.
    pub fn finish<T: DeserializeOwned>(mut self) -> Result<Option<T>> {
        let mut last = None;
        while let Some(line) = self.line() {
            last = Some(line);
        }
        let is_well = self.child.wait()?.success();
        Ok(last.filter(|_| is_well).and_then(|line| serde_json::from_str(&line).ok()))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = (&mut self.output).take(LONGEST).read_line(&mut line);
        matches!(read, Ok(1..)).then(|| line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For services of one run. Removed on drop.
pub fn temporary_directory() -> Result<TempDir> {
    Ok(tempfile::tempdir().map_err(|error| Unusable(format!("create temporary directory: {error}")))?)
}

/// Has this process die with the one that started it; false when that is dead already.
pub fn die_with_parent(parent: Option<u32>) -> bool {
    let Some(parent) = parent else { return true };
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent)
}
