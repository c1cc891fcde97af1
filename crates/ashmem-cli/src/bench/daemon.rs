//! The driver daemon, for the caches of this measurement alone.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;

use super::stop::Stop;
use super::{Error, MEMBER_COMMAND};
use crate::demo::own_executable;

/// How long it may take to start, or to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

const NAP: Duration = Duration::from_millis(2);

/// A daemon outside of the cgroups. It ends with this value, on every path.
pub struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// Starts one, and waits until it listens.
    pub fn start(stop: &Stop) -> Result<Daemon, Error> {
        let directory =
            tempfile::Builder::new().prefix("ashmem-bench-").tempdir().map_err(Error::Directory)?;
        let log = log_in(directory.path());
        let file = File::create(&log).map_err(|source| Error::Output { path: log, source })?;
        let child = Command::new(own_executable())
            .arg(MEMBER_COMMAND)
            .arg("--daemon")
            .arg(socket_in(directory.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(Error::Start)?;
        let mut daemon = Daemon { child, directory };
        let give_up = Instant::now() + PATIENCE;
        // It is there once somebody listens.
        while !daemon.socket().exists() {
            if let Some(status) = daemon.child.try_wait().map_err(Error::Start)? {
                return Err(Error::Daemon(format!("it has ended ({status}){}", daemon.last_words())));
            }
            if Instant::now() > give_up {
                return Err(Error::Daemon(format!("it does not begin to listen{}", daemon.last_words())));
            }
            stop.sleep(NAP)?;
        }
        Ok(daemon)
    }

    pub fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// The last line of its log, if there is one.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(log_in(self.directory.path())).unwrap_or_default();
        log.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let give_up = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < give_up {
            std::thread::sleep(NAP);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("driver")
}

fn log_in(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// Turns this process into the daemon. Returns why not.
pub fn become_daemon(socket: &Path) -> Error {
    // Kept over exec. Where it cannot be set, a killed parent leaves a daemon without clients.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    // The user's own policy would be another measurement.
    let arguments = ["daemon", "--policy", "/dev/null", "--socket"];
    Error::Start(Command::new(own_executable()).args(arguments).arg(socket).exec())
}
