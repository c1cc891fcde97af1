//! The calling side: one session with each process whose services are used here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rsbinder::StatusCode;
use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{FileDescriptorTransportMode, PeerIdentity, RpcClientConfig, RpcSession, RpcTransport};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::connection::{Calls, Connection};
use super::directory::{Directory, Servers};
use super::options::Options;
use super::process::{Process, SessionKey, lock};
use super::server::WIRE;
use super::server_file::ServerFile;
use crate::{Error, Result};

const OPERATION: &str = "connect to the process that serves it";
/// A process that lives answers each step of a connection at once, unless it is stopped.
const CONNECT: Duration = Duration::from_secs(10);

/// The session with a process, made if there is none.
pub(super) fn session(
    process: &Process,
    directory: &Directory,
    servers: &Servers,
    server: &ServerFile,
    options: &Options,
) -> Result<Arc<RpcSession>> {
    let key: SessionKey = (directory.id, server.clone(), options.clone());
    if let Some(session) = process.session(&key) {
        return Ok(session);
    }
    let turn = process.turn(&key);
    let _turn = lock(&turn);
    if let Some(session) = process.session(&key) {
        return Ok(session);
    }
    let session = connect(directory, servers, server, options)?;
    Ok(process.keep_session(key, Arc::new(session)))
}

fn connect(
    directory: &Directory,
    servers: &Servers,
    server: &ServerFile,
    options: &Options,
) -> Result<RpcSession> {
    let step = options.timeout.map_or(CONNECT, |timeout| timeout.min(CONNECT));
    let failed = Mutex::new(None);
    let calling = Calling::default();
    let open = |is_timed: Option<Arc<AtomicBool>>| -> rsbinder::Result<Box<dyn RpcTransport>> {
        let opened = open(directory, servers, server, options, step).map(|(transport, socket)| {
            if is_timed.is_some() {
                lock(&calling.sockets).push(socket);
            }
            let calls = is_timed.map(|is_timed| Calls::new(is_timed, step, options.timeout));
            Box::new(Connection::to_server(transport, calls)) as Box<dyn RpcTransport>
        });
        opened.map_err(|error| {
            let status = error.status();
            *lock(&failed) = Some(error);
            status
        })
    };
    let open_calling = || open(Some(calling.is_timed.clone()));
    let config =
        RpcClientConfig::new(WIRE, open_calling).fd_mode(FileDescriptorTransportMode::Unix).timeout(step);
    let session = RpcSession::setup_client_android13plus_with_config(config).and_then(|session| {
        let widened = session.get_session_id().and_then(|id| {
            for _ in 1..session.negotiate(options.outgoing)? {
                let config = RpcClientConfig::new(WIRE, open_calling).session_id(&id);
                session.add_outgoing_connection_with_config(config)?;
            }
            // On which the server calls. With one, its end is noticed at once: `link_to_death` needs that.
            let config = RpcClientConfig::new(WIRE, || open(None)).session_id(&id);
            session.add_incoming_connection_with_config(config)
        });
        match widened {
            Ok(_) => Ok(session),
            Err(status) => {
                session.close_session();
                Err(status)
            }
        }
    });
    match (session, failed.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        (Ok(session), _) => {
            if let Err(error) = calling.set_timeout(options.timeout) {
                session.close_session();
                return Err(Error::system(OPERATION)(error));
            }
            session.set_timeout(None);
            Ok(session)
        }
        (Err(_), Some(error)) => Err(error),
        // It closes connections that it does not want: of users whom it does not trust, or too many.
        (Err(StatusCode::DeadObject), None) => Err(Error::system(OPERATION)(rustix::io::Errno::CONNREFUSED)),
        // Stopped, perhaps.
        (Err(StatusCode::TimedOut), None) => Err(Error::system(OPERATION)(rustix::io::Errno::TIMEDOUT)),
        (Err(status), None) => Err(Error::binder(OPERATION)(status)),
    }
}

/// The connections that calls are made on. Nothing is read there but answers, so how long a call may take is set at their
/// sockets, once: rsbinder would set and clear that for each call, which is a sixth of its time.
#[derive(Default)]
struct Calling {
    sockets: Mutex<Vec<UnixStream>>,
    is_timed: Arc<AtomicBool>,
}

impl Calling {
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.is_timed.store(true, Ordering::Relaxed);
        lock(&self.sockets).iter().try_for_each(|socket| {
            socket.set_read_timeout(timeout)?;
            socket.set_write_timeout(timeout)
        })
    }
}

/// One connection, to a process of a user whom we trust, and another descriptor of its socket.
fn open(
    directory: &Directory,
    servers: &Servers,
    server: &ServerFile,
    options: &Options,
    timeout: Duration,
) -> Result<(UnixTransport, UnixStream)> {
    let socket = servers.with_path(server.socket(), |path| connect_socket(path, timeout));
    let socket = UnixStream::from(socket.map_err(Error::system(OPERATION))?);
    let same = socket.try_clone().map_err(Error::system(OPERATION))?;
    let transport = UnixTransport::from_stream(socket).map_err(StatusCode::from);
    let transport = transport.map_err(Error::binder(OPERATION))?;
    match transport.peer_identity() {
        PeerIdentity::Local { uid, .. } if options.trusts(uid) => Ok((transport, same)),
        _ => Err(Error::NotPrivate {
            path: directory.path().to_owned(),
            reason: "what answers there is another user's",
        }),
    }
}

fn connect_socket(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Also what connect(2) waits for: that of a stopped process does when its queue is full.
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    let address = SocketAddrUnix::new(path)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket)
}
