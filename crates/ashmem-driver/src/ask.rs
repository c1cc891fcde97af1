//! Asking the daemon what is going on. Nothing here waits for longer than a few seconds, whoever answers.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashmem::driver::protocol::{Question, Reason, Reply, Request, VERSION};
use ashmem::driver::{address, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SealFlags, fcntl_get_seals, fstat};
use rustix::io::Errno;

use crate::Snapshot;

/// The largest document that is read, in bytes.
pub const ANSWER_MAX: u64 = 64 << 20;

/// How long a daemon has for an answer, from the first word on.
const PATIENCE: Duration = Duration::from_secs(3);

/// How soon to try again while too many wait to be accepted.
const PAUSE: Duration = Duration::from_millis(5);

/// How soon to try again while the daemon is at other answers.
const ANSWERING: Duration = Duration::from_millis(25);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is something, but nobody can be reached there.
    #[error("connect to the driver daemon at {}", path.display())]
    Connect {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody listens who may not see this user's regions, and so is told nothing.
    #[error("who listens at {} is neither this user nor the system's driver daemon", path.display())]
    NotTrusted {
        /// Of the socket.
        path: PathBuf,
    },
    /// The daemon speaks another version of the protocol.
    #[error("the driver daemon at {} speaks version {version}, and this program version {VERSION}", path.display())]
    OtherVersion {
        /// Of the socket.
        path: PathBuf,
        /// What it speaks.
        version: u64,
    },
    /// The daemon does not answer that.
    #[error("the driver daemon at {} gives no answer: {}", path.display(), Because(*reason))]
    Declined {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        reason: Reason,
    },
    /// What was said is no answer.
    #[error("the driver daemon at {} does not make sense: {what}", path.display())]
    Garbage {
        /// Of the socket.
        path: PathBuf,
        /// What about it.
        what: String,
    },
    /// It ended, or ended the connection.
    #[error("the driver daemon at {} has gone without an answer", path.display())]
    Gone {
        /// Of the socket.
        path: PathBuf,
    },
    /// It said nothing in time.
    #[error("the driver daemon at {} has not answered for {} seconds", path.display(), PATIENCE.as_secs())]
    TimedOut {
        /// Of the socket.
        path: PathBuf,
    },
}

/// A reason in words.
struct Because(Reason);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::NotARegion => f.write_str("no region"),
            Reason::Quota => f.write_str("too much for this user"),
            Reason::Exhausted => f.write_str("it has no free descriptor or memory"),
            Reason::Busy => f.write_str("it is at many answers already"),
            Reason::Other(number) => write!(f, "reason {number}"),
        }
    }
}

/// What the daemon says of itself; none where there is no daemon.
///
/// # Errors
/// [`Error`], of the first socket where there was one, if no other answers.
pub fn snapshot() -> Result<Option<Snapshot>, Error> {
    Asked::find(&address::candidates())?.map(|asked| asked.snapshot()).transpose()
}

/// The daemon's counters, in the text format of Prometheus; none where there is no daemon.
///
/// # Errors
/// As for [`snapshot`].
pub fn metrics() -> Result<Option<String>, Error> {
    Asked::find(&address::candidates())?.map(|asked| asked.metrics()).transpose()
}

/// A daemon that was found. It is asked once.
#[derive(Debug)]
pub struct Asked {
    path: PathBuf,
    socket: OwnedFd,
    sees_limits: bool,
    deadline: Instant,
}

