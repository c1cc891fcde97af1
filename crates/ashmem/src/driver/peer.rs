//! What the kernel says of the other end of a connection.
#![allow(unsafe_code, reason = "rustix has no room for a peer without a number, and no such ioctl")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Who connected, or who listens there: as it was at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process; zero where it has no number here, for it is in another PID namespace.
    pub process: u32,
    /// Its effective user.
    pub user: u32,
}

/// Who is at the other end (`SO_PEERCRED`).
///
/// # Errors
/// Those of `getsockopt(2)`.
pub fn peer(socket: impl AsFd) -> Result<Peer, Errno> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let place = (&raw mut found).cast();
    // SAFETY: fills in at most as many bytes as there is room for, and any bytes make numbers.
    match unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, place, &raw mut length) } {
        0 => Ok(Peer { process: u32::try_from(found.pid).unwrap_or(0), user: found.uid }),
        _ => Err(last()),
    }
}

/// Memory that is taken by what was sent and not read yet at the other end (`SIOCOUTQ`, see `unix(7)`).
///
/// # Errors
/// Those of `ioctl(2)`.
pub fn unread(socket: impl AsFd) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: this request writes one int.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(u64::try_from(bytes).unwrap_or(0)),
        _ => Err(last()),
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;
    use crate::driver::socket;

    #[test]
    fn who_is_there_and_what_waits() {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("sockets");
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(peer(&a), Ok(Peer { process: std::process::id(), user }));
        assert_eq!(unread(&a), Ok(0));
        socket::send(&a, b"one", &[]).expect("sent");
        assert!(unread(&a).expect("asked") >= 3);
        socket::receive(&b).expect("received").expect("a packet");
        assert_eq!(unread(&a), Ok(0));
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert_eq!(peer(&reader), Err(Errno::NOTSOCK));
    }
}
