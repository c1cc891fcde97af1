//! When a memory file is pinned: a state machine without any pinning in it.
//!
//! Accesses are counted. While purging is allowed, the one that makes the count 1 pins the file first, and the one that makes
//! it 0 unpins it. Pinning and unpinning take place outside of the lock; who does so has the *turn*, and everybody
//! else who wants to begin or end an access waits for that.
//!
//! ```text
//!              enter: First           done: pinned
//!   unpinned ---------------> turn ---------------> pinned, 1 access <--> more accesses
//!      ^                                                  |
//!      +--------------------- turn <----------------------+
//!        done: unpinned                leave: Last
//! ```
//!
//! A child of `fork(2)` has none of the threads that were in an access or had the turn. So the state says of which process
//! it is, and another one starts anew; a pin that was cut off counts as if it had found the file purged.

/// What somebody who begins an access does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enter {
    /// Try again: somebody else has the turn.
    Wait,
    /// Got the turn: pin the file, then [`Purging::pinned`].
    First,
    /// The access is counted and the file is pinned, or need not be.
    Counted,
}

/// What somebody who ends an access does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Try again: somebody else has the turn.
    Wait,
    /// Got the turn: unpin the file, then [`Purging::unpinned`].
    Last,
    /// Nothing more.
    Gone,
}

/// What somebody who changes the setting does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Try again: somebody else has the turn.
    Wait,
    /// It is like that already.
    Unchanged,
    /// Got the turn: pin or unpin the file if it is idle, then [`Purging::changed`] or [`Purging::unchanged`].
    Turn {
        /// No access is under way.
        idle: bool,
    },
}

#[derive(Debug)]
pub(super) struct Purging {
    allowed: bool,
    /// Pages were taken away, and nothing was written since.
    purged: bool,
    /// Accesses under way.
    accesses: usize,
    turn: bool,
    /// Whose accesses and turn these are.
    process: u32,
}

impl Purging {
    pub(super) fn new(process: u32) -> Purging {
        Purging { allowed: false, purged: false, accesses: 0, turn: false, process }
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.allowed
    }

    pub(super) fn is_purged(&self) -> bool {
        self.purged
    }

    pub(super) fn enter(&mut self, process: u32) -> Enter {
        self.adopt(process);
        if self.turn {
            Enter::Wait
        } else if self.allowed && self.accesses == 0 {
            self.turn = true;
            Enter::First
        } else {
            self.accesses += 1;
            Enter::Counted
        }
    }

    /// The first access has pinned the file, and found whether it was purged.
    pub(super) fn pinned(&mut self, purged: bool) {
        self.turn = false;
        self.accesses += 1;
        self.purged |= purged;
    }

    /// The first access could not pin the file, and does not take place.
    pub(super) fn not_pinned(&mut self, purged: bool) {
        self.turn = false;
        self.purged |= purged;
    }

    /// `wrote` says whether the access wrote anything. (It began in this process: nobody forks in the middle of one.)
    pub(super) fn leave(&mut self, wrote: bool) -> Leave {
        if self.turn {
            return Leave::Wait;
        }
        if wrote {
            self.purged = false;
        }
        if self.allowed && self.accesses == 1 {
            self.turn = true;
            return Leave::Last;
        }
        self.accesses = self.accesses.saturating_sub(1);
        Leave::Gone
    }

    /// The last access has unpinned the file.
    pub(super) fn unpinned(&mut self) {
        self.turn = false;
        self.accesses = 0;
    }

    pub(super) fn change(&mut self, process: u32, allow: bool) -> Change {
        self.adopt(process);
        if self.turn {
            Change::Wait
        } else if self.allowed == allow {
            Change::Unchanged
        } else {
            self.turn = true;
            Change::Turn { idle: self.accesses == 0 }
        }
    }

    /// The setting is the other one now. The file is pinned if an access is under way or purging is not allowed.
    pub(super) fn changed(&mut self) {
        self.turn = false;
        self.allowed = !self.allowed;
        // Allowed or not, this is a new beginning.
        self.purged = false;
    }

