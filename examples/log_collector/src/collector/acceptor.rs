//! The thread that meets apps: some may be slow, or up to no good, and nobody who is there already is to wait for them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ashmem::driver::{peer::peer, socket};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Resource, getrlimit};

use crate::shared::Shared;
use crate::socket::{HELLO, REFUSED};
use crate::{Error, Result};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait where this process has no descriptors or memory left.
const SHORTAGE: Duration = Duration::from_millis(100);
/// Descriptors that are kept free for the log's files.
const SPARE: u64 = 8;
/// Connections that have not said it yet.
const PENDING_MAX: usize = 64;

/// An app that has handed over its region.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) process: u32,
    pub(super) shared: Shared,
    pub(super) connection: OwnedFd,
}

#[derive(Debug)]
pub(super) struct Acceptor {
    arrivals: Receiver<Result<Arrival>>,
    /// Readable when somebody has arrived.
    bell: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    pub(super) fn start(listener: OwnedFd) -> Result<Acceptor> {
        let event = || {
            let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            made.map(Arc::new).map_err(Error::system("make an event"))
        };
        let (bell, stop) = (event()?, event()?);
        let (sender, arrivals) = sync_channel(PENDING_MAX);
        let door = Door { listener, bell: Arc::clone(&bell), stop: Arc::clone(&stop), sender };
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn(move || door.run());
        Ok(Acceptor { arrivals, bell, stop, thread: Some(thread.map_err(Error::system("start a thread"))?) })
    }

    /// Becomes readable when somebody arrives.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// The next one who has arrived, or did not get that far.
    pub(super) fn next(&self) -> Option<Result<Arrival>> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.bell, &mut count);
        self.arrivals.try_recv().ok()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if rustix::io::write(&*self.stop, &1_u64.to_ne_bytes()).is_ok() {
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

struct Door {
    listener: OwnedFd,
    bell: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    sender: SyncSender<Result<Arrival>>,
}

impl Door {
    fn run(self) {
        let mut pending: Vec<(Instant, OwnedFd)> = Vec::new();
        loop {
            let mut polled = vec![
                PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            ];
            polled.extend(pending.iter().map(|(_, connection)| PollFd::new(connection, PollFlags::IN)));
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = poll(&mut polled, (!pending.is_empty()).then_some(&timeout));
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let [stop, knock, spoke @ ..] = &ready[..] else { return };
            if *stop {
                return;
            }
            let mut spoke = spoke.iter().copied();
            let waiting = std::mem::take(&mut pending).into_iter().filter_map(|(since, connection)| {
                if spoke.next() == Some(true) {
                    self.meet(connection);
                    return None;
                }
                (since.elapsed() < PATIENCE).then_some((since, connection))
            });
            pending = waiting.collect();
            if *knock {
                self.open(&mut pending);
            }
        }
    }

    fn open(&self, pending: &mut Vec<(Instant, OwnedFd)>) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.listener, flags) {
            // Who finds too many there comes again.
            Ok(connection) if pending.len() < PENDING_MAX => pending.push((Instant::now(), connection)),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // Nothing to accept it with, for the time being.
            Err(_) => thread::sleep(SHORTAGE),
        }
    }

    /// Takes what a connection brings.
    fn meet(&self, connection: OwnedFd) {
        let packet = match socket::receive(&connection) {
            Ok(Some(packet)) => packet,
            // It left again.
            Ok(None) | Err(_) => return,
        };
        let process = peer(&connection).map_or(0, |peer| peer.process);
        let is_hello = packet.bytes == HELLO;
        let none_left = || Err(Error::system("receive a region of logs")(Errno::MFILE));
        let mut descriptors = packet.descriptors.into_iter();
        let shared = match (descriptors.next(), descriptors.len()) {
            (Some(descriptor), 0) if is_hello && is_of_the_last(&descriptor) => none_left(),
            (Some(descriptor), 0) if is_hello => Shared::from_fd(descriptor),
            (None, _) if is_hello && packet.is_cut => none_left(),
            _ => Err(Error::Corrupt { process, reason: "it was not handed over as it should be" }),
        };
        let arrival = match shared {
            Ok(shared) => Ok(Arrival { process, shared, connection }),
            Err(error) => {
                match error {
                    // It comes again, when there may be enough.
                    Error::System { .. } | Error::Region { source: ashmem::Error::System { .. }, .. } => {
                        thread::sleep(SHORTAGE);
                    }
                    _ => _ = socket::send(&connection, REFUSED, &[]),
                }
                Err(error)
            }
        };
        // Where too many wait already, this one comes again.
        if self.sender.try_send(arrival).is_ok() {
            let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
        }
    }
}

/// Whether a descriptor is one of the last that this process may have; the kernel gives the lowest first.
fn is_of_the_last(descriptor: &OwnedFd) -> bool {
    let most = getrlimit(Resource::Nofile).current;
    most.is_some_and(|most| u64::from(descriptor.as_raw_fd().unsigned_abs()) + SPARE >= most)
}
