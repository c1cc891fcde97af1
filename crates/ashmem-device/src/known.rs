//! Descriptors that were areas when they were looked at last, so that the next look is short.
//!
//! `/proc` takes its time. For a descriptor that was one of the device's before, the thread is asked for a duplicate instead: that
//! may be done to no other, for closing the duplicate of a file in user space can wait for its server.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use crate::sys::{Answer, Notification};
use crate::task::FileId;

/// So much is remembered.
const THREADS_MAX: usize = 256;
const DESCRIPTORS_MAX: usize = 4096;

/// What one listener remembers.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    threads: HashMap<i32, OwnedFd>,
    descriptors: HashSet<(i32, i32)>,
    /// The number that a thread was given last.
    given: HashMap<i32, u32>,
    /// Of calls that were interrupted after they had been carried out, by thread.
    answers: HashMap<i32, (i32, [u64; 6], Answer)>,
}

impl Known {
    /// The file of a thread's descriptor that was an area's before. `None` means: look again.
    pub(crate) fn file(&self, thread: i32, fd: i32) -> Option<FileId> {
        let mut inner = self.inner.borrow_mut();
        if !inner.descriptors.contains(&(thread, fd)) {
            return None;
        }
        // A thread that has ended answers no more, whoever has its number by now.
        let pidfd = inner.threads.get(&thread)?;
        match rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty()) {
            Ok(duplicate) => FileId::of(&duplicate).ok(),
            Err(_) => {
                inner.forget(thread);
                None
            }
        }
    }

    /// A thread's descriptor is an area's.
    pub(crate) fn insert(&self, thread: i32, fd: i32) {
        let mut inner = self.inner.borrow_mut();
        if inner.thread(thread).is_some() {
            inner.descriptors.insert((thread, fd));
        }
    }

    /// The very descriptor that a thread has. Only for files that may be closed anywhere.
    pub(crate) fn duplicate(&self, thread: i32, fd: i32) -> Option<OwnedFd> {
        let mut inner = self.inner.borrow_mut();
        // The second time if the first was another thread of that number.
        (0..2).find_map(|_| {
            let pidfd = inner.thread(thread)?;
            let duplicate = rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty());
            duplicate.map_err(|_| inner.forget(thread)).ok()
        })
    }

    /// The number of the descriptor that a thread was given last.
    pub(crate) fn last_given(&self, thread: i32) -> Option<u32> {
        self.inner.borrow().given.get(&thread).copied()
    }

    /// A thread was given a descriptor.
    pub(crate) fn gave(&self, thread: i32, number: u32) {
        let mut inner = self.inner.borrow_mut();
        if inner.given.len() >= THREADS_MAX {
            inner.given.clear();
        }
        inner.given.insert(thread, number);
    }

    /// Keeps the answer of a call that was interrupted meanwhile. Before Linux 5.19, and in containers whose profile does not say otherwise,
    /// signals interrupt calls that are being looked at; the kernel starts them again, as a rule.
    pub(crate) fn keep_answer(&self, call: &Notification, answer: Answer) {
        let mut inner = self.inner.borrow_mut();
        if inner.answers.len() >= THREADS_MAX {
            inner.answers.clear();
        }
        inner.answers.insert(call.thread, (call.number, call.arguments, answer));
    }

    /// The answer that was kept for this very call. Any other call of the thread's means that it has given up.
    pub(crate) fn kept_answer(&self, call: &Notification) -> Option<Answer> {
        let mut inner = self.inner.borrow_mut();
        if inner.answers.is_empty() {
            return None;
        }
        let (number, arguments, answer) = inner.answers.remove(&call.thread)?;
        (number == call.number && arguments == call.arguments).then_some(answer)
    }

    /// It is not any more.
    pub(crate) fn remove(&self, thread: i32, fd: i32) {
        self.inner.borrow_mut().descriptors.remove(&(thread, fd));
    }
}

impl Inner {
    fn thread(&mut self, thread: i32) -> Option<&OwnedFd> {
        let is_new = !self.threads.contains_key(&thread);
        if self.descriptors.len() >= DESCRIPTORS_MAX || is_new && self.threads.len() >= THREADS_MAX {
            (self.threads, self.descriptors) = Default::default();
        }
        match self.threads.entry(thread) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => Some(entry.insert(open(thread)?)),
        }
    }

    fn forget(&mut self, thread: i32) {
        self.threads.remove(&thread);
        self.descriptors.retain(|&(other, _)| other != thread);
    }
}

/// A descriptor of the thread itself (Linux 6.9), or of its process where it is the first one.
fn open(thread: i32) -> Option<OwnedFd> {
    // PIDFD_THREAD
    let single = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    let pid = Pid::from_raw(thread)?;
    rustix::process::pidfd_open(pid, single)
        .or_else(|_| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
        .ok()
}
