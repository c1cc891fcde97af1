//! The server of an ashmem device, as a program sees it that has received an area of that device: whom it asks for the pin state.
//!
//! An area's file is its contents to the byte, so its pin state is in a file of its own ([`Region::from_parts`](crate::Region::from_parts)),
//! which the server has. The file of the contents is [marked](mark). One packet of a `SOCK_SEQPACKET` socket asks, and one answers:
//!
//! ```text
//! "ashmem-device state 1"   with the contents      "state"   with the state file
//!                                                  "none"
//! ```
//!
//! Nothing depends on the answer but whether pins are seen: whoever gets none has a memfd like any other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::time::ClockId;

use super::address::{candidates_of, is_trusted_as, own_named};
use super::peer::peer;
use super::socket::{self, Packet};
use crate::sys::aside::aside;
use crate::sys::mode;

/// The variable that names a socket, in place of those below; or `off`, so that nobody is asked.
pub const VARIABLE: &str = "ASHMEM_DEVICE";

/// The socket for all users of the system.
pub const SYSTEM: &str = "/run/ashmem/device";

const REQUEST: &[u8] = b"ashmem-device state 1";
const STATE: &[u8] = b"state";
const NONE: &[u8] = b"none";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long nobody is asked after a server that took longer.
const PAUSE: Duration = Duration::from_secs(10);

/// How soon it is tried again to connect to a server that many are connecting to.
const AGAIN: Duration = Duration::from_millis(1);

/// Why there is no state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nobody listens there, or one that may not see this process's memory, or it has ended.
    Nobody,
    /// It does not know the area.
    Unknown,
    /// It does not answer.
    Hangs,
    /// It says something else.
    Garbage,
}

/// The user's socket: `device`, in the directory of the [driver's](super::address::own).
#[must_use]
pub fn own() -> PathBuf {
    own_named("device")
}

/// The sockets to try, in this order: `$ASHMEM_DEVICE` alone if that is set; else the user's, then the system's.
#[must_use]
pub fn candidates() -> Vec<PathBuf> {
    candidates_of(VARIABLE, own, SYSTEM)
}

/// Whether who listens at the other end of a socket may look after this process's areas: the same user, root, or whom root has given the
/// directory of the system's socket.
#[must_use]
pub fn is_trusted(socket: BorrowedFd<'_>, path: &Path) -> bool {
    is_trusted_as(socket, path, SYSTEM)
}

/// Marks a memfd as the contents of an area, so that who receives it asks. For the server, before anybody else has it.
///
/// # Errors
/// Those of `fchmod(2)`: EPERM when this process is not its owner.
pub fn mark(contents: impl AsFd) -> Result<(), Errno> {
    mode::set_device_mark(contents.as_fd())
}

/// The contents that a packet asks about, for the server; whatever is no such request comes back, to be closed.
///
/// # Errors
/// The packet.
pub fn parse(mut packet: Packet) -> Result<OwnedFd, Packet> {
    if packet.is_cut || packet.bytes != REQUEST || packet.descriptors.len() != 1 {
        return Err(packet);
    }
    packet.descriptors.pop().ok_or(packet)
}

/// Answers a request, for the server: with the state file, or that there is none. Never waits.
///
/// # Errors
/// Those of [`socket::send`].
pub fn reply(socket: impl AsFd, state: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    match state {
        Some(state) => socket::send(socket, STATE, &[state]),
        None => socket::send(socket, NONE, &[]),
    }
}

/// The state file of an area, from the first of the [`candidates`] that has it.
pub(crate) fn state_of(contents: BorrowedFd<'_>) -> Option<OwnedFd> {
    // On the clock of `now`, in nanoseconds.
    static NOT_BEFORE: AtomicU64 = AtomicU64::new(0);
    for path in candidates() {
        if now() < NOT_BEFORE.load(Ordering::Relaxed) {
            return None;
        }
        match ask(&path, contents, true) {
            Ok(state) => return Some(state),
            Err(Silence::Hangs) => {
                NOT_BEFORE.store(now() + PAUSE.as_nanos() as u64, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }
    None
}

/// Asks the server at `path` for the state file of an area. Waits for a second at most. `but_not_itself` is for who might be that server.
///
/// # Errors
/// A [`Silence`].
pub fn ask(path: &Path, contents: BorrowedFd<'_>, but_not_itself: bool) -> Result<OwnedFd, Silence> {
    let until = Instant::now() + PATIENCE;
    let socket = aside(connect(path, until)?);
    if !is_trusted_as(socket.as_fd(), path, SYSTEM) {
        return Err(Silence::Nobody);
    }
    if but_not_itself && peer(&socket).is_ok_and(|peer| peer.process == std::process::id()) {
        return Err(Silence::Nobody);
    }
    let answer = exchange(socket.as_fd(), contents, until);
    // The server is to see the end, even while a child of this process has the socket, too. Fails only when it is over already.
    let _ = rustix::net::shutdown(&socket, Shutdown::Both);
    let Packet { bytes, mut descriptors, is_cut } = answer?;
    match (&bytes[..], descriptors.len(), is_cut) {
        (STATE, 1, false) => descriptors.pop().ok_or(Silence::Garbage),
        (NONE, 0, false) => Err(Silence::Unknown),
        _ => Err(Silence::Garbage),
    }
}

fn connect(path: &Path, until: Instant) -> Result<OwnedFd, Silence> {
    loop {
        match socket::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(AGAIN),
            Err(Errno::AGAIN) => return Err(Silence::Hangs),
            Err(_) => return Err(Silence::Nobody),
        }
    }
}

fn exchange(socket: BorrowedFd<'_>, contents: BorrowedFd<'_>, until: Instant) -> Result<Packet, Silence> {
    socket::send(socket, REQUEST, &[contents]).map_err(|_| Silence::Nobody)?;
    loop {
        match socket::receive(socket) {
            Ok(Some(packet)) => return Ok(packet),
            Err(Errno::AGAIN) => {}
            Ok(None) | Err(_) => return Err(Silence::Nobody),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Silence::Hangs);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        // Every outcome means: look again.
        let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&left));
    }
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
