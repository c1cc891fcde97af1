//! A device of one program's own, with this process as its server: where only an ancestor may look at the program.

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use ashmem_device::model::Flavour;
use ashmem_device::{Options, Server, serve_socket};
use ashmem_driver::{Audience, Listener};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process};

use crate::signals::{Endings, ignore_children};

/// How often to look whether anybody is left.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the program, and ends as it does.
pub fn run(program: &[OsString], flavour: Flavour) -> Result<ExitCode, Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("ashmem-run-").tempdir()?;
    let path = directory.path().join("device");
    let listener = Listener::bind(&path, Audience::OwnUser)?;
    // Orphans of the program's stay below this process, which may look at them then.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut itself = Command::new("/proc/self/exe");
    itself.arg("run").arg("--socket").arg(&path).arg("--").args(program);
    let mut child = itself.spawn()?;
    // After the program has got its signals, and before there are threads that would get this process's.
    let endings = Endings::hold_back()?;
    let server = Server::new(Options { flavour })?;
    let served = server.clone();
    thread::Builder::new().name("ashmem-door".into()).spawn(move || {
        let _ = serve_socket(&served, &listener, None);
    })?;
    hand_on(endings, &child);
    let status = wait_for(&mut child)?;
    drop(directory);
    // Those that it has left behind still need the device.
    ignore_children();
    while server.attached() > 0 {
        thread::sleep(PAUSE);
    }
    end_as(status, endings)
}

/// Passes signals on that are for this process alone. Those of the terminal reach the program anyway.
fn hand_on(endings: Endings, child: &Child) {
    let Some(child) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // Ends with the process. Without a thread, signals wait for the program's end.
    let _ = thread::Builder::new().name("ashmem-signals".into()).spawn(move || {
        while let Ok(signal) = endings.signal() {
            let signal = match signal {
                libc::SIGTERM => Signal::TERM,
                libc::SIGHUP => Signal::HUP,
                _ => continue,
            };
            // Fails when it has ended.
            let _ = kill_process(child, signal);
        }
    });
}

/// Waits until the program has ended, and for nothing else: the server may stop a thread of its for a moment, and a parent would see that.
fn wait_for(child: &mut Child) -> Result<ExitStatus, Box<dyn Error>> {
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = number.map(|number| rustix::process::pidfd_open(number, PidfdFlags::empty()));
    if let Some(Ok(pidfd)) = pidfd {
        let mut events = [PollFd::new(&pidfd, PollFlags::IN)];
        while poll(&mut events, None) == Err(Errno::INTR) {}
    }
    Ok(child.wait()?)
}

/// Ends as the program has ended: with its exit status, or by its signal.
fn end_as(status: ExitStatus, endings: Endings) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(code) = status.code() {
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(125)));
    }
    let number = status.signal().unwrap_or(libc::SIGKILL);
    if let Some(signal) = Signal::from_named_raw(number) {
        // Without a second core dump.
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        endings.let_through(number)?;
        kill_process(rustix::process::getpid(), signal)?;
    }
    // It is held back, or handled: what shells say of it.
    Ok(ExitCode::from(u8::try_from(128 + number).unwrap_or(125)))
}
