//! The ways from one process to another.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;

use super::Result;
use super::payload::Payload;
use super::sender::Sender;

/// In the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    Parcel,
    Socket,
    Pipe,
    Tcp,
    SharedMemory,
}

impl Way {
    pub const ALL: [Way; 5] = [Way::Parcel, Way::Socket, Way::Pipe, Way::Tcp, Way::SharedMemory];

    pub fn name(self) -> &'static str {
        match self {
            Way::Parcel => "Binder parcel",
            Way::Socket => "Unix socket",
            Way::Pipe => "pipe",
            Way::Tcp => "TCP loopback",
            Way::SharedMemory => "shared memory",
        }
    }
}

/// A way that is open.
pub enum Open {
    Parcel,
    Stream(Stream),
    SharedMemory,
}

impl Open {
    pub fn new(way: Way, sender: &Sender) -> Result<Open> {
        let (ours, theirs): (File, OwnedFd) = match way {
            Way::Parcel => return Ok(Open::Parcel),
            Way::SharedMemory => return Ok(Open::SharedMemory),
            Way::Socket => {
                let (ours, theirs) = UnixStream::pair()?;
                (OwnedFd::from(ours).into(), theirs.into())
            }
            Way::Pipe => {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
                // As large as users may make it; without the right to, it stays as it is.
                let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
                (writer.into(), reader)
            }
            Way::Tcp => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let ours = TcpStream::connect(listener.local_addr()?)?;
                let (theirs, from) = listener.accept()?;
                if from != ours.local_addr()? {
                    return Err("somebody else connected".into());
                }
                ours.set_nodelay(true)?;
                (OwnedFd::from(ours).into(), theirs.into())
            }
        };
        let (answers, to_answer) = UnixStream::pair()?;
        sender.open_stream(theirs, to_answer.into())?;
        Ok(Open::Stream(Stream { data: ours, answers }))
    }

    /// Returns when the receiver can read the payload.
    pub fn send(&mut self, payload: &Payload, sender: &Sender) -> Result<()> {
        match self {
            Open::Parcel => sender.send_parcel(&payload.bytes),
            Open::SharedMemory => sender.send_memory(&payload.region),
            Open::Stream(stream) => stream.send(&payload.bytes),
        }
    }
}

/// Anything that bytes can be written to. The receiver answers each payload with a byte.
pub struct Stream {
    data: File,
    answers: UnixStream,
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.data.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.data.write_all(bytes)?;
        let mut answer = [0];
        self.answers.read_exact(&mut answer).map_err(|error| format!("the receiver: {error}"))?;
        Ok(())
    }
}
