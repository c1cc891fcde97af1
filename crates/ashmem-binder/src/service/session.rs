//! The calling side: one session with each process whose services are used here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rsbinder::StatusCode;
use rsbinder::rpc::transport::UnixTransport;
use rsbinder::rpc::{FileDescriptorTransportMode, PeerIdentity, RpcClientConfig, RpcSession, RpcTransport};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::directory::{Directory, Servers};
use super::options::Options;
use super::process::{Process, SessionKey};
use super::server::WIRE;
use super::server_file::ServerFile;
use crate::{Error, Result};

const OPERATION: &str = "connect to the process that serves it";
/// A process that lives answers each step of a connection at once, unless it is stopped.
const CONNECT: Duration = Duration::from_secs(10);
/// On which the server speaks first. With one, its end is noticed at once: `link_to_death` needs that.
const INCOMING: u32 = 1;

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
    // Two threads may both get here; the first one's is kept.
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
    let mut failed = None;
    let open = || {
        let opened = open(directory, servers, server, options, step);
        opened.map(|transport| Box::new(transport) as Box<dyn RpcTransport>).map_err(|error| {
            let status = error.status();
            failed = Some(error);
            status
        })
    };
    let config = RpcClientConfig::new(WIRE, open)
        .fd_mode(FileDescriptorTransportMode::Unix)
        .outgoing_connections(options.outgoing)
        .incoming_connections(INCOMING)
        .timeout(step);
    let session = RpcSession::setup_client_android13plus_with_config(config);
    match (session, failed) {
        (Ok(session), _) => {
            session.set_timeout(options.timeout);
            Ok(session)
        }
        (Err(_), Some(error)) => Err(error),
        // It closes connections that it does not want: of users whom it does not trust, or too many.
        (Err(StatusCode::DeadObject), None) => Err(Error::system(OPERATION)(rustix::io::Errno::CONNREFUSED)),
        (Err(status), None) => Err(Error::binder(OPERATION)(status)),
    }
}

/// One connection, to a process of a user whom we trust.
fn open(
    directory: &Directory,
    servers: &Servers,
    server: &ServerFile,
    options: &Options,
    timeout: Duration,
) -> Result<UnixTransport> {
    let socket = servers
        .with_path(server.socket(), |path| connect_socket(path, timeout))
        .map_err(Error::system(OPERATION))?;
    let transport = UnixTransport::from_stream(UnixStream::from(socket)).map_err(StatusCode::from);
    let transport = transport.map_err(Error::binder(OPERATION))?;
    match transport.peer_identity() {
        PeerIdentity::Local { uid, .. } if options.trusts(uid) => Ok(transport),
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
