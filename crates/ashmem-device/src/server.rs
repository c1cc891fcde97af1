//! The server: areas, the listeners whose programs see them, and what is done in between.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Resource;
use rustix::thread::CpuSet;

use ashmem_driver::Policy;

use crate::error::Error;
use crate::files::reopen;
use crate::model::{Access, Flavour};
use crate::reclaim::{Bell, Keeper};
use crate::serve::serve;
use crate::state::Shared;
use crate::sys::{self, Listener};
use crate::task::FileId;

/// How often areas that nobody has any more are looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// How a server behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which kernel's driver it is like.
    pub flavour: Flavour,
}

impl Default for Options {
    fn default() -> Options {
        Options { flavour: Flavour::Mainline }
    }
}

/// Answers the trapped system calls of programs, so that they have a `/dev/ashmem`: one device for all of them.
///
/// Each listener has a thread, so one program does not wait for another, except while the state of all areas changes.
///
/// # Examples
/// ```no_run
/// use ashmem_device::{Options, Server};
/// # fn attach_one(received: std::os::fd::OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
///
/// let server = Server::new(Options::default())?;
/// // A listener from seccomp(2), as container runtimes send it.
/// server.attach(received)?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    shared: Arc<Shared>,
    attached: Arc<AtomicUsize>,
}

impl Server {
    /// A server without listeners.
    ///
    /// # Errors
    /// [`Error::System`] when there can be no thread.
    pub fn new(options: Options) -> Result<Arc<Server>, Error> {
        let reclaimer = ashmem::Reclaimer::builder().without_thread().build();
        // Leases make the kernel send signals to this process.
        sys::ignore_signals();
        raise_limit();
        let bell = Bell::new().map_err(Error::system("make an event"))?;
        let shared = Arc::new(Shared::new(options.flavour, reclaimer, bell));
        let keeper = Keeper { shared: shared.clone(), policy: Arc::new(Policy::default()) };
        thread::Builder::new()
            .name("ashmem-reclaim".into())
            .spawn(move || ashmem_driver::reclaim::run(&keeper))
            .map_err(|source| Error::System { operation: "start a thread", source })?;
        let weak = Arc::downgrade(&shared);
        let keeping = thread::Builder::new().name("ashmem-device".into()).spawn(move || keep(&weak));
        keeping.map_err(|source| Error::System { operation: "start a thread", source })?;
        Ok(Arc::new(Server { shared, attached: Arc::new(AtomicUsize::new(0)) }))
    }

    /// Looks after the programs of a listener from now on, in a thread of its own that ends with the last of them.
    ///
    /// # Errors
    /// EINVAL for what is no listener; EAGAIN when there can be no thread.
    pub fn attach(&self, listener: OwnedFd) -> Result<(), Errno> {
        let listener = Listener::new(listener)?;
        let (shared, attached) = (self.shared.clone(), self.attached.clone());
        attached.fetch_add(1, Ordering::Relaxed);
        let attach = move || {
            serve(&shared, &listener);
            drop(listener);
            shared.lock().let_go();
            attached.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = thread::Builder::new().name("ashmem-listener".into()).spawn(attach);
        thread.map(drop).map_err(|_| {
            self.attached.fetch_sub(1, Ordering::Relaxed);
            Errno::AGAIN
        })
    }

    /// How many listeners have programs.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.attached.load(Ordering::Relaxed)
    }

    /// How many areas there are.
    #[must_use]
    pub fn areas(&self) -> usize {
        self.shared.lock().ids().len()
    }

    /// The state file of the area that a descriptor means, for a holder that knows nothing of the device. It gets no more than that descriptor
    /// allows.
    pub(crate) fn state_of(&self, contents: impl AsFd) -> Option<OwnedFd> {
        let file = FileId::of(&contents).ok()?;
        let access = rustix::fs::fcntl_getfl(&contents).ok()? & OFlags::RWMODE;
        let mut state = self.shared.lock();
        let id = state.area_of(file)?;
        let (area, held) = state.parts(id).ok()?;
        if held.files.id() != file || !area.is_mapped() && area.size() == 0 {
            return None;
        }
        // Who has it as a region relies on its size.
        held.files.freeze().ok()?;
        area.mapped();
        let states = held.pins.state(&held.files, &self.shared.reclaimer)?;
        drop(state);
        if access == OFlags::RDWR {
            return Some(states);
        }
        reopen(states.as_fd(), Access::Read, OFlags::empty()).ok()
    }
}

/// Makes this process one that serves everybody, and not only the program that had it started: without that one's descriptors, processors
/// and limits, as far as they can be raised. For a process that has just begun.
pub fn detach() {
    sys::close_inherited();
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| all.set(processor));
    // What is refused stays as it is.
    let _ = rustix::thread::sched_setaffinity(None, &all);
    for resource in [Resource::Fsize, Resource::As, Resource::Data, Resource::Cpu] {
        let mut limit = rustix::process::getrlimit(resource);
        limit.current = limit.maximum;
        let _ = rustix::process::setrlimit(resource, limit);
    }
    // A new session: signals from the terminal are for others. Fails for who leads one already.
    let _ = rustix::process::setsid();
}

/// Each area takes a few descriptors: as many as the system allows.
fn raise_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, fewer areas have room.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Forgets what nobody has.
fn keep(shared: &Weak<Shared>) {
    loop {
        thread::sleep(PAUSE);
        let Some(shared) = shared.upgrade() else { return };
        let mut state = shared.lock();
        state.let_go();
        for id in state.ids() {
            if let Ok(held) = state.held(id) {
                held.files.trim();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.bell.end();
    }
}
