//! The thread that serves the socket: it waits for events, and for nothing else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ashmem::driver::peer;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::client::{Client, End, Memfds};
use crate::closing::Waste;
use crate::listen::{Audience, Listener};
use crate::shared::{Shared, add, bell, lock, ring};
use crate::table::ClientId;
use crate::turn::Host;
use crate::{Error, Result};

/// Packets of one client, and new connections, before it is the turn of the others.
const AT_ONCE: usize = 16;

/// How long nobody is accepted when that has failed for want of something.
const PAUSE: Duration = Duration::from_secs(1);

/// Descriptors that wait to be closed, beyond which nobody is accepted for a while.
const PENDING: usize = 256;

const LISTENER: u64 = 0;
const BELL: u64 = 1;
const TIMER: u64 = 2;
const FIRST_CLIENT: ClientId = 3;

/// Set in the number of a user, which is not that of a client then.
const USER: u64 = 1 << 63;

/// The socket and everybody who is connected.
pub(crate) struct Server {
    shared: Arc<Shared>,
    listener: Listener,
    events: OwnedFd,
    /// Rings at the end.
    bell: Arc<OwnedFd>,
    /// Ends a pause.
    timer: OwnedFd,
    memfds: Memfds,
    clients: HashMap<ClientId, Client>,
    /// By user: what tells of their clients. So users take turns, however many connections one has.
    users: HashMap<u32, OwnedFd>,
    next: ClientId,
}

/// Tells a server to end.
#[derive(Debug)]
pub(crate) struct Stop(Arc<OwnedFd>);

impl Stop {
    pub(crate) fn stop(&self) {
        ring(&self.0);
    }
}

