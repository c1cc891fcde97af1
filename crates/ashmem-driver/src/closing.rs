//! Closing what others have sent, where nobody waits for it.
//!
//! The last close of a file can take long, or for ever: a socket lingers until its peer has taken everything, a file in user space
//! waits for who serves it, a large region's memory takes a while to free. And closing a connection closes what lies unread in it.
//!
//! Regions, and memfds in general, are closed by one thread. Anything else is closed by a thread of the user's who sent it, and
//! counted, so that a user who sends what cannot be closed is served no more, and nobody else has to wait.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};

use ashmem::Region;
use ashmem::driver::socket;
use rustix::net::{Shutdown, shutdown, sockopt};

use crate::shared::lock;

/// Descriptors of one user that wait behind one that does not get closed, before the user's connections are refused.
const CLOGGED: usize = 64;

/// As many as may wait behind one that has only just begun, at most: the connections of many processes that end at once, say.
const CROWDED: usize = 64 * CLOGGED;

/// How long closing one takes at most, as a rule.
const PROMPT: Duration = Duration::from_millis(100);

/// More packets than ever wait in a socket, whatever its buffer: empty ones look like the end.
const PACKETS: usize = 4096;

/// These threads need little of it.
const STACK: usize = 128 << 10;

/// What is to be closed.
#[derive(Debug)]
pub(crate) enum Waste {
    /// Something that came with a packet.
    File(OwnedFd),
    /// A connection that has ended, with what is unread in it.
    Connection(Arc<OwnedFd>),
}

