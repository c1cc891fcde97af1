//! Serving all runtimes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::connection::{Connection, Progress};
use super::socket::FLAGS;
use super::{ContainerState, Error, Listener, Refusal};

/// How long a connection may take to say everything. Runtimes send it at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once. When there is another one, the oldest has to go.
const CONNECTIONS: usize = 256;

/// Connections that are accepted before the others have their turn.
const AT_ONCE: usize = 16;

/// How long nobody is accepted after that was not possible, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Text of a state in messages has at most so many characters.
const SHOWN: usize = 200;

/// An agent at work. Dropping it ends it, and removes its socket; what was attached stays so.
#[derive(Debug)]
pub struct Agent {
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts it: each descriptor of notifications that arrives goes to `attach`, which must not wait long. The descriptor is one for
    /// certain, the state is what its sender says.
    ///
    /// # Errors
    /// [`Error::System`] when there are no descriptors or threads.
    pub fn start<F>(listener: Listener, attach: F) -> Result<Agent, Error>
    where
        F: Fn(OwnedFd, &ContainerState) -> Result<(), Errno> + Send + 'static,
    {
        Agent::start_with(listener, PATIENCE, attach)
    }

    fn start_with<F>(listener: Listener, patience: Duration, attach: F) -> Result<Agent, Error>
    where
        F: Fn(OwnedFd, &ContainerState) -> Result<(), Errno> + Send + 'static,
    {
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(Error::system("make an event"))?);
        let (waste, dropped) = channel();
        let close_all = move || dropped.into_iter().for_each(drop::<OwnedFd>);
        let spawned = thread::Builder::new().name("closing".into()).spawn(close_all);
        spawned.map_err(failed).map_err(Error::system("start a thread"))?;
        let work =
            Work { listener, patience, attach, wake: wake.clone(), waste, connections: VecDeque::new() };
        let spawned = thread::Builder::new().name("agent".into()).spawn(move || work.run());
        let thread = spawned.map_err(failed).map_err(Error::system("start a thread"))?;
        Ok(Agent { wake, thread: Some(thread) })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // There is room for one.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work<F> {
    listener: Listener,
    patience: Duration,
    attach: F,
    wake: Arc<OwnedFd>,
    /// To the thread that closes what may take long.
    waste: Sender<OwnedFd>,
    /// The oldest first.
    connections: VecDeque<Connection>,
}

impl<F: Fn(OwnedFd, &ContainerState) -> Result<(), Errno>> Work<F> {
    fn run(mut self) {
        let mut paused_until = None;
        loop {
            let now = Instant::now();
            paused_until = paused_until.filter(|until| *until > now);
            let wake_at =
                self.connections.front().map(|first| first.deadline).into_iter().chain(paused_until).min();
            let Some(events) = self.wait(wake_at, paused_until.is_some()) else { return };
            // Who has said everything need not go because others have come.
            self.proceed_with(&events.readable);
            self.end_late_ones(Instant::now());
            if events.is_knocking && !self.accept() {
                paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Waits until something has happened; `None` when it is time to end.
    fn wait(&self, until: Option<Instant>, is_paused: bool) -> Option<Events> {
        let mut polled = vec![PollFd::new(&self.wake, PollFlags::IN)];
        polled.extend(self.connections.iter().map(|connection| PollFd::new(connection, PollFlags::IN)));
        if !is_paused {
            polled.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        // A little later than that, for it is to be over then.
        let rest =
            until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        if let Err(errno) = poll(&mut polled, rest.as_ref()) {
            if errno != Errno::INTR {
                log::error!("wait for runtimes: {errno}");
                thread::sleep(PAUSE);
            }
            return Some(Events { readable: vec![false; self.connections.len()], is_knocking: false });
        }
        let mut happened = polled.iter().map(|fd| !fd.revents().is_empty());
        if happened.next() == Some(true) {
            return None;
        }
        let readable = happened.by_ref().take(self.connections.len()).collect();
        Some(Events { readable, is_knocking: happened.next() == Some(true) })
    }

    fn proceed_with(&mut self, readable: &[bool]) {
        let all = std::mem::take(&mut self.connections);
        for (index, connection) in all.into_iter().enumerate() {
            if readable.get(index).copied().unwrap_or(true) {
                self.proceed(connection);
            } else {
                self.connections.push_back(connection);
            }
        }
    }

    /// Takes what has arrived, and does what is to be done when that is everything.
    fn proceed(&mut self, mut connection: Connection) {
        match connection.proceed() {
            Ok(Progress::Waiting) => self.connections.push_back(connection),
            Ok(Progress::Nothing) => self.discard(connection),
            Ok(Progress::Said(state)) => {
                let listener = state.take_listener(connection.descriptors());
                let attached = listener.and_then(|fd| (self.attach)(fd, &state).map_err(Refusal::Attach));
                match attached {
                    Ok(()) => {
                        log::info!("attached {}", described(&state));
                        self.discard(connection);
                    }
                    Err(refusal) => self.refuse(connection, &refusal, Some(&state)),
                }
            }
            Err(refusal) => self.refuse(connection, &refusal, None),
        }
    }

    fn end_late_ones(&mut self, now: Instant) {
        while self.connections.front().is_some_and(|first| first.deadline <= now) {
            if let Some(late) = self.connections.pop_front() {
                self.refuse(late, &Refusal::Late, None);
            }
        }
    }

    /// Lets runtimes in; whether that was possible.
    fn accept(&mut self) -> bool {
        for _ in 0..AT_ONCE {
            match rustix::net::accept_with(&self.listener, FLAGS) {
                Ok(socket) => self.welcome(socket),
                Err(Errno::AGAIN) => return true,
                // It has gone again.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(errno) => {
                    log::warn!("accept a runtime: {errno}");
                    // The one that has had most time gives its descriptors back.
                    if let Some(oldest) = self.connections.pop_front() {
                        self.refuse(oldest, &Refusal::Crowded, None);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn welcome(&mut self, socket: OwnedFd) {
        match Connection::new(socket, Instant::now() + self.patience) {
            Ok(connection) => {
                if self.connections.len() >= CONNECTIONS {
                    if let Some(oldest) = self.connections.pop_front() {
                        self.refuse(oldest, &Refusal::Crowded, None);
                    }
                }
                self.proceed(connection);
            }
            Err((socket, refusal)) => {
                log::warn!("{refusal}");
                self.close(socket);
            }
        }
    }

    fn refuse(&self, connection: Connection, refusal: &Refusal, state: Option<&ContainerState>) {
        let whose = state.map(|state| format!(" for {}", described(state))).unwrap_or_default();
        log::warn!("process {}{whose}: {refusal}", connection.process);
        self.discard(connection);
    }

    fn discard(&self, connection: Connection) {
        // The other side learns of it at once.
        let _ = rustix::net::shutdown(connection.as_fd(), rustix::net::Shutdown::Both);
        connection.into_waste().into_iter().for_each(|fd| self.close(fd));
    }

    fn close(&self, fd: OwnedFd) {
        // Without its thread, which there always is, it is closed here.
        let _ = self.waste.send(fd);
    }
}

struct Events {
    /// Of each connection.
    readable: Vec<bool>,
    /// Somebody wants to be let in.
    is_knocking: bool,
}

/// A container in one line.
fn described(state: &ContainerState) -> String {
    let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let mut line = format!("container {:?}, process {}", shown(&state.state.id), state.pid);
    for (what, text) in [("bundle", &state.state.bundle), ("metadata", &state.metadata)] {
        if !text.is_empty() {
            line = format!("{line}, {what} {:?}", shown(text));
        }
    }
    line
}

#[cfg(test)]
mod tests;
