//! This process's side of the connection to the daemon: what was said, what is still to be said, and the search for a daemon.
//!
//! Nothing here waits. What the socket has no room for is kept, and sent when there is room. Regions are numbers here; which of them the
//! daemon has is the reclaimer's business.

use std::collections::BTreeSet;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::connection::{Connection, Received, Sent};
use super::protocol::{Reply, Request, VERSION, WORDS_MAX};
use super::wakes::Wakes;

/// How long the daemon may take to answer when memory is short.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// How long it may take to say its first word.
const WELCOME_PATIENCE: Duration = Duration::from_secs(5);

/// The shortest pause between two tries to connect, and the longest, which also comes after a daemon that is of no use. A socket that
/// appears ends the pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// A connection that ended sooner than this makes the next pause longer.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// After the end of a connection, so many tries do not wait for the next look.
const TRIES: u32 = 8;

/// How long to wait where nobody says when it goes on.
const SEND_AGAIN: Duration = Duration::from_millis(10);

/// So many releases are kept for a daemon that does not read. Then it is taken for gone.
const RELEASES_MAX: usize = 1 << 16;

/// The connection to a daemon, or the search for one.
#[derive(Debug)]
pub(crate) struct Client {
    candidates: Vec<PathBuf>,
    wakes: Wakes,
    link: Option<Link>,
    next_try: Option<Instant>,
    pause: Duration,
    /// Tries that are made in any case, as a daemon may be starting again.
    tries: u32,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    since: Instant,
    is_greeted: bool,
    /// Whether the daemon sees all limits; None before it has said anything.
    welcome: Option<bool>,
    /// Whether events are wanted, and whether that was said last.
    listen: (bool, bool),
    releases: Vec<u64>,
    /// Regions that wait to be registered, oldest first. Each once: a daemon may read nothing for long.
    registers: BTreeSet<u64>,
    ping: Option<Ping>,
    /// The daemon has to read before anything can be sent.
    is_full: bool,
    send_again: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    number: u64,
    is_sent: bool,
    until: Instant,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The daemon has ended.
    Gone,
    /// The daemon is of no use.
    Useless,
}

/// What the daemon has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It serves from now on what is registered.
    Welcome,
    /// It does not serve a region.
    Refused(u64),
    /// It took pages away.
    Purged { id: u64, range: Range<u64>, freed: u64 },
    /// It is there.
    Pong,
    /// Nothing more.
    Nothing,
    /// The connection has ended: nothing is served any more.
    End,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    Yes,
    /// Not now: the daemon does not read, or the system is short of something.
    NotNow,
    /// One of the descriptors is none.
    BadDescriptor,
    /// The connection has ended: nothing is served any more.
    End,
}

impl Client {
    /// A client without a connection, for a thread that is called by an eventfd.
    pub(crate) fn open(candidates: Vec<PathBuf>, called: BorrowedFd<'_>) -> Result<Client, Errno> {
        let wakes = Wakes::open(called)?;
        Ok(Client { candidates, wakes, link: None, next_try: None, pause: PAUSES.0, tries: 0 })
    }

    /// What the thread is to poll.
    pub(crate) fn epoll(&self) -> Arc<OwnedFd> {
        self.wakes.epoll()
    }

    /// Whether that works: somebody may have closed it.
    pub(crate) fn is_sound(&self) -> bool {
        self.wakes.is_sound()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether a daemon serves what is registered with it.
    pub(crate) fn is_welcome(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.welcome.is_some())
    }

