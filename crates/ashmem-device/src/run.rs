//! Executing a program with the device.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ashmem::driver::socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::filter::{Abi, compile};
use crate::sys::{Refusal, install};

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
    let mut command = Command::new(program);
    command.args(arguments);
    let filter = compile(Abi::native());
    match install(&filter) {
        Ok(listener) => {
            if let Err(error) = introduce(socket, listener) {
                return error;
            }
        }
        // A program that has the device already executes another: it has it, too.
        Err(Refusal::Listening) if has_device() => {}
        Err(refusal) => return Error::refusal(refusal),
    }
    let source = command.exec();
    Error::Execute { program: program.to_string_lossy().into_owned(), source }
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
