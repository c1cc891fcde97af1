//! Looking without keeping the keys waiting: what the threads do that look, and tell what they saw.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::look::{Look, Looker};
use super::model::Map;
use crate::tools::line::Line;
use crate::tools::peek::Peek;

/// Cells of the picture of a region, of which the view makes fewer.
const CELLS: u64 = 8192;

/// A region whose pages are to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    inode: u64,
    holders: Vec<u32>,
}

impl Wanted {
    pub fn of(line: &Line) -> Wanted {
        Wanted { inode: line.inode, holders: line.holders.iter().map(|holder| holder.process).collect() }
    }
}

/// How long to rest after looking for so long: until the next interval, and long enough that most of the time nothing is done.
fn rest(interval: Duration, took: Duration) -> Duration {
    interval.saturating_sub(took).max(took.saturating_mul(3))
}

/// Looks at everything at intervals, until nobody wants to be told.
pub fn looks(interval: Duration, mut tell: impl FnMut(Result<Box<Look>, String>) -> bool) {
    let mut looker = Looker::new();
    loop {
        let began = Instant::now();
        let look = looker.look().map(Box::new).map_err(|error| crate::with_causes(&error));
        if !tell(look) {
            return;
        }
        thread::sleep(rest(interval, began.elapsed()));
    }
}

/// Looks at the pages of what is wanted, at once and at intervals, until nobody wants to be told.
pub fn maps(interval: Duration, wanted: &Receiver<Option<Wanted>>, mut tell: impl FnMut(Map) -> bool) {
    let mut peek = Peek::default();
    let mut current: Option<Wanted> = None;
    let mut pause = interval;
    loop {
        match wanted.recv_timeout(pause) {
            Ok(next) => current = wanted.try_iter().last().unwrap_or(next),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(Wanted { inode, holders }) = &current else { continue };
        let began = Instant::now();
        let picture = peek.picture(*inode, holders, CELLS).map_err(|error| crate::with_causes(&error));
        pause = rest(interval, began.elapsed());
        if !tell(Map { inode: *inode, picture }) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_time_nothing_is_done() {
        let rest = |interval, took| rest(Duration::from_millis(interval), Duration::from_millis(took));
        assert_eq!(rest(1000, 0), Duration::from_millis(1000));
        assert_eq!(rest(1000, 100), Duration::from_millis(900));
        assert_eq!(rest(1000, 2000), Duration::from_millis(6000));
    }
}