    /// Whether that daemon sees all limits on this process's memory.
    pub(crate) fn sees_limits(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.welcome == Some(true))
    }

    /// The socket of the daemon that serves.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.link.as_ref().filter(|link| link.welcome.is_some()).map(|link| link.connection.path())
    }

    /// Looks for a daemon at once, in the thread of the program that calls this. If there is none, whoever polls is woken when one
    /// appears.
    pub(crate) fn begin(&mut self, listen: bool) {
        self.connect(listen);
        if !self.is_connected() {
            self.wakes.watch(&self.candidates);
        }
    }

    /// Looks for a daemon, if it is time to.
    pub(crate) fn search(&mut self, listen: bool) {
        if self.is_connected() {
            return;
        }
        let mut is_due = self.next_try.is_none_or(|next| Instant::now() >= next);
        if !self.wakes.is_watching() {
            // First, so that none that appears now is missed.
            self.wakes.watch(&self.candidates);
        } else if self.wakes.has_appeared(&self.candidates) {
            (is_due, self.pause) = (true, PAUSES.0);
        }
        if is_due {
            self.connect(listen);
        }
    }

    fn connect(&mut self, listen: bool) {
        self.next_try = Some(Instant::now() + self.pause);
        self.tries = self.tries.saturating_sub(1);
        for path in &self.candidates {
            let Ok(connection) = Connection::open(path) else { continue };
            let Some(socket) = connection.socket() else { continue };
            if self.wakes.add(socket).is_err() {
                continue;
            }
            self.wakes.stop_watching();
            self.link = Some(Link::new(connection, listen));
            self.flush();
            return;
        }
    }

    /// Ends the connection. Returns whether there was one: then nothing is served any more.
    pub(crate) fn hang_up(&mut self) -> bool {
        let Some(link) = self.link.take() else { return false };
        if let Some(socket) = link.connection.socket() {
            self.wakes.remove(socket);
        }
        link.connection.shut_down();
        true
    }

    fn end(&mut self, why: End) {
        let Some(since) = self.link.as_ref().map(|link| link.since) else { return };
        self.hang_up();
        let now = Instant::now();
        let is_short = now.saturating_duration_since(since) < SHORT_LIFE;
        self.next_try = Some(match (why, is_short) {
            (End::Useless, _) => now + PAUSES.1,
            (End::Gone, true) => now + self.pause,
            (End::Gone, false) => now,
        });
        self.pause = if is_short { (2 * self.pause).min(PAUSES.1) } else { PAUSES.0 };
        self.tries = TRIES;
    }

    /// The next thing that the daemon has said.
    pub(crate) fn hear(&mut self) -> Heard {
        let Some(link) = &mut self.link else { return Heard::Nothing };
        let reply = match link.connection.receive() {
            Received::Nothing => return Heard::Nothing,
            Received::Reply(reply) => reply,
            Received::Garbage => return self.over(End::Useless),
            Received::Lost => return self.over(End::Gone),
        };
        match (reply, link.welcome) {
            (Reply::Welcome { version: VERSION, sees_limits }, None) => {
                link.welcome = Some(sees_limits);
                Heard::Welcome
            }
            (Reply::Refused { id, .. }, Some(_)) => Heard::Refused(id),
            (Reply::Purged { id, range, freed }, Some(_)) => Heard::Purged { id, range, freed },
            (Reply::Pong(number), Some(_)) => {
                link.ping.take_if(|ping| ping.number == number);
                Heard::Pong
            }
            // Another version, or nothing that an answer could be.
            _ => self.over(End::Useless),
        }
    }

    fn over(&mut self, why: End) -> Heard {
        self.end(why);
        Heard::End
    }

    /// These wait to be registered.
    pub(crate) fn enqueue(&mut self, ids: impl Iterator<Item = u64>) {
        if let Some(link) = &mut self.link {
            link.registers.extend(ids);
        }
    }

    /// The next of those that wait, if something can be sent.
    pub(crate) fn dequeue(&mut self) -> Option<u64> {
        self.link.as_mut().filter(|link| link.may_register())?.registers.pop_first()
    }

    /// Whether somebody waits, and something can be sent.
    pub(crate) fn has_queue(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.may_register() && !link.registers.is_empty())
    }

    /// Whether a region can be registered at once, before nobody who waits.
    pub(crate) fn is_clear(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.may_register() && link.registers.is_empty())
    }

    /// Registers regions. Those that it is not the time for are to be enqueued again.
    pub(crate) fn register(&mut self, ids: &[u64], descriptors: &[BorrowedFd<'_>]) -> Registered {
        match self.send(&Request::Register(ids.to_vec()), descriptors) {
            Sent::Done => Registered::Yes,
            Sent::Full | Sent::Later => Registered::NotNow,
            Sent::BadDescriptor => Registered::BadDescriptor,
            Sent::Lost => Registered::End,
        }
    }

    /// One that is not to be registered any more.
    pub(crate) fn forget(&mut self, id: u64) {
        if let Some(link) = &mut self.link {
            link.registers.remove(&id);
        }
    }

    /// The daemon is to let go of a region that was registered; now, or as soon as it reads.
    pub(crate) fn release(&mut self, id: u64) {
        let Some(link) = &mut self.link else { return };
        link.releases.push(id);
        if link.releases.len() > RELEASES_MAX {
            // A release that is forgotten would keep the memory.
            return self.end(End::Useless);
        }
        self.flush();
    }

    /// Whether events are wanted.
    pub(crate) fn listen(&mut self, wanted: bool) {
        if let Some(link) = &mut self.link {
            link.listen.0 = wanted;
            self.flush();
        }
    }

    /// Asks whether somebody is there, unless that was asked already.
    pub(crate) fn ping(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Some(link) = self.link.as_mut().filter(|link| link.ping.is_none()) else { return };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        link.ping = Some(Ping { number, is_sent: false, until: Instant::now() + PING_PATIENCE });
        self.flush();
    }

    /// Sends what waits, except for registrations, and ends a connection whose daemon took too long.
    pub(crate) fn proceed(&mut self) {
        let Some(link) = &mut self.link else { return };
        let now = Instant::now();
        let is_silent = link.welcome.is_none() && now >= link.since + WELCOME_PATIENCE;
        if is_silent || link.ping.is_some_and(|ping| now >= ping.until) {
            return self.end(End::Useless);
        }
        link.send_again.take_if(|again| now >= *again);
        if link.is_full {
            // That there is room now is found out by sending.
            link.is_full = false;
            let listens = link.connection.socket().map(|socket| self.wakes.when_writable(socket, false));
            if listens.is_none_or(|changed| changed.is_err()) {
                return self.end(End::Gone);
            }
        }
        self.flush();
    }

    /// When to proceed, or to search on, at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let Some(link) = &self.link else { return self.next_try.filter(|_| self.tries > 0) };
        link.ping.map(|ping| ping.until).into_iter().chain(link.send_again).min()
    }

    /// Sends what is small.
    fn flush(&mut self) {
        while let Some(link) = self.link.as_mut().filter(|link| link.can_send()) {
            let Some(request) = link.next() else { return };
            if self.send(&request, &[]) != Sent::Done {
                return;
            }
            if let Some(link) = &mut self.link {
                link.done(&request);
            }
        }
    }

    fn send(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Sent {
        let Some(link) = &mut self.link else { return Sent::Lost };
        let mut sent = link.connection.send(request, descriptors);
        match sent {
            Sent::Done | Sent::BadDescriptor | Sent::Lost => {}
            Sent::Later => link.send_again = Some(Instant::now() + SEND_AGAIN),
            Sent::Full => {
                link.is_full = true;
                let listens = link.connection.socket().map(|socket| self.wakes.when_writable(socket, true));
                if listens.is_none_or(|changed| changed.is_err()) {
                    sent = Sent::Lost;
                }
            }
        }
        if sent == Sent::Lost {
            self.end(End::Gone);
        }
        sent
    }

    /// In a forked child: closes all, and says nothing on the parent's connection. `is_in_use` when the thread that polls goes on here.
    pub(crate) fn after_fork(self, is_in_use: bool) {
        self.wakes.after_fork(is_in_use);
    }

    /// What is polled is not sound any more.
    pub(crate) fn abandon(mut self) {
        self.hang_up();
        self.wakes.abandon();
    }
}

