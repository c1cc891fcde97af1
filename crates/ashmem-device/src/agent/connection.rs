//! A runtime that has connected.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt};

use super::message::Message;
use super::{ContainerState, Refusal};

/// Pieces that are taken at once, before others have their turn.
const PIECES: usize = 16;

/// Bytes of a piece.
const PIECE: usize = 16 << 10;

/// As many descriptors as one `sendmsg(2)` passes (`SCM_MAX_FD`), and they all come with the first. There is room for all of them,
/// for the kernel closes those that it finds no room for, and that can take for ever.
const DESCRIPTORS_MAX: usize = 253;

/// A connection, until it has said what it has to say.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    message: Message,
    /// The process that connected, for messages.
    pub(super) process: i32,
    /// When it has to be done.
    pub(super) deadline: Instant,
}

/// What a connection has come to.
#[derive(Debug)]
pub(super) enum Progress {
    /// More is to come.
    Waiting,
    /// It has ended and said nothing.
    Nothing,
    /// It has said everything.
    Said(ContainerState),
}

impl Connection {
    /// Sees who has connected.
    pub(super) fn new(socket: OwnedFd, deadline: Instant) -> Result<Connection, (OwnedFd, Refusal)> {
        let peer = match sockopt::socket_peercred(&socket) {
            Ok(peer) => peer,
            Err(errno) => return Err((socket, Refusal::Receive(errno))),
        };
        if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
            return Err((socket, Refusal::Stranger { user: peer.uid.as_raw() }));
        }
        let process = peer.pid.as_raw_nonzero().get();
        Ok(Connection { socket, message: Message::default(), process, deadline })
    }

    /// Takes what has arrived; never waits.
    pub(super) fn proceed(&mut self) -> Result<Progress, Refusal> {
        for _ in 0..PIECES {
            let mut piece = [0; PIECE];
            match self.receive(&mut piece) {
                Ok(0) if self.message.is_empty() => return Ok(Progress::Nothing),
                Ok(0) => return Err(Refusal::Incomplete),
                Ok(length) => {
                    if self.message.add(&piece[..length])? {
                        return ContainerState::parse(self.message.bytes()).map(Progress::Said);
                    }
                }
                Err(Refusal::Receive(Errno::AGAIN)) => return Ok(Progress::Waiting),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Progress::Waiting)
    }

    /// Takes a piece, with what comes along, and says how many bytes it has.
    fn receive(&mut self, piece: &mut [u8]) -> Result<usize, Refusal> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(piece)], &mut ancillary, flags)
        });
        let received = received.map_err(Refusal::Receive)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.message.descriptors.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Refusal::Lost);
        }
        if self.message.descriptors.len() > DESCRIPTORS_MAX {
            return Err(Refusal::TooMany);
        }
        Ok(received.bytes)
    }

    /// The descriptors that came along.
    pub(super) fn descriptors(&mut self) -> &mut Vec<OwnedFd> {
        &mut self.message.descriptors
    }

    /// Everything that is to be closed.
    pub(super) fn into_waste(self) -> Vec<OwnedFd> {
        let mut waste = self.message.descriptors;
        waste.push(self.socket);
        waste
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