    /// The file could not be pinned or unpinned: the setting stays.
    pub(super) fn unchanged(&mut self, purged: bool) {
        self.turn = false;
        self.purged |= purged;
    }

    fn adopt(&mut self, process: u32) {
        if self.process != process {
            self.process = process;
            self.purged |= self.turn && self.allowed;
            self.turn = false;
            self.accesses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Purging {
        let mut purging = Purging::new(1);
        assert_eq!(purging.change(1, true), Change::Turn { idle: true });
        purging.changed();
        purging
    }

    #[test]
    fn nothing_is_pinned_while_purging_is_not_allowed() {
        let mut purging = Purging::new(1);
        assert_eq!(purging.change(1, false), Change::Unchanged);
        assert_eq!(purging.enter(1), Enter::Counted);
        assert_eq!(purging.leave(true), Leave::Gone);
        assert_eq!(purging.accesses, 0);
    }

    #[test]
    fn the_first_pins_and_the_last_unpins() {
        let mut purging = allowed();
        assert_eq!(purging.enter(1), Enter::First);
        for _ in 0..2 {
            assert_eq!(purging.enter(1), Enter::Wait);
            assert_eq!(purging.change(1, false), Change::Wait);
        }
        purging.pinned(false);
        assert_eq!(purging.enter(1), Enter::Counted);
        assert_eq!(purging.leave(false), Leave::Gone);
        assert_eq!(purging.leave(false), Leave::Last);
        assert_eq!(purging.enter(1), Enter::Wait);
        purging.unpinned();
        assert_eq!(purging.enter(1), Enter::First);
        purging.not_pinned(false);
        assert_eq!(purging.enter(1), Enter::First, "still unpinned");
    }

    #[test]
    fn purged_until_written_or_switched_off() {
        let mut purging = allowed();
        assert_eq!(purging.enter(1), Enter::First);
        purging.pinned(true);
        assert_eq!(purging.leave(false), Leave::Last);
        purging.unpinned();
        assert_eq!(purging.enter(1), Enter::First);
        purging.pinned(false);
        assert!(purging.is_purged(), "told again");
        assert_eq!(purging.leave(true), Leave::Last);
        assert!(!purging.is_purged());
        purging.unpinned();
        assert_eq!(purging.enter(1), Enter::First);
        purging.not_pinned(true);
        assert!(purging.is_purged());
        assert_eq!(purging.change(1, false), Change::Turn { idle: true });
        purging.changed();
        assert!(!purging.is_purged() && !purging.is_allowed());
    }

    #[test]
    fn the_setting_changes_under_accesses() {
        let mut purging = Purging::new(1);
        assert_eq!(purging.enter(1), Enter::Counted);
        assert_eq!(purging.change(1, true), Change::Turn { idle: false });
        assert_eq!(purging.leave(false), Leave::Wait);
        purging.changed();
        assert_eq!(purging.leave(false), Leave::Last, "an access that began before");
        purging.unpinned();
        assert_eq!(purging.enter(1), Enter::First);
        purging.pinned(false);
        assert_eq!(purging.change(1, false), Change::Turn { idle: false });
        purging.changed();
        assert_eq!(purging.leave(false), Leave::Gone, "it stays pinned");
        assert_eq!(purging.change(1, true), Change::Turn { idle: true });
        purging.unchanged(false);
        assert!(!purging.is_allowed());
    }

    #[test]
    fn a_child_of_fork_starts_anew() {
        let mut purging = allowed();
        assert_eq!(purging.enter(1), Enter::First);
        assert_eq!(purging.enter(2), Enter::First, "nobody has the turn here");
        assert!(purging.is_purged(), "what the pin found is not known");
        purging.pinned(false);
        assert_eq!(purging.enter(2), Enter::Counted);
        assert_eq!(purging.enter(3), Enter::First, "nobody is in an access here");
    }
}