#[derive(Debug)]
pub(crate) enum Memory {
    Region(#[allow(dead_code, reason = "held to be dropped")] Region),
    File(#[allow(dead_code, reason = "held to be dropped")] OwnedFd),
}

#[derive(Debug)]
pub(crate) struct Closing {
    regions: Sender<Memory>,
    common: Arc<Common>,
    /// Descriptors of one user that may wait in any case.
    crowded: usize,
}

#[derive(Debug, Default)]
struct Common {
    users: Mutex<HashMap<u32, Queue>>,
    /// Descriptors that are not closed yet.
    pending: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waste>,
    /// Those that wait, and the one at which the thread is.
    count: usize,
    has_thread: bool,
    /// When the thread began with the one at which it is.
    since: Option<Instant>,
}

impl Queue {
    fn is_clogged(&self, crowded: usize) -> bool {
        let is_stuck = self.since.is_some_and(|since| since.elapsed() > PROMPT);
        self.count > if is_stuck { CLOGGED } else { crowded }
    }
}

impl Closing {
    /// Starts the thread for regions, which ends when this is dropped. `descriptors` is how many there are for everything.
    pub(crate) fn start(descriptors: u64) -> std::io::Result<Closing> {
        let (regions, dropped) = channel();
        let common = Arc::new(Common::default());
        let counted = common.clone();
        let drop_all = move |dropped: Receiver<Memory>| {
            for memory in dropped {
                drop(memory);
                counted.pending.fetch_sub(1, Ordering::Relaxed);
            }
        };
        Builder::new().name("closing".into()).stack_size(STACK).spawn(move || drop_all(dropped))?;
        let crowded = usize::try_from(descriptors / 8).unwrap_or(CROWDED).clamp(CLOGGED, CROWDED);
        Ok(Closing { regions, common, crowded })
    }

    /// Drops a region, or another memfd, at leisure.
    pub(crate) fn memory(&self, memory: Memory) {
        self.common.pending.fetch_add(1, Ordering::Relaxed);
        // Without its thread, which there always is, it is dropped here.
        if self.regions.send(memory).is_err() {
            self.common.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Closes what a user has sent.
    pub(crate) fn discard(&self, user: u32, waste: Waste) {
        if let Waste::Connection(connection) = &waste {
            // Nothing comes after this, and the other side learns of it, however long the rest takes.
            let _ = shutdown(connection, Shutdown::Both);
        }
        self.common.pending.fetch_add(1, Ordering::Relaxed);
        let starts = {
            let mut users = lock(&self.common.users);
            let queue = users.entry(user).or_default();
            queue.waiting.push(waste);
            queue.count += 1;
            !std::mem::replace(&mut queue.has_thread, true)
        };
        let common = self.common.clone();
        let thread = Builder::new().name("discarding".into()).stack_size(STACK);
        if starts && thread.spawn(move || common.close_all(user)).is_err() {
            // The next one tries again.
            if let Some(queue) = lock(&self.common.users).get_mut(&user) {
                queue.has_thread = false;
            }
        }
    }

    /// Whether so much of a user's cannot be closed that no more is to be taken.
    pub(crate) fn is_clogged(&self, user: u32) -> bool {
        lock(&self.common.users).get(&user).is_some_and(|queue| queue.is_clogged(self.crowded))
    }

    /// Descriptors that are not closed yet.
    pub(crate) fn pending(&self) -> usize {
        self.common.pending.load(Ordering::Relaxed)
    }
}

impl Common {
    /// What the thread of a user does.
    fn close_all(&self, user: u32) {
        loop {
            let waste = {
                let mut users = lock(&self.users);
                let Some(queue) = users.get_mut(&user) else { return };
                match queue.waiting.pop() {
                    Some(waste) => {
                        queue.since = Some(Instant::now());
                        waste
                    }
                    None => {
                        users.remove(&user);
                        return;
                    }
                }
            };
            close(waste);
            self.pending.fetch_sub(1, Ordering::Relaxed);
            if let Some(queue) = lock(&self.users).get_mut(&user) {
                queue.count -= 1;
                queue.since = None;
            }
        }
    }
}

fn close(waste: Waste) {
    match waste {
        Waste::File(file) => close_file(file),
        Waste::Connection(connection) => {
            // Whoever still has it then closes an empty one.
            for _ in 0..PACKETS {
                match socket::receive(connection.as_fd()) {
                    Ok(Some(packet)) => packet.descriptors.into_iter().for_each(close_file),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }
}

fn close_file(file: OwnedFd) {
    // It is the very socket that the sender has, so this ends the lingering. Fails for what is no socket.
    let _ = sockopt::set_socket_linger(&file, None);
    drop(file);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(closing: &Closing) {
        while closing.pending() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn everything_is_closed_and_counted() {
        let closing = Closing::start(4096).expect("a thread");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        closing.discard(1, Waste::File(writer.into()));
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        settled(&closing);
        let region = Region::create("dropped", 4096).expect("a region");
        closing.memory(Memory::Region(region));
        settled(&closing);
        while !lock(&closing.common.users).is_empty() {
            std::thread::yield_now();
        }
        assert!(!closing.is_clogged(1));
    }

    #[test]
    fn a_queue_is_clogged_by_what_takes_long() {
        let queue = |count, since| Queue { waiting: Vec::new(), count, has_thread: true, since };
        let (now, long_ago) = (Instant::now(), Instant::now().checked_sub(10 * PROMPT));
        assert!(!queue(10, long_ago).is_clogged(CROWDED) && queue(CLOGGED + 1, long_ago).is_clogged(CROWDED));
        assert!(
            !queue(CLOGGED + 1, Some(now + PROMPT)).is_clogged(CROWDED),
            "many processes may end at once"
        );
        assert!(queue(CROWDED + 1, None).is_clogged(CROWDED));
    }

    #[test]
    fn what_is_unread_in_a_connection_is_closed_with_it() {
        let closing = Closing::start(4096).expect("a thread");
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            flags,
            None,
        )
        .expect("sockets");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // Empty ones look like the end of the connection.
        for _ in 0..3 {
            socket::send(&theirs, b"", &[]).expect("sent");
        }
        socket::send(&theirs, b"x", &[writer.as_fd()]).expect("sent");
        drop(writer);
        let kept = Arc::new(ours);
        closing.discard(1, Waste::Connection(kept.clone()));
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        drop(kept);
    }
}
