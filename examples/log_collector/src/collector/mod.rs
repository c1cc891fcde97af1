//! The collector: reads what apps have published, and writes it into the log.

mod acceptor;
mod app;
mod options;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::acceptor::Acceptor;
use self::app::{App, note};
pub use self::options::CollectorOptions;
use crate::files::{Batch, ENTRIES_MAX, RAW_TARGET, Store};
use crate::shared::LANES_MAX;
use crate::{Error, Level, Result};

/// Apps at a time; further ones come again until there is room.
const APPS_MAX: usize = 256;
const _: () = assert!(APPS_MAX * (LANES_MAX + 1) <= ENTRIES_MAX);
/// The shortest time between two rounds: whoever rings all the time gets no more than that.
const BREATH: Duration = Duration::from_micros(500);

/// What was done in one step.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Step {
    /// Records that were written.
    pub records: u64,
    /// What went wrong: an app was given up for what is in its region, or the log cannot be written for the time being. Neither keeps the
    /// collector from going on.
    pub errors: Vec<Error>,
}

/// Collects the records of any number of apps into the log of a directory.
///
/// Records are read where the apps have put them, merged by their times, compressed, and appended in one write; only then does an app get the room
/// back. So whatever is not in a file yet is still in shared memory when this process is killed, and the next collector finds it there. What
/// was in a file and had not been acknowledged the next one finds in the file.
///
/// When the log cannot be written, the records stay where they are and it is tried again. When a lane is full, its app does what it was
/// told to ([`WhenFull`](crate::WhenFull)), and the log says later how many records were lost.
///
/// An app that is gone is read to the end and let go. One whose region says what cannot be, of whatever it is corrupt, is given up; the log has a
/// record of that, and of everything before it.
///
/// See [`Logger`](crate::Logger) for an example. Stands for Android's `logd`.
pub struct Collector {
    store: Store,
    acceptor: Acceptor,
    apps: Vec<App>,
    batch: Batch,
    interval: Duration,
    /// There was more than one round takes.
    has_more: bool,
    /// Why the log could not be written the last time.
    trouble: Option<String>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.store.directory();
        f.debug_struct("Collector").field("directory", &directory).finish_non_exhaustive()
    }
}

impl Collector {
    /// Options for a collector.
    #[must_use]
    pub fn options() -> CollectorOptions {
        CollectorOptions::default()
    }

    fn start(store: Store, acceptor: Acceptor, interval: Duration) -> Collector {
        Collector {
            store,
            acceptor,
            apps: Vec::new(),
            batch: Batch::default(),
            interval,
            has_more: false,
            trouble: None,
        }
    }

    /// Apps whose regions it has.
    #[must_use]
    pub fn apps(&self) -> usize {
        self.apps.len()
    }

    /// Waits for the interval, or until an app has a lane half full, arrives or leaves; then writes all records that are there.
    ///
    /// # Errors
    /// [`Error::System`] when it cannot even wait. Everything else is in [`Step::errors`].
    pub fn step(&mut self) -> Result<Step> {
        let mut step = Step::default();
        self.wait()?;
        self.welcome(&mut step);
        for app in &mut self.apps {
            app.hear();
        }
        self.collect(&mut step);
        self.apps.retain(|app| !app.is_over());
        Ok(step)
    }

    fn wait(&self) -> Result<()> {
        if self.has_more && self.trouble.is_none() {
            return Ok(());
        }
        thread::sleep(BREATH);
        let mut polled = vec![PollFd::from_borrowed_fd(self.acceptor.bell().as_fd(), PollFlags::IN)];
        polled.extend(self.apps.iter().filter_map(App::connection).map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(self.interval.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: self.interval.subsec_nanos().into(),
        };
        // Without apps there is nothing to look after, unless one arrives.
        let timeout = (!self.apps.is_empty()).then_some(&timeout);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::system("wait for apps")(error)),
        }
    }

    fn welcome(&mut self, step: &mut Step) {
        while let Some(arrival) = self.acceptor.next() {
            if self.apps.len() >= APPS_MAX {
                continue;
            }
            match arrival.and_then(|arrival| App::new(arrival, &self.store)) {
                // Its earlier connection is not over yet: it comes again, and nothing is read twice.
                Ok(app) if self.apps.iter().any(|other| other.region() == app.region()) => {}
                Ok(app) => self.apps.push(app),
                Err(error) => step.errors.push(error),
            }
        }
    }

    /// One round: what all apps had published when it began, merged by time, into as many frames as it takes.
    fn collect(&mut self, step: &mut Step) {
        self.batch.clear();
        let mut heap = BinaryHeap::new();
        for (number, app) in self.apps.iter_mut().enumerate() {
            match app.begin() {
                Ok(found) => heap.extend(found.into_iter().map(|(time, lane)| Reverse((time, number, lane)))),
                Err(error) => give_up(app, error, &mut self.batch, step),
            }
        }
        while let Some(mut earliest) = heap.peek_mut() {
            let Reverse((_, number, lane)) = *earliest;
            let next = match self.apps.get_mut(number) {
                Some(app) => app.take(lane, &mut self.batch).unwrap_or_else(|error| {
                    give_up(app, error, &mut self.batch, step);
                    None
                }),
                None => None,
            };
            match next {
                Some(time) => earliest.0.0 = time,
                None => drop(PeekMut::pop(earliest)),
            }
            if self.batch.len() >= RAW_TARGET && !self.write(step) {
                return;
            }
        }
        for number in 0..self.apps.len() {
            if let Some(app) = self.apps.get_mut(number) {
                app.tell_losses(&mut self.batch);
            }
            if self.batch.len() >= RAW_TARGET && !self.write(step) {
                return;
            }
        }
        self.write(step);
        self.has_more = self.apps.iter().any(App::has_more);
    }

    /// Writes the batch, and empties it. Says whether that went well.
    fn write(&mut self, step: &mut Step) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let progress = self.apps.iter().flat_map(App::progress);
        self.batch.progress.extend(progress);
        let written = match self.store.append(&self.batch) {
            Ok(()) => {
                step.records += u64::from(self.batch.count());
                self.trouble = None;
                for app in &mut self.apps {
                    if let Err(error) = app.settle() {
                        app.fail();
                        step.errors.push(error);
                    }
                }
                true
            }
            Err(error) => {
                self.apps.iter_mut().for_each(App::rewind);
                let text = error.to_string();
                if self.trouble.as_ref() != Some(&text) {
                    self.trouble = Some(text);
                    step.errors.push(error);
                }
                false
            }
        };
        self.batch.clear();
        written
    }
}

/// Gives up an app for what is in its region, and notes that in the log.
fn give_up(app: &mut App, error: Error, batch: &mut Batch, step: &mut Step) {
    app.fail();
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    note(batch, Level::Error, std::process::id(), thread, &error.to_string());
    step.errors.push(error);
}