impl Asked {
    /// The first daemon that answers at one of these sockets, and speaks this version; none where nobody listens.
    ///
    /// # Errors
    /// As for [`snapshot`].
    pub fn find(sockets: &[PathBuf]) -> Result<Option<Asked>, Error> {
        let mut trouble = None;
        for path in sockets {
            match Asked::at(path, PATIENCE) {
                Ok(Some(asked)) => return Ok(Some(asked)),
                Ok(None) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    fn at(path: &Path, patience: Duration) -> Result<Option<Asked>, Error> {
        let deadline = Instant::now() + patience;
        let Some(socket) = connect(path, deadline)? else { return Ok(None) };
        if !address::is_trusted(socket.as_fd(), path) {
            return Err(Error::NotTrusted { path: path.to_owned() });
        }
        let mut asked = Asked { path: path.to_owned(), socket, sees_limits: false, deadline };
        asked.say(&Request::Hello { version: VERSION })?;
        match asked.hear()? {
            (Reply::Welcome { version: VERSION, sees_limits }, _) => asked.sees_limits = sees_limits,
            (Reply::Welcome { version, .. }, _) => {
                return Err(Error::OtherVersion { path: asked.path, version });
            }
            (other, _) => return Err(asked.garbage(format_args!("it greets with {other:?}"))),
        }
        Ok(Some(asked))
    }

    /// The socket that it listens at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it watches all limits on memory that apply to this process.
    #[must_use]
    pub fn sees_limits(&self) -> bool {
        self.sees_limits
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// [`Error`].
    pub fn snapshot(self) -> Result<Snapshot, Error> {
        let text = self.ask(Question::Snapshot)?;
        serde_json::from_str(&text).map_err(|error| self.garbage(format_args!("no document: {error}")))
    }

    /// Its counters, in the text format of Prometheus.
    ///
    /// # Errors
    /// [`Error`].
    pub fn metrics(self) -> Result<String, Error> {
        self.ask(Question::Metrics)
    }

    fn ask(&self, question: Question) -> Result<String, Error> {
        let (length, mut descriptors) = loop {
            self.say(&Request::Ask(question))?;
            match self.hear()? {
                (Reply::Answer(length), descriptors) => break (length, descriptors),
                // Somebody else asks.
                (Reply::Declined(Reason::Busy), _) if Instant::now() + ANSWERING < self.deadline => {
                    std::thread::sleep(ANSWERING);
                }
                (Reply::Declined(reason), _) => {
                    return Err(Error::Declined { path: self.path.clone(), reason });
                }
                (other, _) => return Err(self.garbage(format_args!("it answers with {other:?}"))),
            }
        };
        let (Some(document), true) = (descriptors.pop(), descriptors.is_empty()) else {
            return Err(self.garbage("an answer is one descriptor"));
        };
        let bytes = read(&document, length).map_err(|what| self.garbage(what))?;
        String::from_utf8(bytes).map_err(|_| self.garbage("the answer is no text"))
    }

    fn say(&self, request: &Request) -> Result<(), Error> {
        let packet = request.encode();
        loop {
            match socket::send(&self.socket, &packet, &[]) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(errno) => return Err(self.lost(errno)),
            }
        }
    }

    fn hear(&self) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let packet = loop {
            match socket::receive(&self.socket) {
                Ok(Some(packet)) => break packet,
                Ok(None) => return Err(Error::Gone { path: self.path.clone() }),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(errno) => return Err(self.lost(errno)),
            }
        };
        match Reply::decode(&packet.bytes).filter(|_| !packet.is_cut) {
            Some(reply) => Ok((reply, packet.descriptors)),
            None => Err(self.garbage("a packet is no message")),
        }
    }

    /// Waits until the socket is ready.
    fn wait(&self, what: PollFlags) -> Result<(), Error> {
        let mut sockets = [PollFd::new(&self.socket, what)];
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut { path: self.path.clone() });
            }
            match poll(&mut sockets, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(self.lost(errno)),
            }
        }
    }

    fn lost(&self, errno: Errno) -> Error {
        let path = self.path.clone();
        match errno {
            Errno::PIPE | Errno::CONNRESET => Error::Gone { path },
            errno => Error::Connect { path, source: errno.into() },
        }
    }

    fn garbage(&self, what: impl fmt::Display) -> Error {
        Error::Garbage { path: self.path.clone(), what: what.to_string() }
    }
}

/// A connection; none where nobody listens.
fn connect(path: &Path, deadline: Instant) -> Result<Option<OwnedFd>, Error> {
    loop {
        match socket::connect(path) {
            Ok(socket) => return Ok(Some(socket)),
            // The last is a socket that a daemon has left behind.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED) => return Ok(None),
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(Errno::AGAIN) => return Err(Error::TimedOut { path: path.to_owned() }),
            Err(errno) => return Err(Error::Connect { path: path.to_owned(), source: errno.into() }),
        }
    }
}

/// Reads a document of so many bytes. It is sealed, so nobody changes it meanwhile, and in memory, so reading it waits for nobody.
fn read(document: &OwnedFd, length: u64) -> Result<Vec<u8>, &'static str> {
    if length > ANSWER_MAX {
        return Err("the answer is too long");
    }
    // Only files in memory know seals.
    let seals = fcntl_get_seals(document).unwrap_or(SealFlags::empty());
    if !seals.contains(SealFlags::SHRINK | SealFlags::WRITE) {
        return Err("the answer is not sealed");
    }
    let stat = fstat(document).map_err(|_| "the answer is no file")?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() || u64::try_from(stat.st_size) != Ok(length) {
        return Err("the answer is not as long as it was said to be");
    }
    let mut bytes = vec![0; length as usize];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(document, &mut bytes[done..], done as u64) {
            Ok(0) => return Err("the answer ends early"),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(_) => return Err("the answer cannot be read"),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
