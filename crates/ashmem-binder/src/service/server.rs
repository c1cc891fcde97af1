//! The serving side: one socket of a process, with all its services of one directory behind it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{FileDescriptorTransportMode, RpcServer};
use rsbinder::{
    Binder, FIRST_CALL_TRANSACTION, Interface, Parcel, Remotable, SIBinder, Status, StatusCode,
    TransactionCode,
};

use super::admission::Admission;
use super::directory::{Directory, PATIENCE, Servers};
use super::options::Options;
use super::process::{Process, lock};
use super::server_file::ServerFile;
use crate::{Error, Result};

/// Version 2 of the wire, which Android 16 has.
pub(super) const WIRE: u32 = 2;
/// How many calls of one client are served at a time.
pub(super) const THREADS: u32 = 8;
/// How long accepting waits after an error, which is most often that there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The services that one server has, by name.
#[derive(Default)]
pub(super) struct Services(Mutex<BTreeMap<String, SIBinder>>);

impl Services {
    pub(super) fn get(&self, name: &str) -> Option<SIBinder> {
        lock(&self.0).get(name).cloned()
    }

    /// `false` if there is one of that name.
    pub(super) fn insert(&self, name: &str, binder: &SIBinder) -> bool {
        let mut services = lock(&self.0);
        let vacant = !services.contains_key(name);
        if vacant {
            services.insert(name.to_owned(), binder.clone());
        }
        vacant
    }

    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        // Dropped after the mutex: dropping may run anything.
        let removed = lock(&self.0).remove(name);
        removed.is_some()
    }
}

/// What clients ask for services by name. It speaks as rsbinder's own directory does, so
/// [`RpcSession::get_service`] finds them; but services can be removed from it.
///
/// [`RpcSession::get_service`]: rsbinder::rpc::RpcSession::get_service
struct ServiceDirectory(Arc<Services>);

const GET_SERVICE: TransactionCode = FIRST_CALL_TRANSACTION;

impl Remotable for ServiceDirectory {
    fn descriptor() -> &'static str {
        "rsbinder.rpc.IServiceDirectory"
    }

    fn on_transact(
        &self,
        code: TransactionCode,
        reader: &mut Parcel,
        reply: &mut Parcel,
    ) -> rsbinder::Result<()> {
        if code != GET_SERVICE {
            return Err(StatusCode::UnknownTransaction);
        }
        let name: String = reader.read()?;
        match self.0.get(&name) {
            Some(binder) => {
                reply.write(&Status::from(StatusCode::Ok))?;
                reply.write(&binder)
            }
            None => reply.write(&Status::from(StatusCode::NameNotFound)),
        }
    }

    fn on_dump(&self, writer: &mut dyn std::io::Write, _: &[String]) -> rsbinder::Result<()> {
        for name in lock(&self.0.0).keys() {
            writeln!(writer, "{name}")?;
        }
        Ok(())
    }
}

/// A socket of this process, its files in the directory, and a thread that accepts connections as long as
/// this lives.
pub(super) struct Server {
    pub(super) file: ServerFile,
    /// Of its directory.
    pub(super) path: PathBuf,
    pub(super) services: Arc<Services>,
    files: Files,
    accepting: Arc<Accepting>,
}

/// The files of a server, removed when it is dropped.
struct Files {
    process: &'static Process,
    servers: Servers,
    file: ServerFile,
    alive: Option<OwnedFd>,
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in self.file.files() {
            self.servers.remove(&file);
        }
        // Before others of this process may open it.
        drop(self.alive.take());
        self.process.disown(&self.file);
    }
}

/// What the accepting thread has.
struct Accepting {
    listener: UnixListener,
    ends: AtomicBool,
    rpc: Arc<RpcServer>,
    admission: Admission,
}

