//! The service manager: services by name, over sockets in a directory or over the kernel's binder.
//!
//! # No manager process
//!
//! Over sockets Binder is point to point: a binder of one session can be used in no other. So a manager
//! process could only tell where to connect, and the [directory] says that as well. There is nothing to
//! start, to hang or to restart; the kernel keeps the names.
//!
//! # Layers
//!
//! ```text
//! ServiceManager      waits, and chooses the transport
//!     registry        services in a directory; kernel: services over the driver
//!     server          serves this process's own: admission says who may connect
//!     session         calls those of others
//!     directory       links, sockets, locks: name, server_file say how they are called
//!     process         what there is one of in a process
//! ```

mod address;
mod admission;
mod connection;
mod directory;
mod kernel;
mod name;
mod options;
mod process;
mod registry;
mod server;
mod server_file;
mod session;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsbinder::SIBinder;

use self::address::{Address, Place};
use self::kernel::Kernel;
use self::name::Name;
use self::options::Options;
pub use self::options::ServiceManagerOptions;
use self::registry::Registry;
use self::watch::Watch;
use crate::{Error, Result};

/// As long as Android's `getService` waits.
const GET: Duration = Duration::from_secs(5);
/// What an address can be put in.
const VARIABLE: &str = "ASHMEM_BINDER";

/// Where services are added and found by name; `defaultServiceManager()` of Android.
///
/// By default that is a directory, with a socket for each process that serves something: no root, no driver,
/// no daemon. An [address](ServiceManager::at) can name another directory, or the kernel's binder. Cloning is
/// cheap, and dropping the last clone removes no service: services stay as long as their process lives, or
/// until they are [removed](ServiceManager::remove_service). If the directory is removed, they cannot be found
/// until their process adds another one.
///
/// Connections stay as long as both processes live: five to each process whose services were looked for. A
/// process accepts as many as half of its descriptors (`RLIMIT_NOFILE`), up to 2,048, and 64 from one process.
///
/// # Trust
///
/// The directory must be its owner's alone to write, and it, and all who are met there, of the same user or
/// root; others only if [allowed](ServiceManagerOptions::allow_uid). The kernel says who is at the other end
/// before a byte is exchanged.
///
/// # Forks
///
/// A forked child starts with no services and no connections of its own, and can add and find services as any
/// process. It must not use binders that its parent got.
///
/// If it runs no other program (`execve(2)`), it has copies of its parent's connections as long as it lives.
/// So when the parent is killed, `link_to_death` says nothing of that before the child has ended, too.
/// Looking for services is not misled by it.
///
/// # Examples
/// ```
/// use ashmem_binder::{ServiceManager, rsbinder};
/// use rsbinder::{Binder, Interface, Parcel, Remotable, TransactionCode};
///
/// struct Nothing;
/// impl Remotable for Nothing {
///     fn descriptor() -> &'static str {
///         "example.INothing"
///     }
///     fn on_transact(&self, _: TransactionCode, _: &mut Parcel, _: &mut Parcel) -> rsbinder::Result<()> {
///         Ok(())
///     }
///     fn on_dump(&self, _: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
///         Ok(())
///     }
/// }
///
/// let directory = tempfile::tempdir()?;
/// let services = ServiceManager::at(&format!("unix://{}/services", directory.path().display()))?;
/// services.add_service("nothing", &Binder::new(Nothing).as_binder())?;
/// assert_eq!(services.list_services()?, ["nothing"]);
/// // In this process it is the binder itself; in others, a proxy of it.
/// assert_eq!(services.get_service("nothing")?.descriptor(), "example.INothing");
/// services.remove_service("nothing")?;
/// assert!(services.check_service("nothing")?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServiceManager(Arc<Transport>);

#[derive(Debug)]
enum Transport {
    Directory(Registry),
    Kernel(Kernel),
}

impl ServiceManager {
    /// The user's own services: at the address in `$ASHMEM_BINDER` if that is set, else in a directory of
    /// his, the first of
    ///
    /// - `$XDG_RUNTIME_DIR/ashmem/services`, unless that runtime directory is somebody else's,
    /// - `/run/user/UID/ashmem/services`, if there is such a runtime directory,
    /// - `/tmp/ashmem-UID/services`.
    ///
    /// Nothing is made before a service is added or waited for.
    pub fn new() -> Result<ServiceManager> {
        ServiceManager::options().open()
    }

    /// The services at an address.
    ///
    /// - `unix:///DIRECTORY`: an absolute path, with `%` escapes. It is made with mode 0700 if it is not
    ///   there, the directories above it are not.
    /// - `binder://`, or `binder://?driver=/dev/binder`: the kernel's binder. It needs the driver, and a
    ///   service manager that runs on it: Android's, or `rsb_hub` of the `rsbinder-tools`. A process can use
    ///   one driver.
    ///
    /// Fails with [`Error::InvalidAddress`] for anything else. What is there is looked at when it is used.
    pub fn at(address: &str) -> Result<ServiceManager> {
        ServiceManager::options().open_at(address)
    }

    /// Options to open it with.
    pub fn options() -> ServiceManagerOptions {
        ServiceManagerOptions::default()
    }

