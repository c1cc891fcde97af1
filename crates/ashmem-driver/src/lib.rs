//! The driver daemon of ashmem: takes the unpinned pages of all processes that were unpinned longest ago away when memory runs
//! short, as the kernel's driver did.
//!
//! Processes hand it the descriptors of their regions over a Unix socket ([`ashmem::driver`]); everything else is in the regions
//! themselves. The command `ashmem daemon` is made of this.
//!
//! Nothing that a process says or sends is trusted, and no process is waited for. One thread serves the socket, another one
//! reclaims, and what could take long is done by threads of its own: answers, news of purges, and closing what was sent.
//!
//! ```
//! use ashmem_driver::{Audience, Driver, Listener, Policy};
//!
//! let dir = tempfile::tempdir()?;
//! let listener = Listener::bind(&dir.path().join("ashmem/driver"), Audience::OwnUser)?;
//! let driver = Driver::start(listener, Policy::default())?;
//! // Serves until it is told to stop.
//! driver.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
pub mod ask;
mod client;
mod closing;
mod error;
#[cfg(test)]
mod fake;
mod limits;
mod listen;
mod membership;
mod metrics;
pub mod policy;
mod purges;
mod quota;
mod server;
mod shared;
pub mod snapshot;
mod table;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use ashmem::{Freed, Region};

/// The thread that reclaims, for other servers that have regions of several processes.
#[doc(hidden)]
pub mod reclaim {
    pub use crate::table::Served;
    pub use crate::turn::{Counts, Host, run};
}

pub use self::error::{Error, Result};
pub use self::listen::{Audience, Listener};
pub use self::policy::{Policy, PolicyError};
pub use self::quota::Quota;
pub use self::snapshot::Snapshot;

use self::server::{Server, Stop};
use self::shared::Shared;
use self::turn::Host;

/// How long its threads have to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that is running. Dropping it stops it.
pub struct Driver {
    shared: Arc<Shared>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Driver {
    /// Starts it. Raises the soft limit on descriptors to the hard one (`setrlimit(2)`).
    ///
    /// # Errors
    /// [`Error::System`]: no free descriptor, no thread.
    pub fn start(listener: Listener, policy: Policy) -> Result<Driver> {
        let shared = Arc::new(Shared::new(policy, listener.audience(), quota::descriptors())?);
        purges::listen(&shared).map_err(Error::system("start thread"))?;
        let server = Server::new(shared.clone(), listener)?;
        let mut driver = Driver { stop: server.stopper(), threads: Vec::new(), shared: shared.clone() };
        driver.spawn("serving", move || server.run())?;
        driver.spawn("reclaiming", move || turn::run(&*shared))?;
        Ok(driver)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(Error::system("start thread"))?);
        Ok(())
    }

    /// Another policy from now on. What is registered stays so, whatever the quotas.
    pub fn reload(&self, policy: Policy) {
        self.shared.set_policy(policy);
    }

    /// Stops it, and removes the socket that it has made.
    pub fn stop(self) {
        drop(self);
    }

    /// The limits on memory that it watches, as they were at the last look.
    #[must_use]
    pub fn limits(&self) -> Vec<snapshot::Limit> {
        self.shared.limits()
    }

    /// What it counted so far.
    #[must_use]
    pub fn counters(&self) -> snapshot::Counters {
        self.shared.counters()
    }

    /// Takes pages away now, oldest unpin first, until `bytes` are free or nothing is left.
    #[doc(hidden)]
    pub fn reclaim(&self, bytes: u64) -> Freed {
        let regions: Vec<Region> = self.shared.served().into_iter().map(|served| served.region).collect();
        let freed = self
            .shared
            .reclaimer
            .reclaim_while(&regions, &mut |progress| bytes.saturating_sub(progress.freed.bytes));
        regions.iter().for_each(Region::forget_pin_state);
        freed
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.stop();
        self.stop.stop();
        let give_up = Instant::now() + PATIENCE;
        for thread in self.threads.drain(..) {
            // Whoever can write to a region can make the kernel wait in it for as long as they like (`i_rwsem`).
            while !thread.is_finished() && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                log::warn!("a thread does not end: it is left behind");
                continue;
            }
            // It has panicked, and said so.
            let _ = thread.join();
        }
    }
}
