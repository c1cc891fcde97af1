//! A compositor and its producers as children of this process, which end with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use surface_flinger::{Error, Result};
use tempfile::TempDir;

use super::compositor::{COMPOSING, Printed};

/// How often producers are looked after that are waited for.
const NAP: Duration = Duration::from_millis(20);
/// How long a child may take to end when its work is done.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child. Its input ends with this process, and so does the child.
struct Process {
    role: String,
    child: Child,
}

impl Process {
    fn start(address: &str, role: String, arguments: &[impl AsRef<OsStr>], output: Stdio) -> Result<Process> {
        // By this link it is found even when its file was replaced or deleted meanwhile.
        let child = Command::new("/proc/self/exe")
            .args(arguments)
            .arg("--child")
            .env("ASHMEM_BINDER", address)
            // Ctrl-C ends this process alone, and its children clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output)
            .spawn()
            .map_err(|error| Error::Process { process: role.clone(), reason: error.to_string() })?;
        Ok(Process { role, child })
    }

    fn failed(&self, reason: String) -> Error {
        Error::Process { process: self.role.clone(), reason }
    }

    /// Ends well, or is an error; one that is stopped, too.
    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(status.to_string())),
                Ok(None) if Instant::now() < until => thread::sleep(NAP / 10),
                Ok(None) => return Err(self.failed("it does not end".to_owned())),
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of them. They end with this value.
pub struct Family {
    producers: Vec<Process>,
    compositor: Process,
    said: Receiver<String>,
    directory: Option<TempDir>,
}

impl Family {
    /// Starts a compositor with these arguments, and a producer with each of those.
    pub fn start<Word: AsRef<OsStr>>(compositor: &[Word], producers: &[Vec<Word>]) -> Result<Family> {
        let directory = tempfile::tempdir().map_err(Error::system("make a directory for services"))?;
        let address = format!("unix://{}/services", directory.path().display());
        let mut words: Vec<&OsStr> = compositor.iter().map(AsRef::as_ref).collect();
        words.extend([OsStr::new("--remove"), directory.path().as_os_str()]);
        let mut compositor = Process::start(&address, "the compositor".to_owned(), &words, Stdio::piped())?;
        let output = compositor.child.stdout.take();
        let output = output.ok_or_else(|| compositor.failed("it has no output".to_owned()))?;
        let (says, said) = mpsc::channel();
        // Ends with the compositor.
        let listen = move || {
            BufReader::new(output)
                .lines()
                .map_while(std::result::Result::ok)
                .all(|line| says.send(line).is_ok())
        };
        thread::Builder::new().spawn(listen).map_err(Error::system("start a thread"))?;
        let start = |(i, arguments): (usize, &Vec<Word>)| {
            Process::start(&address, format!("producer {}", i + 1), arguments, Stdio::null())
        };
        let producers = producers.iter().enumerate().map(start).collect::<Result<_>>()?;
        Ok(Family { producers, compositor, said, directory: Some(directory) })
    }

    /// Waits until the compositor has composed all. A producer that ends before the first frame, which waits for all of them, is an error
    /// at once; one that ends later, when the others are done.
    pub fn finish(mut self) -> Result<Printed> {
        let mut printed = None;
        loop {
            match self.said.recv_timeout(NAP) {
                // All have found each other.
                Ok(line) if line == COMPOSING => self.directory = None,
                Ok(line) => printed = serde_json::from_str(&line).ok(),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if self.directory.is_some() => {
                    for producer in &mut self.producers {
                        if let Ok(Some(status)) = producer.child.try_wait() {
                            return Err(producer.failed(status.to_string()));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.compositor.wait()?;
        // Those that were there to the end find their windows closed, and end well.
        self.producers.iter_mut().try_for_each(Process::wait)?;
        printed.ok_or_else(|| self.compositor.failed("it said nothing".to_owned()))
    }
}
