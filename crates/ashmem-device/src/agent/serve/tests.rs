//! The agent with runtimes that are threads of the test.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tempfile::TempDir;

use super::*;
use crate::sys::Instruction;

/// No test gets there; it only ends those that fail.
const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    path: PathBuf,
    attached: Receiver<(OwnedFd, ContainerState)>,
    agent: Agent,
    _dir: TempDir,
}

fn start(patience: Duration) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("agent.sock");
    let (sender, attached) = channel();
    let listener = Listener::bind(&path).expect("listening");
    let agent = Agent::start_with(listener, patience, move |fd, state| {
        if state.metadata == "refuse" {
            return Err(Errno::PERM);
        }
        sender.send((fd, state.clone())).map_err(|_| Errno::PIPE)
    });
    Fixture { path, attached, agent: agent.expect("started"), _dir: dir }
}

impl Fixture {
    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).expect("connected")
    }

    /// Sees that a container is served, whatever others do.
    fn serves(&self, id: &str) {
        let (fd, state) = self.attach(id);
        assert_eq!((state.state.id.as_str(), state.pid), (id, 7));
        drop(fd);
    }

    fn attach(&self, id: &str) -> (OwnedFd, ContainerState) {
        let listener = notifications();
        let stream = self.connect();
        send(&stream, state(id, &["seccompFd"]).as_bytes(), &[listener.as_fd()]);
        self.attached.recv_timeout(LONG).expect("attached")
    }
}

fn state(id: &str, fds: &[&str]) -> String {
    let state = serde_json::json!({
        "ociVersion": "1.0.2", "fds": fds, "pid": 7, "metadata": "ashmem",
        "state": { "ociVersion": "1.0.2", "id": id, "status": "creating", "pid": 7, "bundle": "/bundle" },
    });
    state.to_string()
}

fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

