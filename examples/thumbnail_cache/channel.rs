//! Descriptors and messages between parent and worker, over a Unix stream socket: first the two descriptors with one byte
//! (`SCM_RIGHTS`, `unix(7)`), then lines of JSON.

use std::io::{self, BufRead, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::gallery::Image;
use super::sheet::Sheet;

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub images: Vec<Image>,
    pub rounds: u32,
    /// Where the tiles go. The tile of image `n` is drawn by worker `n % workers`, in the first round.
    pub sheet: Sheet,
    pub worker: usize,
    pub workers: usize,
    /// Bytes of the cache's budget; without one, everything is decoded each time.
    pub budget: Option<u64>,
    /// Whether to be killed in the middle of decoding.
    pub dies: bool,
}

/// What a worker has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// It has visited an image.
    Visited {
        image: usize,
        checksum: u64,
        /// Whether it decoded it.
        decoded: bool,
        /// Whether its tile is in the sheet now.
        drawn: bool,
    },
    /// An image that cannot be decoded.
    Failed { image: usize, reason: String },
    /// Everything is done.
    Finished {
        /// How often it found no room in the cache, and waited until others let something go.
        waits: u64,
    },
    /// It cannot go on.
    Stopped { reason: String },
}

/// Sends the descriptors that a worker needs.
pub fn send_descriptors(stream: &UnixStream, descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    // There is room for two.
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives them.
pub fn receive_descriptors(stream: &UnixStream) -> io::Result<[OwnedFd; 2]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    // One byte and no more: the rest is the first message's.
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    <[OwnedFd; 2]>::try_from(received)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "there should be two descriptors"))
}

/// Sends a message.
pub fn send(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The next message; none when the other end is closed, or its process has died, perhaps in the middle of one.
pub fn receive<T: DeserializeOwned>(stream: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    match stream.read_until(b'\n', &mut line) {
        Ok(_) if line.ends_with(b"\n") => Ok(Some(serde_json::from_slice(&line)?)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}
