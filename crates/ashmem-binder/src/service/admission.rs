//! Who may connect, and how often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{PeerIdentity, RpcTransport};
use rustix::process::{Resource, getrlimit};

use super::connection::Connection;
use super::options::Options;
use super::process::lock;

/// Connections of one process. A client of ours has 5 (see [`super::session`]) to each server.
const PER_PROCESS: usize = 64;
/// Each has a thread.
const MOST: usize = 2048;

/// Counts the connections that live.
pub(super) struct Admission {
    options: Options,
    counts: Arc<Mutex<Counts>>,
}

struct Counts {
    limit: usize,
    all: usize,
    /// By process id; those that cannot be told, of another namespace, share -1.
    processes: HashMap<i32, usize>,
}

impl Counts {
    fn admit(&mut self, process: i32) -> bool {
        let own = self.processes.get(&process).copied().unwrap_or(0);
        let admitted = self.all < self.limit && own < PER_PROCESS;
        if admitted {
            self.all += 1;
            self.processes.insert(process, own + 1);
        }
        admitted
    }

    fn leave(&mut self, process: i32) {
        self.all = self.all.saturating_sub(1);
        match self.processes.get_mut(&process) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.processes.remove(&process)),
        }
    }
}

impl Admission {
    pub(super) fn new(options: Options) -> Admission {
        // Half of the descriptors: the rest is the program's. Each takes a second one while it is set up.
        let files =
            getrlimit(Resource::Nofile).current.map_or(MOST, |files| usize::try_from(files).unwrap_or(MOST));
        let limit = (files / 2).clamp(16, MOST);
        Admission {
            options,
            counts: Arc::new(Mutex::new(Counts { limit, all: 0, processes: HashMap::new() })),
        }
    }

    /// Takes a connection, or closes it before a byte has been read or written: its user is not trusted, or
    /// there are too many.
    pub(super) fn admit(&self, transport: UnixTransport) -> Option<Connection> {
        let PeerIdentity::Local { uid, pid } = transport.peer_identity() else {
            log::warn!("a connection to services is refused: the kernel does not say whose it is");
            return None;
        };
        if !self.options.trusts(uid) {
            log::info!("a connection of user {uid} (process {pid}) to services is refused");
            return None;
        }
        if !lock(&self.counts).admit(pid) {
            log::info!("a connection of process {pid} to services is refused: there are too many");
            return None;
        }
        Some(Connection::accepted(transport, Place { process: pid, counts: self.counts.clone() }))
    }
}

/// Counts a connection for as long as it lives.
pub(super) struct Place {
    process: i32,
    counts: Arc<Mutex<Counts>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.counts).leave(self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let mut counts = Counts { limit: PER_PROCESS + 10, all: 0, processes: HashMap::new() };
        assert_eq!((0..100).filter(|_| counts.admit(1)).count(), PER_PROCESS);
        assert_eq!((0..100).filter(|_| counts.admit(2)).count(), 10);
        assert!(!counts.admit(3));
        counts.leave(1);
        assert!(counts.admit(1) && !counts.admit(1));
        for _ in 0..PER_PROCESS {
            counts.leave(1);
        }
        for _ in 0..10 {
            counts.leave(2);
        }
        assert_eq!(counts.all, 0);
        assert!(counts.processes.is_empty());
    }

    #[test]
    fn a_place_is_free_when_its_connection_is_gone() {
        let admission = Admission::new(Options::default());
        let (ours, theirs) = UnixTransport::pair().expect("a pair");
        let admitted = admission.admit(ours).expect("our own user");
        assert_eq!(lock(&admission.counts).all, 1);
        admitted.send_raw(b"x").expect("sent");
        assert_eq!(theirs.recv_raw(&mut [0; 4]).expect("received"), 1);
        drop(admitted);
        assert_eq!(theirs.recv_raw(&mut [0; 4]).expect("closed"), 0);
        assert_eq!(lock(&admission.counts).all, 0);
    }
}