impl Server {
    pub(crate) fn new(shared: Arc<Shared>, listener: Listener) -> Result<Server> {
        let failed = |errno: Errno| Error::system("set up the server")(errno);
        let events = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let bell = Arc::new(bell()?);
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed)?;
        let sources = [(listener.as_fd(), LISTENER), (bell.as_fd(), BELL), (timer.as_fd(), TIMER)];
        for (source, number) in sources {
            epoll::add(&events, source, EventData::new_u64(number), EventFlags::IN).map_err(failed)?;
        }
        let memfds = Memfds::find().map_err(failed)?;
        let (clients, users) = (HashMap::new(), HashMap::new());
        Ok(Server { shared, listener, events, bell, timer, memfds, clients, users, next: FIRST_CLIENT })
    }

    pub(crate) fn stopper(&self) -> Stop {
        Stop(self.bell.clone())
    }

    /// Serves until it is told to end.
    pub(crate) fn run(mut self) {
        let mut ready = Vec::with_capacity(64);
        loop {
            ready.clear();
            match epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut ready), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    // Nothing that a process does brings this about.
                    log::error!("the socket cannot be served any more: {error}");
                    break;
                }
            }
            for event in &ready {
                if self.shared.is_stopping() {
                    break;
                }
                self.meet(event);
            }
            if self.shared.is_stopping() {
                break;
            }
        }
        // The listener goes first, so that nobody connects in vain.
        drop(self.listener);
    }

    fn meet(&mut self, event: &Event) {
        match event.data.u64() {
            LISTENER => self.accept(),
            BELL => {}
            TIMER => self.listen_again(),
            number => self.hear_one_of((number & !USER) as u32),
        }
    }

    /// Hears one client of a user.
    fn hear_one_of(&mut self, user: u32) {
        let Some(events) = self.users.get(&user) else { return };
        let mut ready = Vec::with_capacity(1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Fails for a signal only, and then it is still ready.
        let _ = epoll::wait(events, rustix::buffer::spare_capacity(&mut ready), Some(&now));
        if let Some(event) = ready.first() {
            let event: &Event = event;
            self.hear(event.data.u64());
        }
    }

    fn hear(&mut self, number: ClientId) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        for _ in 0..AT_ONCE {
            match client.turn(&self.shared, self.memfds) {
                Ok(true) => {}
                Ok(false) => return,
                Err(end) => return self.part(number, end),
            }
        }
    }

    fn part(&mut self, number: ClientId, end: End) {
        if let Some(client) = self.clients.remove(&number) {
            // Others may have the socket for a moment yet, and it would be heard as long as they do.
            let user = client.peer.user;
            if let Some(events) = self.users.get(&user) {
                let _ = epoll::delete(events, &*client.socket);
            }
            client.leave(&self.shared, end);
            if lock(&self.shared.table).account(user).connections == 0 {
                self.users.remove(&user);
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..AT_ONCE {
            if self.shared.closing.pending() > PENDING && !self.shared.has_room() {
                return self.pause("descriptors that cannot be closed");
            }
            match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => self.admit(socket),
                Err(Errno::AGAIN) => return,
                // The other side has gone already, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PERM) => {}
                Err(error) => return self.pause(&error.to_string()),
            }
        }
    }

    /// For want of descriptors or memory, the next attempt would fail at once.
    fn pause(&self, why: &str) {
        log::warn!("nobody is accepted for a moment: {why}");
        // It is not heard any more, except of errors, which a listening socket has none of.
        let _ =
            epoll::modify(&self.events, &self.listener, EventData::new_u64(LISTENER), EventFlags::empty());
        let time = |duration: Duration| Timespec {
            tv_sec: duration.as_secs() as i64,
            tv_nsec: i64::from(duration.subsec_nanos()),
        };
        let timer = Itimerspec { it_interval: time(Duration::ZERO), it_value: time(PAUSE) };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer).is_err() {
            self.listen_again();
        }
    }

    fn listen_again(&self) {
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        let _ = epoll::modify(&self.events, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN);
    }

    /// Takes a connection, or ends it before anything was said.
    fn admit(&mut self, socket: OwnedFd) {
        let socket = Arc::new(socket);
        let Ok(peer) = peer::peer(&*socket) else {
            // Whose it is only the kernel can say, and it always does.
            return self.shared.closing.discard(self.shared.user, Waste::Connection(socket));
        };
        let refused = self.refusal(peer.user);
        let refused =
            refused.or_else(|| self.await_it(peer.user, &socket).err().map(|_| "it cannot be waited for"));
        if let Some(why) = refused {
            log::debug!("a connection of process {} of user {} is refused: {why}", peer.process, peer.user);
            return self.shared.closing.discard(peer.user, Waste::Connection(socket));
        }
        add(&self.shared.counters.connections, 1);
        lock(&self.shared.table).join(self.next, peer.user, peer.process, socket.clone());
        self.clients.insert(self.next, Client::new(self.next, peer, socket));
        self.next += 1;
    }

    /// Has the next client's socket waited for, among the others of its user.
    fn await_it(&mut self, user: u32, socket: &OwnedFd) -> Result<(), Errno> {
        let events = match self.users.entry(user) {
            Entry::Occupied(events) => events.into_mut(),
            Entry::Vacant(place) => {
                let events = epoll::create(CreateFlags::CLOEXEC)?;
                let number = EventData::new_u64(USER | u64::from(user));
                epoll::add(&self.events, &events, number, EventFlags::IN)?;
                place.insert(events)
            }
        };
        let flags = EventFlags::IN | EventFlags::RDHUP;
        epoll::add(&*events, socket, EventData::new_u64(self.next), flags)
    }

    fn refusal(&self, user: u32) -> Option<&'static str> {
        let shared = &self.shared;
        if shared.audience == Audience::OwnUser && user != shared.user && user != 0 {
            return Some("it is another user's");
        }
        if lock(&shared.table).account(user).connections >= shared.policy().quota.connections {
            return Some("the user has as many as one may have");
        }
        if shared.closing.is_clogged(user) {
            return Some("what the user has sent cannot be closed");
        }
        (!shared.has_room()).then_some("there are no more descriptors")
    }
}
