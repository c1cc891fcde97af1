//! The workers as their parent sees them: child processes that are heard from, and may die.

use std::io::{self, BufReader, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ashmem::Region;
use serde::Serialize;

use super::Result;
use super::channel::{self, Job, Message};

/// How long a worker may say nothing. It decodes one image meanwhile, or waits for somebody else who does.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a process may take to end when its work has.
const FAREWELL: Duration = Duration::from_secs(5);

/// A worker that ended before its work did.
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    pub process: u32,
    pub reason: String,
}

/// What there is to know.
pub enum Event {
    /// A worker says something.
    Said(Message),
    /// A worker is gone.
    Lost(Lost),
    /// Nothing happened.
    Nothing,
    /// All workers have ended, one way or the other.
    Over,
}

/// All workers. They end with this value, on every path.
pub struct Crew {
    members: Vec<Member>,
    heard: Receiver<(usize, io::Result<Option<Message>>)>,
}

struct Member {
    child: Child,
    heard: Instant,
    is_done: bool,
}

impl Crew {
    /// Starts a process for each job, and hands it the job, the cache and the sheet.
    pub fn start(jobs: impl Iterator<Item = Job>, cache: &Region, sheet: &Region) -> Result<Crew> {
        let (says, heard) = mpsc::channel();
        let mut crew = Crew { members: Vec::new(), heard };
        for job in jobs {
            let (ours, theirs) = UnixStream::pair()?;
            // By this link it is found even when its file was replaced or deleted meanwhile.
            let child = Command::new(Path::new("/proc/self/exe"))
                .arg("--worker")
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .spawn()
                .map_err(|error| format!("start a worker: {error}"))?;
            let number = crew.members.len();
            crew.members.push(Member { child, heard: Instant::now(), is_done: false });
            ours.set_write_timeout(Some(PATIENCE))?;
            let sent = channel::send_descriptors(&ours, [cache.as_fd(), sheet.as_fd()])
                .and_then(|()| channel::send(&ours, &job));
            match sent {
                // Of a worker that died at once one hears below.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                sent => sent.map_err(|error| format!("hand a worker its job: {error}"))?,
            }
            let says = says.clone();
            thread::spawn(move || listen(number, &ours, &says));
        }
        Ok(crew)
    }

    /// What happens next, within `patience`.
    pub fn next(&mut self, patience: Duration) -> Event {
        if self.members.iter().all(|member| member.is_done) {
            return Event::Over;
        }
        match self.heard.recv_timeout(patience) {
            Ok((number, said)) => self.members[number].said(said),
            Err(RecvTimeoutError::Timeout) => self.silent(),
            // Every member has its thread, which says something before it ends.
            Err(RecvTimeoutError::Disconnected) => Event::Over,
        }
    }

    /// Gives a worker up that is silent for too long.
    fn silent(&mut self) -> Event {
        let silent = |member: &&mut Member| !member.is_done && member.heard.elapsed() > PATIENCE;
        match self.members.iter_mut().find(silent) {
            Some(member) => member.lost(Some(format!("silent for {} s", PATIENCE.as_secs()))),
            None => Event::Nothing,
        }
    }
}

/// Passes on what a worker says, and that it has ended.
fn listen(number: usize, stream: &UnixStream, says: &Sender<(usize, io::Result<Option<Message>>)>) {
    let mut stream = BufReader::new(stream);
    loop {
        let said = channel::receive(&mut stream);
        let is_last = !matches!(said, Ok(Some(_)));
        if says.send((number, said)).is_err() || is_last {
            return;
        }
    }
}

impl Member {
    fn said(&mut self, said: io::Result<Option<Message>>) -> Event {
        self.heard = Instant::now();
        match said {
            _ if self.is_done => Event::Nothing,
            Ok(Some(Message::Stopped { reason })) => self.lost(Some(reason)),
            Ok(Some(message)) => {
                self.is_done = matches!(message, Message::Finished { .. });
                Event::Said(message)
            }
            Ok(None) => self.lost(None),
            Err(error) => self.lost(Some(format!("said something that makes no sense: {error}"))),
        }
    }

    /// Without a reason, the process's status is it.
    fn lost(&mut self, reason: Option<String>) -> Event {
        self.is_done = true;
        if reason.is_none() {
            let until = Instant::now() + FAREWELL;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let status = self.end();
        let reason = reason.unwrap_or_else(|| match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        });
        Event::Lost(Lost { process: self.child.id(), reason })
    }

    /// One that has ended before keeps its own exit status.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        // Fails only for a child that is reaped already.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
