//! Packets with descriptors, over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::protocol::{MESSAGE_MAX, REGIONS_MAX};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that is connected to who listens at `path`, which does not block.
///
/// # Errors
/// Those of `connect(2)`; EAGAIN when too many wait to be accepted, ENAMETOOLONG.
pub fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends a packet whole, or not at all, with at most [`REGIONS_MAX`] descriptors; never waits.
///
/// # Errors
/// Those of `sendmsg(2)`: EAGAIN while the other side does not read, EPIPE when it is gone.
pub fn send(socket: impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGIONS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > REGIONS_MAX {
        return Err(Errno::TOOMANYREFS);
    }
    // There is room for so many.
    let _ = descriptors.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let packet = [IoSlice::new(packet)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket.as_fd(), &packet, &mut ancillary, flags))?;
    Ok(())
}

/// A packet that was received.
#[derive(Debug)]
pub struct Packet {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Something of it was lost: it was too long, or there were no free descriptors.
    pub is_cut: bool,
}

/// So many descriptors the kernel passes at once (`SCM_MAX_FD`). There is room for all of them, for it closes those that it finds no
/// room for, and that can take for ever: a socket may linger.
const DESCRIPTORS_MAX: usize = 253;

/// Receives a packet, `None` at the end of the connection; never waits. (No packet is empty.)
///
/// # Errors
/// Those of `recvmsg(2)`: EAGAIN when there is none.
pub fn receive(socket: impl AsFd) -> Result<Option<Packet>, Errno> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    let is_cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok(Some(Packet { bytes, descriptors, is_cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).expect("sockets")
    }

    #[test]
    fn packets_arrive_whole_with_their_descriptors() {
        let (a, b) = pair();
        assert_eq!(receive(&b).err(), Some(Errno::AGAIN));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        send(&a, b"one", &[reader.as_fd(), writer.as_fd()]).expect("sent");
        send(&a, b"two", &[]).expect("sent");
        let packet = receive(&b).expect("received").expect("a packet");
        assert_eq!((packet.bytes, packet.descriptors.len(), packet.is_cut), (b"one".to_vec(), 2, false));
        let packet = receive(&b).expect("received").expect("a packet");
        assert_eq!((packet.bytes, packet.descriptors.len()), (b"two".to_vec(), 0));
        drop(a);
        assert!(receive(&b).expect("the end").is_none());
        assert_eq!(send(&b, b"three", &[]), Err(Errno::PIPE));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let (a, b) = pair();
        send(&a, &[1; MESSAGE_MAX + 1], &[]).expect("sent");
        assert!(receive(&b).expect("received").expect("a packet").is_cut);
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert_eq!(send(&a, b"many", &[reader.as_fd(); REGIONS_MAX + 1]), Err(Errno::TOOMANYREFS));
    }

    #[test]
    fn nobody_waits_for_who_does_not_read() {
        let (a, _b) = pair();
        let refused = (0..1_000_000).find_map(|_| send(&a, &[0; 100], &[]).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }

    #[test]
    fn nobody_listens() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(connect(&dir.path().join("driver")).err(), Some(Errno::NOENT));
        assert_eq!(connect(Path::new(&"x".repeat(200))).err(), Some(Errno::NAMETOOLONG));
    }
}