/// A descriptor of notifications, of a thread that has ended: `getpriority` would have been looked at.
fn notifications() -> OwnedFd {
    let line = |code, if_false, operand| Instruction { code, if_true: 0, if_false, operand };
    let program = [
        line(0x20, 0, 0),
        line(0x15, 1, libc::SYS_getpriority as u32),
        line(0x06, 0, libc::SECCOMP_RET_USER_NOTIF),
        line(0x06, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let installed = thread::spawn(move || crate::sys::install(&program)).join().expect("a thread");
    installed.expect("a filter")
}

fn ends(stream: &UnixStream) -> bool {
    stream.set_read_timeout(Some(LONG)).expect("set");
    matches!(rustix::io::read(stream, &mut [0; 1]), Ok(0) | Err(Errno::CONNRESET))
}

#[test]
fn the_descriptor_is_attached_with_its_state() {
    let fixture = start(LONG);
    let (fd, state) = fixture.attach("one");
    assert_eq!((state.state.bundle.as_str(), state.metadata.as_str()), ("/bundle", "ashmem"));
    assert!(crate::sys::Listener::new(fd).is_ok());
    let path = fixture.path.clone();
    drop(fixture);
    assert!(!path.exists());
}

#[test]
fn the_state_may_come_in_pieces_and_the_connection_stay_open() {
    let fixture = start(LONG);
    let text = state("pieces", &["a", "seccompFd", "b"]);
    let (first, rest) = text.as_bytes().split_at(5);
    let others = std::io::pipe().expect("a pipe");
    let mut stream = fixture.connect();
    send(&stream, first, &[others.0.as_fd(), notifications().as_fd(), others.1.as_fd()]);
    drop(others.1);
    for byte in rest {
        stream.write_all(&[*byte]).expect("written");
    }
    let (_fd, state) = fixture.attached.recv_timeout(LONG).expect("attached");
    assert_eq!(state.fds.len(), 3);
    // The other descriptors are closed, and the connection is.
    assert_eq!(rustix::io::read(&others.0, &mut [0; 1]), Ok(0));
    assert!(ends(&stream));
}

#[test]
fn many_containers_at_once() {
    let fixture = start(LONG);
    thread::scope(|scope| {
        for thread in 0..8 {
            let path = &fixture.path;
            scope.spawn(move || {
                for round in 0..20 {
                    let stream = UnixStream::connect(path).expect("connected");
                    let id = format!("{thread}-{round}");
                    send(&stream, state(&id, &["seccompFd"]).as_bytes(), &[notifications().as_fd()]);
                }
            });
        }
        let mut ids: Vec<String> =
            (0..160).map(|_| fixture.attached.recv_timeout(LONG).expect("attached").1.state.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 160);
    });
}

#[test]
fn hostile_runtimes_are_turned_away() {
    let fixture = start(LONG);
    let listener = notifications();
    let pipe = std::io::pipe().expect("a pipe");
    let good = state("hostile", &["seccompFd"]);
    let refused = good.replace("\"ashmem\"", "\"refuse\"");
    let nameless = state("hostile", &["other"]);
    let cases: [(&[u8], BorrowedFd<'_>); 7] = [
        (b"nonsense", listener.as_fd()),
        (b"{]", listener.as_fd()),
        (b"{\"fds\": 1}", listener.as_fd()),
        (&[0; 1000], listener.as_fd()),
        (good.as_bytes(), pipe.0.as_fd()),
        (nameless.as_bytes(), listener.as_fd()),
        (refused.as_bytes(), listener.as_fd()),
    ];
    for (bytes, descriptor) in cases {
        let stream = fixture.connect();
        send(&stream, bytes, &[descriptor]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(ends(&stream), "{}", String::from_utf8_lossy(bytes));
    }
    // Without descriptors, with too many, with nothing at all, too long, cut short.
    let stream = fixture.connect();
    (&stream).write_all(good.as_bytes()).expect("written");
    assert!(ends(&stream));
    let stream = fixture.connect();
    send(&stream, b"{", &[listener.as_fd(); 253]);
    send(&stream, b" ", &[listener.as_fd(); 253]);
    assert!(ends(&stream));
    drop(fixture.connect());
    let stream = fixture.connect();
    let _ = (&stream).write_all(b"{");
    let _ = (0..100).try_for_each(|_| (&stream).write_all(&[b' '; 1 << 16]));
    assert!(ends(&stream));
    let stream = fixture.connect();
    send(&stream, b"{\"fds\":", &[listener.as_fd()]);
    drop(stream);
    fixture.serves("after all of them");
    assert!(fixture.attached.try_recv().is_err(), "nobody else was attached");
}

#[test]
fn slow_runtimes_hold_up_nobody_and_have_to_go() {
    let fixture = start(Duration::from_millis(200));
    let slow = fixture.connect();
    send(&slow, b"{", &[notifications().as_fd()]);
    fixture.serves("in between");
    assert!(ends(&slow));
}

#[test]
fn a_flood_of_connections_pushes_out_the_oldest() {
    let fixture = start(LONG);
    let streams: Vec<UnixStream> = (0..CONNECTIONS).map(|_| fixture.connect()).collect();
    fixture.serves("in the flood");
    assert!(ends(&streams[0]));
    drop(streams);
    fixture.serves("after the flood");
}

#[test]
fn who_connects_is_known() {
    // A pair's peer is this process itself: whoever that is may send.
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let connection = Connection::new(ours.into(), Instant::now());
    assert_eq!(connection.expect("a connection").process, std::process::id() as i32);
    let (socket, _) = std::io::pipe().expect("a pipe");
    assert!(matches!(Connection::new(socket.into(), Instant::now()), Err((_, Refusal::Receive(_)))));
}

#[test]
fn the_end_waits_for_nobody() {
    let fixture = start(LONG);
    let stream = fixture.connect();
    send(&stream, b"{", &[notifications().as_fd()]);
    drop(fixture.agent);
    assert!(ends(&stream));
}
