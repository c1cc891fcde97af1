//! Closing what others have sent, where no listener waits for it.
//!
//! Closing a file in user space waits for who serves it, and may do so for ever; the last close of a socket may linger. So whatever
//! is not known to be harmless is closed by a thread of the listener's whose program it was sent to. While that thread gets nowhere,
//! messages to that listener's programs are not looked at any more: they are received as the kernel does it, and nothing piles up here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::sys::Listener;
use crate::task::proc_file;

/// So many descriptors may wait to be closed: those of a message, as a rule.
const CLOGGED: usize = 256;

/// A thread that had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(1);

/// This needs little of it.
const STACK: usize = 128 << 10;

#[derive(Debug, Default)]
pub(super) struct Discard {
    queues: Arc<Mutex<HashMap<i32, Queue>>>,
}

#[derive(Debug)]
struct Queue {
    sender: Sender<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

impl Discard {
    /// Whether so much cannot be closed that nothing is to be added.
    pub(super) fn is_clogged(&self, listener: &Listener) -> bool {
        let queues = lock(&self.queues);
        queues.get(&number(listener)).is_some_and(|queue| queue.waiting.load(Ordering::Relaxed) > CLOGGED)
    }

    /// Closes what was sent to a program of this listener's.
    pub(super) fn put(&self, listener: &Listener, fd: OwnedFd) {
        if is_harmless(&fd) {
            return;
        }
        let key = number(listener);
        let mut queues = lock(&self.queues);
        let queue = match queues.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match self.start(key) {
                Ok(queue) => entry.insert(queue),
                Err(_) => {
                    // Somebody has to do it.
                    drop(queues);
                    return drop(fd);
                }
            },
        };
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread does not end while this is locked.
        let _ = queue.sender.send(fd);
    }

    fn start(&self, key: i32) -> std::io::Result<Queue> {
        let (sender, files) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (queues, counted) = (self.queues.clone(), waiting.clone());
        let close = move || close_all(&queues, key, &files, &counted);
        thread::Builder::new().name("ashmem-discard".into()).stack_size(STACK).spawn(close)?;
        Ok(Queue { sender, waiting })
    }
}

fn close_all(
    queues: &Mutex<HashMap<i32, Queue>>,
    key: i32,
    files: &Receiver<OwnedFd>,
    waiting: &AtomicUsize,
) {
    let close = |file: OwnedFd| {
        drop(file);
        waiting.fetch_sub(1, Ordering::Relaxed);
    };
    loop {
        match files.recv_timeout(IDLE) {
            Ok(file) => close(file),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let mut queues = lock(queues);
                match files.try_recv() {
                    Ok(file) => {
                        drop(queues);
                        close(file);
                    }
                    Err(_) => {
                        queues.remove(&key);
                        return;
                    }
                }
            }
        }
    }
}

/// Pipes, and what has no name in any file system: nobody is asked when they are closed. (A name starts with a slash.)
fn is_harmless(fd: &OwnedFd) -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let link = rustix::fs::readlink(proc_file(own, &format!("fd/{}", fd.as_raw_fd())), Vec::new());
    link.is_ok_and(|link| {
        [&b"pipe:["[..], b"anon_inode:"].iter().any(|kind| link.as_bytes().starts_with(kind))
    })
}

fn number(listener: &Listener) -> i32 {
    listener.as_fd().as_raw_fd()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
