//! The thread that hands the region to a collector, and to the next one when that is gone. It also ticks: see [`Clock`](crate::Clock).

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::inner::Inner;
use crate::clock::TICK;
use crate::socket::{self, Heard};
use crate::{Error, Result};

/// How long to wait before another try, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Ends the thread when it is dropped, and the connection with it.
#[derive(Debug)]
pub(super) struct Connection {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Connection {
    pub(super) fn start(directory: PathBuf, inner: Arc<Inner>) -> Result<Connection> {
        let keeper = Keeper { directory, inner: Arc::clone(&inner), ticking: None };
        // Who has just connected finds the collector that is there.
        let first = keeper.introduce();
        let thread = thread::Builder::new().name("logger".to_owned()).spawn(move || keeper.run(first));
        Ok(Connection { inner, thread: Some(thread.map_err(Error::system("start a thread"))?) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Keeper {
    directory: PathBuf,
    inner: Arc<Inner>,
    /// While it ticks.
    ticking: Option<Ticking>,
}

/// What was written at the last tick, and for how many ticks that has been all.
#[derive(Debug)]
struct Ticking {
    written: u64,
    quiet: u32,
}

/// After so many ticks without a record, it is no use to go on.
const QUIET: u32 = 16;

impl Keeper {
    fn introduce(&self) -> Option<Arc<OwnedFd>> {
        let line = Arc::new(socket::introduce(&self.directory, self.inner.shared.region()).ok()?);
        self.inner.set_line(Some(Arc::clone(&line)));
        Some(line)
    }

    fn run(mut self, line: Option<Arc<OwnedFd>>) {
        self.keep(line);
        self.inner.set_line(None);
        self.inner.ticks.stop();
    }

    /// Until the logger is closed, or a collector does not want the region.
    fn keep(&mut self, mut line: Option<Arc<OwnedFd>>) {
        let mut pause = PAUSE;
        loop {
            if let Some(line) = line {
                pause = PAUSE;
                let goes_on = self.listen(&line);
                self.inner.set_line(None);
                if !goes_on {
                    return;
                }
            }
            if self.wait(None, Some(pause)) == Waited::Stop {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
            line = self.introduce();
        }
    }

    /// Until the collector is gone. False when there is no use in another.
    fn listen(&mut self, line: &OwnedFd) -> bool {
        loop {
            match self.wait(Some(line), None) {
                Waited::Stop => return false,
                Waited::Enough => {}
                Waited::Line => match socket::hear(line) {
                    Heard::Nothing => {}
                    Heard::Refused => return false,
                    Heard::Gone => return true,
                },
            }
        }
    }

    /// Waits for the connection, or for so long; ticks meanwhile, if it is to.
    fn wait(&mut self, line: Option<&OwnedFd>, longest: Option<Duration>) -> Waited {
        let until = longest.map(|longest| Instant::now() + longest);
        loop {
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            if rest == Some(Duration::ZERO) {
                return Waited::Enough;
            }
            let tick = self.ticking.is_some().then_some(Duration::from_nanos(TICK));
            let (is_wanted, is_line) = self.poll(line, rest.into_iter().chain(tick).min());
            if self.inner.is_closed() {
                return Waited::Stop;
            }
            if is_line {
                return Waited::Line;
            }
            if is_wanted {
                let mut count = [0; 8];
                let _ = rustix::io::read(self.inner.keeper(), &mut count);
                self.ticking.get_or_insert(Ticking { written: 0, quiet: 0 });
            }
            self.tick();
        }
    }

    fn tick(&mut self) {
        let Some(Ticking { written, quiet }) = &mut self.ticking else { return };
        let now = self.inner.written();
        *quiet = if now == *written { *quiet + 1 } else { 0 };
        *written = now;
        if *quiet < QUIET {
            self.inner.ticks.tick();
        } else {
            self.inner.ticks.stop();
            self.ticking = None;
        }
    }

    /// Whether the logger wants something, and whether the collector has said something.
    fn poll(&self, line: Option<&OwnedFd>, longest: Option<Duration>) -> (bool, bool) {
        let mut polled = vec![PollFd::new(self.inner.keeper(), PollFlags::IN)];
        polled.extend(line.map(|line| PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN)));
        // Seconds at most.
        let longest = longest.map(|longest| Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        });
        // Interrupted is as good as nothing.
        let _ = poll(&mut polled, longest.as_ref());
        let is_ready = |index: usize| polled.get(index).is_some_and(|fd| !fd.revents().is_empty());
        (is_ready(0), is_ready(1))
    }
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// The logger is closed.
    Stop,
    Line,
    /// The time is over.
    Enough,
}