impl Link {
    fn new(connection: Connection, listen: bool) -> Link {
        Link {
            connection,
            since: Instant::now(),
            is_greeted: false,
            welcome: None,
            listen: (listen, false),
            releases: Vec::new(),
            registers: BTreeSet::new(),
            ping: None,
            is_full: false,
            send_again: None,
        }
    }

    fn can_send(&self) -> bool {
        !self.is_full && self.send_again.is_none()
    }

    fn may_register(&self) -> bool {
        self.can_send() && self.welcome.is_some()
    }

    /// What is to be said next, apart from registrations.
    fn next(&self) -> Option<Request> {
        if !self.is_greeted {
            return Some(Request::Hello { version: VERSION });
        }
        if self.listen.0 != self.listen.1 {
            return Some(Request::Listen(self.listen.0));
        }
        if !self.releases.is_empty() {
            let batch = &self.releases[..self.releases.len().min(WORDS_MAX)];
            return Some(Request::Release(batch.to_vec()));
        }
        self.ping.filter(|ping| !ping.is_sent).map(|ping| Request::Ping(ping.number))
    }

    /// That was said.
    fn done(&mut self, request: &Request) {
        match request {
            Request::Hello { .. } => self.is_greeted = true,
            Request::Listen(wanted) => self.listen.1 = *wanted,
            Request::Release(batch) => drop(self.releases.drain(..batch.len())),
            Request::Ping(_) => self.ping.iter_mut().for_each(|ping| ping.is_sent = true),
            Request::Register(_) | Request::Ask(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    use super::*;
    use crate::driver::socket;

    #[test]
    fn who_waits_waits_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("driver");
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&listener, 1).expect("listens");
        let called = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let mut client = Client::open(vec![path], called.as_fd()).expect("opened");
        client.begin(false);
        let peer = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("it connects");
        let welcome = Reply::Welcome { version: VERSION, sees_limits: true };
        socket::send(&peer, &welcome.encode(), &[]).expect("sent");
        assert_eq!(client.hear(), Heard::Welcome);
        for _ in 0..3 {
            client.enqueue([7, 8, 9].into_iter());
        }
        client.forget(8);
        assert!(client.has_queue() && !client.is_clear());
        assert_eq!([(); 3].map(|()| client.dequeue()), [Some(7), Some(9), None]);
    }
}
