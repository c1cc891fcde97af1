//! What the threads of an app that log have in common.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ashmem::driver::socket;
use rustix::event::{EventfdFlags, eventfd};

use super::WhenFull;
use crate::clock::Ticks;
use crate::shared::Shared;
use crate::socket::BELL;
use crate::{Clock, Error, Result};

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Shared,
    pub(super) when_full: WhenFull,
    pub(super) clock: Clock,
    pub(super) ticks: Ticks,
    /// Wakes the thread that keeps the connection.
    keeper: OwnedFd,
    /// The connection, while there is one.
    line: Mutex<Option<Arc<OwnedFd>>>,
    /// The logger was dropped: seats of threads that still run are of no use any more.
    is_closed: AtomicBool,
}

impl Inner {
    pub(super) fn new(shared: Shared, when_full: WhenFull, clock: Clock) -> Result<Inner> {
        let keeper = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Inner {
            shared,
            when_full,
            clock,
            ticks: Ticks::default(),
            keeper: keeper.map_err(Error::system("make an event"))?,
            line: Mutex::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Readable when the thread that keeps the connection is wanted.
    pub(super) fn keeper(&self) -> &OwnedFd {
        &self.keeper
    }

    /// Has that thread look whether the logger is closed, and tick otherwise.
    pub(super) fn wake_keeper(&self) {
        // Where that fails, it has been woken more often than it can count.
        let _ = rustix::io::write(&self.keeper, &1_u64.to_ne_bytes());
    }

    pub(super) fn set_line(&self, line: Option<Arc<OwnedFd>>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    fn line(&self) -> Option<Arc<OwnedFd>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.line().is_some()
    }

    /// Wakes the collector, if there is one.
    pub(super) fn ring(&self) {
        if let Some(line) = self.line() {
            // Where the socket is full, it has been told already.
            let _ = socket::send(&*line, BELL, &[]);
        }
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.wake_keeper();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Counts a record of a thread that has no lane.
    pub(super) fn lose_homeless(&self) {
        if let Ok(homeless) = self.shared.homeless() {
            homeless.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn lanes(&self) -> impl Iterator<Item = crate::lane::Lane<'_>> {
        (0..self.shared.lanes()).filter_map(|index| self.shared.lane(index).ok())
    }

    pub(super) fn lost(&self) -> u64 {
        let homeless = self.shared.homeless().map_or(0, |homeless| homeless.load(Ordering::Acquire));
        self.lanes().fold(homeless, |lost, lane| lost.wrapping_add(lane.lost()))
    }

    /// Words that have been written in all lanes.
    pub(super) fn written(&self) -> u64 {
        self.lanes().fold(0, |written: u64, lane| written.wrapping_add(lane.written()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes().all(|lane| lane.is_empty())
    }
}
