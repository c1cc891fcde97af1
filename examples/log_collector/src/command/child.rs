//! Child processes of this program, which end with it.

use std::io;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Makes the kernel kill this process when the one that started it ends.
pub fn end_with_parent() {
    let parent = getppid();
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before.
    if getppid() != parent {
        std::process::exit(1);
    }
}

/// A child that is killed and waited for when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts this program with other arguments.
    pub fn start(stdin: impl Into<Stdio>, arguments: impl FnOnce(&mut Command)) -> io::Result<Process> {
        let mut command = Command::new("/proc/self/exe");
        command.stdin(stdin).stdout(Stdio::null());
        arguments(&mut command);
        command.spawn().map(Process)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it, at whatever it is doing.
    pub fn kill(mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end, and says whether it was a good one.
    pub fn wait(mut self) -> io::Result<bool> {
        Ok(self.0.wait()?.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
