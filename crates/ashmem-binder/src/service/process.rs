//! What a process keeps about services, and a child does not inherit.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rsbinder::SIBinder;
use rsbinder::rpc::RpcSession;

use super::options::Options;
use super::server::Server;
use super::server_file::ServerFile;

/// The directory's device and inode, and with what options.
pub(super) type ServerKey = ((u64, u64), Options);
pub(super) type SessionKey = ((u64, u64), ServerFile, Options);

/// The servers and sessions of one process.
///
/// A forked child has none of its parent's threads, so it starts anew, with an object of its own: neither
/// does it wait for locks that threads of the parent held, nor does it speak on the parent's sockets. No
/// mutex is held during input or output, except [`directory_lock`](Process::directory_lock) for a few system
/// calls on the directory.
#[derive(Default)]
pub(super) struct Process {
    pub(super) id: u32,
    servers: Mutex<HashMap<ServerKey, Arc<Server>>>,
    /// Before its files are there, and until they are gone.
    own: Mutex<HashSet<ServerFile>>,
    sessions: Mutex<HashMap<SessionKey, Arc<RpcSession>>>,
    /// Whose turn it is to make a session.
    turns: Mutex<HashMap<SessionKey, Weak<Mutex<()>>>>,
    /// What was added to the kernel's binder.
    pub(super) kernel: Mutex<HashMap<String, SIBinder>>,
    /// See [`super::directory`].
    pub(super) directory_lock: Mutex<()>,
    child: OnceLock<Box<Process>>,
}

static FIRST: OnceLock<Box<Process>> = OnceLock::new();

/// Recovers from a panic of another thread: nothing here is ever half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// The calling process's.
    pub(super) fn current() -> &'static Process {
        let id = std::process::id();
        let mut slot = &FIRST;
        loop {
            match slot.get() {
                Some(process) if process.id == id => return process,
                Some(ancestor) => slot = &ancestor.child,
                // Made outside of the slot, where a fork would find it locked. Another thread may have been
                // faster.
                None => drop(slot.set(Box::new(Process { id, ..Process::default() }))),
            }
        }
    }

    /// The process that first used services here: this one, or one that it was forked from.
    pub(super) fn is_first(&self) -> bool {
        FIRST.get().is_some_and(|first| first.id == self.id)
    }

    /// Whether a server is this process's own.
    pub(super) fn owns(&self, server: &ServerFile) -> bool {
        lock(&self.own).contains(server)
    }

    pub(super) fn own(&self, server: &ServerFile) {
        lock(&self.own).insert(server.clone());
    }

    pub(super) fn disown(&self, server: &ServerFile) {
        lock(&self.own).remove(server);
    }

    pub(super) fn server(&self, key: &ServerKey) -> Option<Arc<Server>> {
        lock(&self.servers).get(key).cloned()
    }

    /// One for the same directory whose files are gone: of another directory by now, if that was made again.
    pub(super) fn lost_server(&self, path: &Path, options: &Options) -> Option<(ServerKey, Arc<Server>)> {
        let servers = lock(&self.servers);
        let mut lost = servers
            .iter()
            .filter(|(key, server)| key.1 == *options && server.path == path && !server.is_reachable());
        lost.next().map(|(key, server)| (key.clone(), server.clone()))
    }

    /// Forgets a server, unless there is another one in its place.
    pub(super) fn forget_server(&self, key: &ServerKey, server: &Arc<Server>) {
        let mut servers = lock(&self.servers);
        if servers.get(key).is_some_and(|known| Arc::ptr_eq(known, server)) {
            servers.remove(key);
        }
    }

    /// All of this process's in one directory.
    pub(super) fn servers_in(&self, directory: (u64, u64)) -> Vec<Arc<Server>> {
        let servers = lock(&self.servers);
        servers.iter().filter(|(key, _)| key.0 == directory).map(|(_, server)| server.clone()).collect()
    }

    /// Keeps a new server unless another thread was faster; what is not kept comes back second, to be
    /// dropped.
    pub(super) fn keep_server(&self, key: ServerKey, new: Arc<Server>) -> (Arc<Server>, Option<Arc<Server>>) {
        let mut servers = lock(&self.servers);
        match servers.get(&key) {
            Some(first) if first.is_reachable() => (first.clone(), Some(new)),
            _ => {
                let old = servers.insert(key, new.clone());
                (new, old)
            }
        }
    }

    /// A session that lives, if there is one. Those that ended are forgotten.
    pub(super) fn session(&self, key: &SessionKey) -> Option<Arc<RpcSession>> {
        let mut ended = Vec::new();
        let mut sessions = lock(&self.sessions);
        if sessions.values().any(|session| session.is_ended()) {
            let (dead, living) = sessions.drain().partition(|(_, session)| session.is_ended());
            *sessions = living;
            let dead: HashMap<_, _> = dead;
            ended.extend(dead);
        }
        let found = sessions.get(key).cloned();
        // Dropping them may run anything.
        drop(sessions);
        drop(ended);
        found
    }

    /// What a thread locks while it makes a session, so that many who come at once do not take all places
    /// that the server has for one process. Held for a few round trips, which have a time limit.
    pub(super) fn turn(&self, key: &SessionKey) -> Arc<Mutex<()>> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Keeps a new session unless another thread was faster; that one's is to be used then.
    pub(super) fn keep_session(&self, key: SessionKey, new: Arc<RpcSession>) -> Arc<RpcSession> {
        let mut sessions = lock(&self.sessions);
        let first = sessions.get(&key).filter(|session| !session.is_ended()).cloned();
        let (kept, other) = match first {
            Some(first) => (first, Some(new)),
            None => (new.clone(), sessions.insert(key, new)),
        };
        drop(sessions);
        if let Some(other) = other {
            other.close_session();
        }
        kept
    }
}
