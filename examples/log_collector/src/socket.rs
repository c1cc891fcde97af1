//! Where app and collector meet: a socket in the log's directory. What is said there is little:
//!
//! - the app's first packet is [`HELLO`] with the descriptor of its region; later ones, of any content, say that a lane is half full;
//! - the collector's only packet is [`REFUSED`]: the region is not one of logs, or corrupt, and it is no use to come again.
//!
//! That the socket is closed says that the other is gone, however it died.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use ashmem::Region;
use ashmem::driver::socket;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub(crate) const HELLO: &[u8] = b"logs";
pub(crate) const BELL: &[u8] = b"half";
pub(crate) const REFUSED: &[u8] = b"no";

/// The socket's name in the directory.
pub(crate) const NAME: &str = "socket";

/// The directory by its descriptor: the path of a socket must be short, and that of a directory may be long.
fn short(directory: &Path) -> Result<(OwnedFd, PathBuf), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd());
    Ok((opened, path.into()))
}

/// Connects to the collector of the directory and hands it the region.
pub(crate) fn introduce(directory: &Path, region: &Region) -> Result<OwnedFd, Errno> {
    let (_opened, path) = short(directory)?;
    let connected = socket::connect(&path)?;
    socket::send(&connected, HELLO, &[region.as_fd()])?;
    Ok(connected)
}

/// Listens in the directory, in place of who listened there before.
pub(crate) fn listen(directory: &Path) -> Result<OwnedFd, Errno> {
    let (opened, path) = short(directory)?;
    match rustix::fs::unlinkat(&opened, NAME, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path)?)?;
    rustix::net::listen(&listener, 64)?;
    Ok(listener)
}

/// What a look at a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing, or that there is something to do.
    Nothing,
    /// The other side wants no more of this.
    Refused,
    /// The other side is gone.
    Gone,
}

/// Reads what was sent, a few packets at most; descriptors that come along are closed.
pub(crate) fn hear(connection: impl AsFd) -> Heard {
    for _ in 0..64 {
        match socket::receive(connection.as_fd()) {
            Ok(Some(packet)) if packet.bytes == REFUSED => return Heard::Refused,
            Ok(Some(_)) => {}
            Err(Errno::AGAIN) => break,
            Ok(None) | Err(_) => return Heard::Gone,
        }
    }
    Heard::Nothing
}
