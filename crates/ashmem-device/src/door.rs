//! The socket that programs come to the server through.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ashmem::driver::{device, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::run::{ATTACH, ATTACHED, HELLO, WELCOME};
use crate::server::Server;

/// How long somebody who has connected may take to say something.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many may be connected at a time.
const CONNECTIONS_MAX: usize = 64;

/// Serves who comes to a socket that listens, until nobody has been there and nothing was held for `idle`, or for ever.
///
/// # Errors
/// Those of `accept(2)` that do not pass.
pub fn serve_socket(server: &Arc<Server>, listener: impl AsFd, idle: Option<Duration>) -> Result<(), Errno> {
    let connections = Arc::new(());
    let mut since = Instant::now();
    loop {
        let mut events = [PollFd::new(&listener, PollFlags::IN)];
        let nap = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut events, idle.is_some().then_some(&nap)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        // An area can be held by who is no client, or be on its way to one.
        if server.attached() > 0 || server.areas() > 0 || Arc::strong_count(&connections) > 1 {
            since = Instant::now();
        }
        if events[0].revents().contains(PollFlags::IN) {
            since = Instant::now();
            match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                // More are turned away: they say so, or try again.
                Ok(_) if Arc::strong_count(&connections) > CONNECTIONS_MAX => {}
                Ok(connection) => {
                    let (server, connected) = (server.clone(), connections.clone());
                    let serve = move || {
                        serve_connection(&server, &connection);
                        drop(connected);
                    };
                    // Without a thread the connection is dropped, which says enough.
                    let _ = thread::Builder::new().name("ashmem-connection".into()).spawn(serve);
                }
                // Who had come is gone, or descriptors are short for a moment.
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(errno) => return Err(errno),
            }
        } else if idle.is_some_and(|idle| since.elapsed() >= idle) {
            return Ok(());
        }
    }
}

/// Answers one connection's packets until its end.
pub fn serve_connection(server: &Server, connection: &OwnedFd) {
    if !is_welcome(connection) {
        return;
    }
    let mut give_up = Instant::now() + PATIENCE;
    loop {
        match socket::receive(connection) {
            Ok(Some(packet)) => {
                if answer(server, connection, packet).is_none() {
                    return;
                }
                give_up = Instant::now() + PATIENCE;
            }
            Ok(None) => return,
            Err(Errno::AGAIN) if Instant::now() < give_up => {
                let mut events = [PollFd::new(connection, PollFlags::IN)];
                let _ = poll(&mut events, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
            }
            Err(_) => return,
        }
    }
}

/// The server's own user and root.
fn is_welcome(connection: &OwnedFd) -> bool {
    let own = rustix::process::geteuid().as_raw();
    ashmem::driver::peer::peer(connection).is_ok_and(|peer| peer.user == own || peer.user == 0)
}

fn answer(server: &Server, connection: &OwnedFd, packet: socket::Packet) -> Option<()> {
    if packet.bytes == HELLO {
        return socket::send(connection, WELCOME, &[]).ok();
    }
    if packet.bytes != ATTACH {
        // Anything else ends the connection.
        let contents = device::parse(packet).ok()?;
        let state = server.state_of(&contents);
        return device::reply(connection, state.as_ref().map(AsFd::as_fd)).ok();
    }
    let listener = packet.descriptors.into_iter().next()?;
    let answer: &[u8] = match server.attach(listener) {
        Ok(()) => ATTACHED,
        Err(errno) => {
            log::warn!("a program cannot be attached: {errno}");
            b"refused"
        }
    };
    socket::send(connection, answer, &[]).ok()
}