    fn open(options: Options) -> Result<ServiceManager> {
        match std::env::var_os(VARIABLE).filter(|address| !address.is_empty()) {
            Some(address) => match address.to_str() {
                Some(address) => ServiceManager::open_at(options, address),
                None => Err(Error::InvalidAddress {
                    address: address.to_string_lossy().into_owned(),
                    reason: "it is not UTF-8".to_owned(),
                }),
            },
            None => {
                let owner = |path: &std::path::Path| rustix::fs::stat(path).ok().map(|stat| stat.st_uid);
                let runtime = std::env::var_os("XDG_RUNTIME_DIR");
                let place = Place::own(rustix::process::geteuid().as_raw(), runtime.as_deref(), owner);
                Ok(ServiceManager(Arc::new(Transport::Directory(Registry::new(place, options)))))
            }
        }
    }

    fn open_at(options: Options, address: &str) -> Result<ServiceManager> {
        Ok(ServiceManager(Arc::new(match Address::parse(address)? {
            Address::Directory(place) => Transport::Directory(Registry::new(place, options)),
            Address::Kernel(endpoint) => Transport::Kernel(Kernel::new(endpoint)),
        })))
    }

    /// The address of these services, which [`ServiceManager::at`] takes.
    #[must_use]
    pub fn address(&self) -> String {
        match &*self.0 {
            Transport::Directory(registry) => registry.address(),
            Transport::Kernel(kernel) => kernel.address(),
        }
    }

    /// Whether these go over the kernel's binder.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        matches!(*self.0, Transport::Kernel(_))
    }

    /// Serves a binder of this process under a name, as long as the process lives. Calls come in on threads
    /// of their own.
    ///
    /// Fails with [`Error::NameTaken`] while a process lives that serves this name, this one included, and
    /// with [`Error::InvalidServiceName`] for a name that Android would not take either. Of several who add a
    /// name at the same time one succeeds; over the kernel's binder it may be all of them, and the last one
    /// has it. A binder of another process cannot be served over sockets.
    pub fn add_service(&self, name: &str, binder: &SIBinder) -> Result<()> {
        let name = Name::new(name)?;
        match &*self.0 {
            Transport::Directory(registry) => registry.add(name, binder),
            Transport::Kernel(kernel) => kernel.add(name, binder),
        }
    }

    /// Takes a name back that this process has added. Who has the binder keeps it.
    ///
    /// Fails with [`Error::NoSuchService`] if this process serves no such name. A service manager of the
    /// kernel's binder may refuse while others use the service.
    pub fn remove_service(&self, name: &str) -> Result<()> {
        let name = Name::new(name)?;
        match &*self.0 {
            Transport::Directory(registry) => registry.remove(name),
            Transport::Kernel(kernel) => kernel.remove(name),
        }
    }

    /// Looks for a service, without waiting for it; `None` if no living process serves it.
    ///
    /// This process's own services are the binders themselves. The others are proxies; all that one process
    /// serves go over one session, which is made when it is first needed. A proxy's `link_to_death` tells
    /// when that process ends.
    ///
    /// Fails if the process lives, but does not let us in or does not answer as it should; within 10 seconds
    /// if it does not answer at all, being stopped, or within the [timeout](ServiceManagerOptions::timeout)
    /// if there is a session already.
    pub fn check_service(&self, name: &str) -> Result<Option<SIBinder>> {
        self.check(Name::new(name)?)
    }

    fn check(&self, name: Name<'_>) -> Result<Option<SIBinder>> {
        match &*self.0 {
            Transport::Directory(registry) => registry.check(name),
            Transport::Kernel(kernel) => kernel.check(name),
        }
    }

    /// Looks for a service, and waits for it up to 5 seconds, as Android's `getService` does. Fails with
    /// [`Error::NoSuchService`] then.
    pub fn get_service(&self, name: &str) -> Result<SIBinder> {
        self.wait_for_service(name, Some(GET))
    }

    /// Waits until there is a service of that name; `None` waits for ever. Fails with
    /// [`Error::NoSuchService`] when the time is over.
    ///
    /// A process that has the name, but does not answer, is waited for as long as
    /// [`check_service`](ServiceManager::check_service) says, whatever `timeout` is.
    pub fn wait_for_service(&self, name: &str, timeout: Option<Duration>) -> Result<SIBinder> {
        let name = Name::new(name)?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // The common case needs no watch.
        if let Some(binder) = self.check(name)? {
            return Ok(binder);
        }
        // Before the next look, so that nothing is missed between that and the waiting.
        let watch = match &*self.0 {
            Transport::Directory(registry) => registry.watch()?,
            Transport::Kernel(_) => Watch::blind(),
        };
        loop {
            if let Some(binder) = self.check(name)? {
                return Ok(binder);
            }
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::NoSuchService { name: name.as_str().to_owned() });
            }
            watch.wait(left);
        }
    }

    /// The names of all services whose process lives, sorted.
    pub fn list_services(&self) -> Result<Vec<String>> {
        match &*self.0 {
            Transport::Directory(registry) => registry.list(),
            Transport::Kernel(kernel) => {
                let mut names = kernel.list()?;
                names.sort();
                Ok(names)
            }
        }
    }
}

impl fmt::Debug for ServiceManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ServiceManager").field(&self.address()).finish()
    }
}