impl Server {
    /// Makes a server for one directory.
    pub(super) fn start(
        process: &'static Process,
        directory: &Directory,
        options: &Options,
        services: Arc<Services>,
    ) -> Result<Server> {
        const OPERATION: &str = "make the socket of a process's services";
        let Some(servers) = directory.servers(options, true)? else {
            return Err(Error::system(OPERATION)(rustix::io::Errno::NOENT));
        };
        let file = ServerFile::new();
        process.own(&file);
        let mut files = Files { process, servers, file: file.clone(), alive: None };
        let others = !options.allowed.is_empty();
        {
            let lock = directory.lock(process, PATIENCE)?;
            files.servers.sweep(process, &lock)?;
            files.alive = Some(files.servers.make_alive(&file, others, &lock)?);
        }
        let listener = files
            .servers
            .with_path(file.socket(), |path| UnixListener::bind(path))
            .map_err(Error::system(OPERATION))?;
        if others {
            files.servers.open_to_others(&file)?;
        }
        let accepting = Arc::new(Accepting {
            listener,
            ends: AtomicBool::new(false),
            rpc: rpc_server(&files.servers, &file, options, services.clone())?,
            admission: Admission::new(options.clone()),
        });
        let thread = accepting.clone();
        std::thread::Builder::new()
            .name("binder-accept".to_owned())
            .spawn(move || thread.run())
            .map_err(Error::system("start the thread that accepts connections to services"))?;
        Ok(Server { file, path: directory.path().to_owned(), services, files, accepting })
    }

    /// Whether its files are still there: the directory may have been removed, and made again.
    pub(super) fn is_reachable(&self) -> bool {
        let links = |file| rustix::fs::fstat(file).map(|stat| stat.st_nlink);
        self.files.alive.as_ref().is_some_and(|file| links(file).is_ok_and(|links| links > 0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.ends.store(true, Ordering::Release);
        // Wakes the thread: its accept(2) fails now.
        let _ = rustix::net::shutdown(self.accepting.listener.as_fd(), rustix::net::Shutdown::Both);
    }
}

/// The part that speaks Binder.
fn rpc_server(
    servers: &Servers,
    file: &ServerFile,
    options: &Options,
    services: Arc<Services>,
) -> Result<Arc<RpcServer>> {
    // It wants a listener of its own, which nobody is to reach: it looks at that one 200 times a second if it
    // is run, and has no say in who is let in before a thread is started for him. So it gets a socket whose
    // name is gone, and connections from ours.
    let unused = file.unused();
    let rpc = servers
        .with_path(&unused, |path| RpcServer::setup_unix_server(path))
        .map_err(Error::binder("make the server of a process's services"));
    servers.remove(&unused);
    let rpc = rpc?;
    rpc.set_android13plus(WIRE);
    rpc.set_supported_fd_modes(&[FileDescriptorTransportMode::Unix]);
    rpc.set_max_threads(THREADS);
    rpc.set_reply_timeout(options.timeout);
    let directory = Interface::as_binder(&Binder::new(ServiceDirectory(services)));
    rpc.set_root(directory).map_err(Error::binder("make the server of a process's services"))?;
    Ok(rpc)
}

impl Accepting {
    /// Ends only with the server. Waiting costs nothing, and no error is met twice in a row without a pause.
    fn run(&self) {
        let mut fails = false;
        loop {
            let accepted = self.listener.accept();
            if self.ends.load(Ordering::Acquire) {
                return;
            }
            let admitted = accepted.map_err(rsbinder::rpc::RpcError::from).and_then(|(stream, _)| {
                let transport = UnixTransport::from_stream(stream)?;
                Ok(self.admission.admit(transport))
            });
            let failed = fails;
            fails = admitted.is_err();
            match admitted {
                Ok(Some(transport)) => self.rpc.serve_connection(Box::new(transport)),
                Ok(None) => {}
                Err(error) => {
                    // Once, not for as long as it goes on.
                    if !failed {
                        log::warn!("accepting a connection to services: {error}");
                    }
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }
}
