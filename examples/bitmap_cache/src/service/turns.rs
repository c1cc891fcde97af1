//! Who may decode now: as many at a time as there are processors, and of one client no more than half of them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Turns are taken in the order of asking, except that a client who has its share lets others go first.
pub(super) struct Turns {
    share: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: usize,
    last: u64,
    /// Clients whose turn it is, once for each turn.
    running: Vec<u64>,
    /// Numbers of those who wait, and their clients.
    waiting: VecDeque<(u64, u64)>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    client: u64,
}

impl Turns {
    pub(super) fn new(turns: usize) -> Turns {
        let state = State { free: turns, last: 0, running: Vec::new(), waiting: VecDeque::new() };
        Turns { share: (turns / 2).max(1), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a turn.
    pub(super) fn take(&self, client: u64) -> Turn<'_> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.waiting.push_back((number, client));
        while state.next(self.share) != Some(number) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.retain(|(waiting, _)| *waiting != number);
        state.running.push(client);
        state.free -= 1;
        // There may be another one for the next.
        self.changed.notify_all();
        Turn { turns: self, client }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whose turn it is.
    fn next(&self, share: usize) -> Option<u64> {
        let has = |client: u64| self.running.iter().filter(|running| **running == client).count();
        let next = self.waiting.iter().find(|(_, client)| has(*client) < share);
        next.filter(|_| self.free > 0).map(|(number, _)| *number)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(place) = state.running.iter().position(|running| *running == self.client) {
            state.running.swap_remove(place);
        }
        state.free += 1;
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the rule said plainly: the first who waits and has no share, as long as one is free.
        #[test]
        fn the_next_is_the_first_without_a_share(
            turns in 1..6_usize,
            steps in proptest::collection::vec((0..4_u64, any::<bool>()), 1..80),
        ) {
            let all = Turns::new(turns);
            let mut running: Vec<Turn<'_>> = Vec::new();
            let mut waiting: Vec<(u64, u64)> = Vec::new();
            for (number, (client, arrives)) in (1..).zip(steps) {
                if arrives {
                    let mut state = all.lock();
                    state.waiting.push_back((number, client));
                    waiting.push((number, client));
                } else if !running.is_empty() {
                    running.remove(client as usize % running.len());
                }
                loop {
                    let has = |client: u64| running.iter().filter(|turn| turn.client == client).count();
                    let first = waiting.iter().position(|(_, client)| has(*client) < all.share);
                    let expected = first.filter(|_| running.len() < turns);
                    let next = all.lock().next(all.share);
                    prop_assert_eq!(next, expected.map(|place| waiting[place].0));
                    let Some(place) = expected else { break };
                    let (number, client) = waiting.remove(place);
                    let mut state = all.lock();
                    state.waiting.retain(|(waiting, _)| *waiting != number);
                    state.running.push(client);
                    state.free -= 1;
                    drop(state);
                    running.push(Turn { turns: &all, client });
                }
                prop_assert!(running.len() <= turns);
            }
        }
    }

    #[test]
    fn everybody_gets_a_turn() {
        let turns = Turns::new(2);
        let most = std::sync::atomic::AtomicUsize::new(0);
        let now = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..12 {
                let (turns, now, most) = (&turns, &now, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let _turn = turns.take(thread % 3);
                        let running = now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        most.fetch_max(running, std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert!(turns.lock().running.is_empty() && turns.lock().waiting.is_empty());
    }
}
