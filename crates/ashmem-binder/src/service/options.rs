//! Who is trusted, and how long things may take.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ServiceManager;
use crate::Result;

/// How long a peer may leave another one without an answer before it counts as broken.
const TIMEOUT: Duration = Duration::from_secs(60);
const OUTGOING: u32 = 4;

/// What is the same in each place where services are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Options {
    /// Besides this process's user, and root.
    pub(super) allowed: BTreeSet<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) outgoing: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { allowed: BTreeSet::new(), timeout: Some(TIMEOUT), outgoing: OUTGOING }
    }
}

impl Options {
    /// Whether this user may have the directory, or be at the other end.
    pub(super) fn trusts(&self, uid: u32) -> bool {
        uid == rustix::process::geteuid().as_raw() || uid == 0 || self.allowed.contains(&uid)
    }
}

/// Options of a [`ServiceManager`].
///
/// # Examples
/// ```
/// use ashmem_binder::ServiceManager;
/// use std::time::Duration;
///
/// let directory = tempfile::tempdir()?;
/// let services = ServiceManager::options()
///     .timeout(Some(Duration::from_secs(10)))
///     .open_at(&format!("unix://{}/services", directory.path().display()))?;
/// assert!(services.list_services()?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until something is opened with them"]
pub struct ServiceManagerOptions(Options);

impl ServiceManagerOptions {
    /// Trusts another user as much as oneself: he may call the services that are added, and serve those that
    /// are found.
    ///
    /// Both ends must do so, and the directory must let him in: whoever owns it gives others read and search
    /// permission (`chmod 755`), never write permission. Nobody but the owner, and root, can add services.
    pub fn allow_uid(mut self, uid: u32) -> ServiceManagerOptions {
        self.0.allowed.insert(uid);
        self
    }

    /// How long a process may leave a call without an answer before it counts as broken; `None` is for ever.
    /// One minute unless said otherwise.
    ///
    /// **Then the whole connection to that process ends**: all its binders are dead. It must be longer than
    /// the slowest call takes. Zero means `None`.
    pub fn timeout(mut self, timeout: Option<Duration>) -> ServiceManagerOptions {
        self.0.timeout = timeout.filter(|timeout| !timeout.is_zero());
        self
    }

    /// How many calls to one process can be under way at a time, from 1 to 8; more wait. Four unless said
    /// otherwise.
    pub fn outgoing_connections(mut self, connections: u32) -> ServiceManagerOptions {
        self.0.outgoing = connections.clamp(1, super::server::THREADS);
        self
    }

    /// The user's own services, as [`ServiceManager::new`] has them.
    pub fn open(self) -> Result<ServiceManager> {
        ServiceManager::open(self.0)
    }

    /// The services at an address, as [`ServiceManager::at`] has them.
    pub fn open_at(self, address: &str) -> Result<ServiceManager> {
        ServiceManager::open_at(self.0, address)
    }
}
