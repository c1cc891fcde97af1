//! `recvmsg(2)` with everything that may come along.

#![allow(unsafe_code, reason = "recvmsg(2), with what rustix leaves out, and getsockopt(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::control::{Messages, descriptors};

/// Room for all descriptors that can be passed at once (253), credentials, and a label.
const CONTROL_WORDS: usize = 1024;

/// Longest address of a socket.
const NAME_LENGTH: usize = size_of::<libc::sockaddr_storage>();

/// A message.
#[derive(Debug)]
pub(crate) struct Received {
    /// What the call returned: more than there is room for, if it was asked for the length.
    pub(crate) length: usize,
    /// The beginning of it.
    pub(crate) data: Vec<u8>,
    /// What the kernel says about it.
    pub(crate) flags: i32,
    /// The sender's address.
    pub(crate) name: Vec<u8>,
    pub(crate) control: Vec<Control>,
}

/// What comes with a message.
#[derive(Debug)]
pub(crate) enum Control {
    /// `SCM_RIGHTS`.
    Rights(Vec<OwnedFd>),
    /// `SCM_PIDFD`: the sender's process.
    Process(OwnedFd),
    /// Bytes.
    Data { level: i32, kind: i32, bytes: Vec<u8> },
}

/// `SCM_PIDFD`, Linux 6.5.
pub(crate) const SCM_PIDFD: i32 = 4;

/// An option of a socket's that is a number, of those that all sockets have.
///
/// # Errors
/// Those of `getsockopt(2)`.
pub(crate) fn option(socket: BorrowedFd<'_>, option: i32) -> Result<i32, Errno> {
    let mut value = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    let (value_at, length_at) = (&raw mut value, &raw mut length);
    // SAFETY: the kernel writes the value, as long as the length says, and the length; both outlive the call.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value_at.cast(), length_at) };
    if result == 0 { Ok(value) } else { Err(last_error()) }
}

/// Receives a message of at most `length` bytes. Descriptors are closed on exec.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub(crate) fn receive(socket: BorrowedFd<'_>, length: usize, flags: i32) -> Result<Received, Errno> {
    let mut data = vec![0_u8; length];
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut name = [0_u8; NAME_LENGTH];
    // Words, for the headers are aligned.
    let mut control = vec![0_u64; CONTROL_WORDS];
    // SAFETY: all zeros is a value of this structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = name.len() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control.as_slice()) as _;
    let received = loop {
        // SAFETY: every buffer that the message names is alive and as long as it says.
        let result =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) };
        if let Ok(received) = usize::try_from(result) {
            break received;
        }
        match last_error() {
            Errno::INTR => {}
            errno => return Err(errno),
        }
    };
    data.truncate(received);
    let used = control.len().min((message.msg_controllen as usize).div_ceil(size_of::<u64>()));
    let bytes: Vec<u8> = control[..used].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let used = bytes.len().min(message.msg_controllen as usize);
    Ok(Received {
        length: received,
        data,
        flags: message.msg_flags,
        name: name[..NAME_LENGTH.min(message.msg_namelen as usize)].to_vec(),
        control: parse(&bytes[..used]),
    })
}

/// Takes control data apart, with the descriptors in it.
fn parse(bytes: &[u8]) -> Vec<Control> {
    let mut found = Vec::new();
    for (level, kind, data) in Messages::new(bytes, size_of::<usize>()) {
        let take = |fd| {
            // SAFETY: the kernel has just made this descriptor for who received the message, and nobody has taken it yet.
            unsafe { OwnedFd::from_raw_fd(fd) }
        };
        // A process that is gone is a negative number.
        let mut numbers = descriptors(data).filter(|&number| number >= 0);
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => found.push(Control::Rights(numbers.map(take).collect())),
            (libc::SOL_SOCKET, SCM_PIDFD) => found.extend(numbers.next().map(take).map(Control::Process)),
            _ => found.push(Control::Data { level, kind, bytes: data.to_vec() }),
        }
    }
    found
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    #[test]
    fn descriptors_are_peeked_and_received() {
        let kind = SocketType::SEQPACKET;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("sockets");
        assert_eq!(receive(b.as_fd(), 10, libc::MSG_DONTWAIT).err(), Some(Errno::AGAIN));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        ashmem::driver::socket::send(&a, b"hello", &[reader.as_fd(), writer.as_fd()]).expect("sent");
        drop(writer);
        for flags in [libc::MSG_PEEK | libc::MSG_TRUNC, libc::MSG_DONTWAIT] {
            let received = receive(b.as_fd(), 4, flags).expect("a message");
            assert_eq!(received.data, b"hell");
            assert_eq!(received.length, if flags == libc::MSG_DONTWAIT { 4 } else { 5 });
            let [Control::Rights(descriptors)] = received.control.as_slice() else {
                panic!("no descriptors")
            };
            assert_eq!(descriptors.len(), 2);
        }
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0), "nobody has the other end");
    }
}
