//! How a reclaimer is made.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::engine::{Shared, State, enlist};
use super::list::List;
use super::lookout::Lookout;
use super::metrics::Counters;
use super::pressure::PressureSource;
use super::served::Driver;
use super::{Clock, Policy, Reclaimer, SystemClock};

/// Makes a [`Reclaimer`]: see [`Reclaimer::builder`].
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ReclaimerBuilder {
    policy: Policy,
    source: Option<Box<dyn PressureSource>>,
    clock: Option<Box<dyn Clock>>,
    without_thread: bool,
    driver: Option<PathBuf>,
}

impl ReclaimerBuilder {
    /// When to reclaim, and how much.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Who says when memory is short, instead of the system and its cgroups.
    pub fn pressure(mut self, source: impl PressureSource + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The clock, instead of the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Starts no thread: the program calls [`Reclaimer::run_once`], or reclaims when it likes.
    pub fn without_thread(mut self) -> Self {
        self.without_thread = true;
        self
    }

    /// Asks the driver daemon at `path`, and no other, whatever the source of pressure. For tests of that.
    #[doc(hidden)]
    pub fn driver(mut self, path: impl Into<PathBuf>) -> Self {
        self.driver = Some(path.into());
        self
    }

    /// The reclaimer.
    #[must_use]
    pub fn build(self) -> Reclaimer {
        let is_ordinary = self.source.is_none() && self.clock.is_none() && !self.without_thread;
        let driver = match self.driver {
            Some(path) => Driver::At(path),
            None if is_ordinary => Driver::Any,
            None => Driver::Never,
        };
        let state = State {
            regions: List::default(),
            policy: self.policy,
            lookout: Some(Lookout::new(self.source)),
            policy_changed: false,
            thread: None,
            is_asleep: false,
            client: None,
            listeners: Vec::new(),
            counters: Vec::new(),
            last_stall: None,
            idle_since: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            counters: Counters::default(),
            clock: self.clock.unwrap_or_else(|| Box::new(SystemClock::new())),
            threaded: !self.without_thread,
            driver,
        });
        enlist(&shared);
        Reclaimer { shared }
    }
}
