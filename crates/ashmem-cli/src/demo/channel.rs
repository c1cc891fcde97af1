//! Messages between the two processes, over a Unix stream socket: what is asked and answered, and the bytes that go through a socket
//! for comparison. The regions themselves go through Binder.
//!
//! A message is a length (`u32`, little-endian) and that many bytes of JSON. After a message that announces them, raw bytes may
//! follow.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message in bytes. Ours have a few hundred.
const LONGEST: usize = 64 * 1024;

/// How long the socket may take no further byte. Its other end reads as fast as it can.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// What can go wrong between the two processes.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed.
    #[error("the other process has closed the connection")]
    Closed,
    /// Nothing came, or nothing was taken, for too long.
    #[error("the other process has not answered in time")]
    Silent,
    /// Standard input is something else.
    #[error("standard input is not the socket that `ashmem demo` hands over")]
    NotASocket,
    /// A length that no message has.
    #[error("a message of {0} bytes: at most {LONGEST} are allowed")]
    TooLong(usize),
    /// Something that is no message of ours.
    #[error("a message that makes no sense")]
    Nonsense(#[from] serde_json::Error),
    /// The kernel said no.
    #[error("socket")]
    System(#[source] io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> ChannelError {
        if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()) {
            return ChannelError::NotASocket;
        }
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                ChannelError::Closed
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ChannelError::Silent,
            _ => ChannelError::System(error),
        }
    }
}

/// One end of the connection.
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// Speaks over `stream`.
    pub fn new(stream: UnixStream) -> Result<Channel, ChannelError> {
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok(Channel { stream })
    }

    /// How long to wait for the next byte; `None` for as long as the other end is open.
    pub fn set_patience(&self, patience: Option<Duration>) -> Result<(), ChannelError> {
        Ok(self.stream.set_read_timeout(patience)?)
    }

    /// Sends a message.
    pub fn send(&self, message: &impl Serialize) -> Result<(), ChannelError> {
        let body = serde_json::to_vec(message)?;
        let len = u32::try_from(body.len()).map_err(|_| ChannelError::TooLong(body.len()))?;
        let mut frame = len.to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        self.send_bytes(&frame)
    }

    /// The next message; `None` when the other end closed the connection between two messages.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<T>, ChannelError> {
        let mut header = [0; 4];
        let mut read = 0;
        while read < header.len() {
            match (&self.stream).read(&mut header[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(ChannelError::Closed),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let len = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if len > LONGEST {
            return Err(ChannelError::TooLong(len));
        }
        let mut body = vec![0; len];
        self.receive_bytes(&mut body)?;
        Ok(Some(serde_json::from_slice(&body)?))
    }

    /// Sends raw bytes.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), ChannelError> {
        Ok((&self.stream).write_all(bytes)?)
    }

    /// Receives as many raw bytes as `into` has.
    pub fn receive_bytes(&self, into: &mut [u8]) -> Result<(), ChannelError> {
        Ok((&self.stream).read_exact(into)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(other).unwrap())
    }

    #[test]
    fn messages_and_bytes_keep_their_order() {
        let (one, other) = pair();
        one.send(&"first").unwrap();
        one.send_bytes(b"raw").unwrap();
        one.send(&"second").unwrap();

        assert_eq!(other.receive::<String>().unwrap().unwrap(), "first");
        let mut raw = [0; 3];
        other.receive_bytes(&mut raw).unwrap();
        assert_eq!(&raw, b"raw");
        assert_eq!(other.receive::<String>().unwrap().unwrap(), "second");

        drop(one);
        assert!(other.receive::<String>().unwrap().is_none());
        assert!(matches!(other.send(&"late"), Err(ChannelError::Closed)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (one, other) = pair();
        one.send_bytes(&u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(other.receive::<String>(), Err(ChannelError::TooLong(_))));
        one.send_bytes(&[3, 0, 0, 0, b'{', b'{', b'{']).unwrap();
        assert!(matches!(other.receive::<String>(), Err(ChannelError::Nonsense(_))));
        one.send(&7).unwrap();
        assert!(matches!(other.receive::<String>(), Err(ChannelError::Nonsense(_))));
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() {
        for part in [&[9, 0][..], &[9, 0, 0, 0], &[9, 0, 0, 0, b'"']] {
            let (one, other) = pair();
            one.send_bytes(part).unwrap();
            drop(one);
            assert!(matches!(other.receive::<String>(), Err(ChannelError::Closed)), "{part:?}");
        }
    }

    #[test]
    fn silence_ends() {
        let (_one, other) = pair();
        other.set_patience(Some(Duration::from_millis(1))).unwrap();
        assert!(matches!(other.receive::<String>(), Err(ChannelError::Silent)));
    }

    #[test]
    fn a_file_is_no_channel() {
        let stream = UnixStream::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        assert!(matches!(Channel::new(stream), Err(ChannelError::NotASocket)));
    }
}
