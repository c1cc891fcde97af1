//! A connection to the daemon, which never blocks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::address::is_trusted;
use super::protocol::{Reply, Request};
use super::socket::{self, Packet};
use crate::sys::aside::aside;

/// A socket, with what tells it from another file of the same number: programs close descriptors that are not theirs.
#[derive(Debug)]
pub(super) struct Connection {
    /// None once its number is somebody else's.
    socket: Option<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
    path: PathBuf,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Done,
    /// The daemon has to read first.
    Full,
    /// The system is short of something; nobody says when that is over.
    Later,
    /// One of the descriptors is none.
    BadDescriptor,
    /// The connection is over.
    Lost,
}

/// What there is to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Reply(Reply),
    Nothing,
    /// Something that is no reply.
    Garbage,
    /// The connection is over.
    Lost,
}

impl Connection {
    /// Connects to the daemon at `path`; EPERM when it is one that may not see this process's regions.
    pub(super) fn open(path: &Path) -> Result<Connection, Errno> {
        let socket = aside(socket::connect(path)?);
        if !is_trusted(socket.as_fd(), path) {
            return Err(Errno::PERM);
        }
        let identity = identity(socket.as_fd())?;
        Ok(Connection { socket: Some(socket), identity, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, unless somebody has closed it.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref()?.as_fd();
        (identity(socket) == Ok(self.identity)).then_some(socket)
    }

    pub(super) fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Sent {
        let Some(socket) = self.socket() else { return Sent::Lost };
        match socket::send(socket, &request.encode(), descriptors) {
            Ok(()) => Sent::Done,
            Err(Errno::AGAIN) => Sent::Full,
            // The first: so many descriptors of this user are on their way already.
            Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => Sent::Later,
            Err(Errno::BADF) if !descriptors.is_empty() => Sent::BadDescriptor,
            Err(_) => Sent::Lost,
        }
    }

    pub(super) fn receive(&self) -> Received {
        let Some(socket) = self.socket() else { return Received::Lost };
        match socket::receive(socket) {
            Ok(Some(Packet { bytes, descriptors, is_cut: false })) if descriptors.is_empty() => {
                Reply::decode(&bytes).map_or(Received::Garbage, Received::Reply)
            }
            Ok(Some(_)) => Received::Garbage,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Received::Nothing,
            Ok(None) | Err(_) => Received::Lost,
        }
    }

    /// Ends it for the daemon as well, even while a child of this process has the socket, too.
    pub(super) fn shut_down(&self) {
        if let Some(socket) = self.socket() {
            // Fails only when it is over already.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.socket().is_none() {
            // The number is somebody else's.
            std::mem::forget(self.socket.take());
        }
    }
}

fn identity(fd: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    use super::*;

    #[test]
    fn a_number_that_is_another_file_s_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("driver");
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&listener, 1).expect("listens");
        let mut connection = Connection::open(&path).expect("connected");
        assert_eq!(connection.send(&Request::Ping(1), &[]), Sent::Done);
        assert_eq!(connection.receive(), Received::Nothing);
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let number = connection.socket.as_ref().expect("a socket").as_raw_fd();
        rustix::io::dup2(&reader, connection.socket.as_mut().expect("a socket")).expect("replaced");
        assert_eq!(connection.send(&Request::Ping(2), &[]), Sent::Lost);
        assert_eq!(connection.receive(), Received::Lost);
        drop(connection);
        let path = format!("/proc/self/fd/{number}");
        assert!(std::fs::read_link(path).expect("still open").to_string_lossy().starts_with("pipe:"));
    }
}
