//! What a track is doing, and what may be asked of it: the mixer's own record, of which the control block has a copy to read.
//!
//! ```text
//!           start              stop              (all is played)
//! STOPPED --------> ACTIVE ------------> STOPPING --------------> STOPPED
//!    ^               |  ^                  |
//!    |         pause |  | start            | pause
//!    |               v  |                  |
//!    +------------- PAUSED <---------------+        anything --- nonsense in the control block ---> BROKEN
//!         stop: what is left is discarded
//! ```
//!
//! A track is *released* when its client drops it or dies: one that is heard plays what is there and goes, any other goes at once.

use crate::{Fault, State};

/// Why something is not done.
pub(crate) type Refusal = &'static str;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    state: State,
    is_released: bool,
}

impl Life {
    pub(crate) fn new() -> Life {
        Life { state: State::Stopped, is_released: false }
    }

    pub(crate) fn state(self) -> State {
        self.state
    }

    /// Whether it takes part in the mix.
    pub(crate) fn is_heard(self) -> bool {
        matches!(self.state, State::Active | State::Stopping)
    }

    /// Whether there is nothing left to do for it.
    pub(crate) fn is_gone(self) -> bool {
        self.is_released && !self.is_heard()
    }

    /// True when it begins anew, and does not only go on.
    pub(crate) fn start(&mut self) -> Result<bool, Refusal> {
        let begins = self.state == State::Stopped;
        self.change(State::Active).map(|()| begins)
    }

    pub(crate) fn pause(&mut self) -> Result<(), Refusal> {
        // One that makes no sound has nothing to pause.
        if self.state == State::Stopped { Ok(()) } else { self.change(State::Paused) }
    }

    /// True when what is left is to be discarded.
    pub(crate) fn stop(&mut self) -> Result<bool, Refusal> {
        match self.state {
            State::Active => self.change(State::Stopping).map(|()| false),
            State::Paused => self.change(State::Stopped).map(|()| true),
            _ => self.change(self.state).map(|()| false),
        }
    }

    /// Whether what is there may be discarded.
    pub(crate) fn flush(self) -> Result<(), Refusal> {
        match self.state {
            State::Stopped | State::Paused => Ok(()),
            State::Active | State::Stopping => Err("it plays: pause it first"),
            State::Broken(_) => Err(BROKEN),
        }
    }

    /// Everything that was there has been played.
    pub(crate) fn drained(&mut self) {
        if self.is_heard() {
            self.state = State::Stopped;
        }
    }

    pub(crate) fn broken(&mut self, fault: Fault) {
        self.state = State::Broken(fault);
    }

    pub(crate) fn release(&mut self) {
        self.is_released = true;
        if self.state == State::Active {
            self.state = State::Stopping;
        }
    }

    fn change(&mut self, to: State) -> Result<(), Refusal> {
        if self.is_released {
            return Err("it was released");
        }
        if matches!(self.state, State::Broken(_)) {
            return Err(BROKEN);
        }
        self.state = to;
        Ok(())
    }
}

const BROKEN: Refusal = "it wrote nonsense into its control block";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Start,
        Pause,
        Stop,
        Flush,
        Drained,
        Broken,
        Release,
    }

    fn event() -> impl Strategy<Value = Event> {
        use Event::*;
        prop_oneof![
            4 => Just(Start), 4 => Just(Pause), 4 => Just(Stop), 4 => Just(Flush), 4 => Just(Drained),
            1 => Just(Broken), 1 => Just(Release)
        ]
    }

    /// The table of the documentation, row by row.
    fn next(state: State, event: Event) -> Option<State> {
        use State::*;
        match (state, event) {
            (Broken(_), Event::Start | Event::Pause | Event::Stop | Event::Flush) => None,
            (_, Event::Start) => Some(Active),
            (Stopped, Event::Pause) => Some(Stopped),
            (_, Event::Pause) => Some(Paused),
            (Active | Stopping, Event::Stop) => Some(Stopping),
            (_, Event::Stop) => Some(Stopped),
            (Active | Stopping, Event::Flush) => None,
            (Active | Stopping, Event::Drained) => Some(Stopped),
            (_, Event::Broken) => Some(Broken(Fault::PositionWentBack)),
            (Active, Event::Release) => Some(Stopping),
            (same, Event::Flush | Event::Drained | Event::Release) => Some(same),
        }
    }

    proptest! {
        #[test]
        fn tracks_live_as_the_table_says(events in prop::collection::vec(event(), 1..100)) {
            let mut life = Life::new();
            let mut is_released = false;
            for event in events {
                let before = life.state();
                let done = match event {
                    Event::Start => life.start().map(|begins| assert_eq!(begins, before == State::Stopped)).is_ok(),
                    Event::Pause => life.pause().is_ok(),
                    Event::Stop => life.stop().map(|discards| assert_eq!(discards, before == State::Paused)).is_ok(),
                    Event::Flush => life.flush().is_ok(),
                    Event::Drained => { life.drained(); true }
                    Event::Broken => { life.broken(Fault::PositionWentBack); true }
                    Event::Release => { life.release(); is_released = true; true }
                };
                let asks = matches!(event, Event::Start | Event::Pause | Event::Stop);
                let expected = next(before, event);
                if is_released && asks {
                    // Nobody is left who could ask.
                    prop_assert!(!done || life.state() == before);
                } else {
                    prop_assert_eq!(done, expected.is_some(), "{:?} while {:?}", event, before);
                    prop_assert_eq!(life.state(), expected.unwrap_or(before));
                }
                prop_assert_eq!(life.is_gone(), is_released && !life.is_heard());
            }
        }
    }
}
