//! Executing a program with the device.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ashmem::driver::socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::filter::{Abi, compile};
use crate::sys::{Program, Refusal, install};
use crate::task::Status;

/// What is said to the server first, and its answer: from then on it does not end before this connection.
pub(crate) const HELLO: &[u8] = b"ashmem-device hello 1";
pub(crate) const WELCOME: &[u8] = b"welcome";
/// What is said to the server, with a listener.
pub(crate) const ATTACH: &[u8] = b"ashmem-device attach 1";
/// What it says then.
pub(crate) const ATTACHED: &[u8] = b"attached";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts the filter on this thread, has the server at the other end of `socket` look after it, and executes the program in its place. Returns only when
/// that failed. To be called in a process of one thread.
///
/// # Errors
/// See [`Error`].
pub fn launch(socket: &OwnedFd, program: &OsStr, arguments: &[OsString]) -> Error {
    // Everything else is prepared before: from now on, whatever opens a file waits for the server.
    let failed = |source| Error::Execute { program: program.to_string_lossy().into_owned(), source };
    let prepared = match Program::new(program, arguments) {
        Ok(prepared) => prepared,
        Err(source) => return failed(source),
    };
    let filter = compile(Abi::native());
    // What this thread says from then on waits for the server itself; another has no filter.
    let (sender, listener) = channel();
    let (installed, introduced) = thread::scope(|scope| {
        let introducing =
            scope.spawn(move || listener.recv().map_or(Ok(()), |listener| introduce(socket, listener)));
        let installed = install(&filter).map(|listener| drop(sender.send(listener)));
        drop(sender);
        (installed, introducing.join().unwrap_or(Err(Error::Refused)))
    });
    match installed {
        Ok(()) => {
            if let Err(error) = introduced {
                return error;
            }
        }
        // A program that has the device already executes another: it has it, too.
        Err(Refusal::Listening) if has_device() => {}
        Err(refusal) => return Error::refusal(refusal),
    }
    failed(prepared.execute())
}

/// Waits until the server at the other end is there for this connection. One that is just about to end is not: then it is to be connected
/// to anew.
///
/// # Errors
/// [`Error::Refused`] when it is not, or says something else; [`Error::System`].
pub fn greet(socket: &OwnedFd) -> Result<(), Error> {
    socket::send(socket, HELLO, &[]).map_err(Error::system("reach the device server"))?;
    match receive(socket)? {
        Some(packet) if packet == WELCOME => Ok(()),
        _ => Err(Error::Refused),
    }
}

fn introduce(socket: &OwnedFd, listener: OwnedFd) -> Result<(), Error> {
    socket::send(socket, ATTACH, &[listener.as_fd()]).map_err(Error::system("reach the device server"))?;
    drop(listener);
    match receive(socket)? {
        Some(packet) if packet == ATTACHED => Ok(()),
        _ => Err(Error::Refused),
    }
}

fn receive(socket: &OwnedFd) -> Result<Option<Vec<u8>>, Error> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match socket::receive(socket) {
            Ok(packet) => return Ok(packet.map(|packet| packet.bytes)),
            Err(Errno::AGAIN) if Instant::now() < give_up => {
                let mut events = [PollFd::new(socket, PollFlags::IN)];
                let _ = poll(&mut events, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
            }
            Err(errno) => return Err(Error::system("hear from the device server")(errno)),
        }
    }
}

fn has_device() -> bool {
    Path::new("/dev/ashmem").exists()
}

/// Whether a server that is no ancestor of this process may look at its memory: Yama, of some distributions, allows that to ancestors
/// only (`/proc/sys/kernel/yama/ptrace_scope`), and to root.
#[must_use]
pub fn may_be_served_by_others() -> bool {
    const SYS_PTRACE: u64 = 1 << 19;
    let scope = std::fs::read("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let capable = Status::of(own).is_some_and(|status| status.capabilities & SYS_PTRACE != 0);
    capable || matches!(scope.trim_ascii(), b"" | b"0")
}
