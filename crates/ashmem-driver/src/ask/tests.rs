//! A daemon that answers in every wrong way.

use std::os::fd::BorrowedFd;
use std::thread;

use ashmem::driver::socket::{receive, send};
use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::*;

/// What a server does with one connection.
type Role = fn(&OwnedFd);

/// Runs a server for one connection, and asks it for a snapshot.
fn ask(role: Role) -> Result<Option<Snapshot>, Error> {
    ask_in(role, Duration::from_secs(20))
}

fn ask_in(role: Role, patience: Duration) -> Result<Option<Snapshot>, Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("driver");
    let listener = listen(&path, SocketType::SEQPACKET);
    thread::scope(|scope| {
        scope.spawn(move || {
            let socket = rustix::net::accept(&listener).expect("a connection");
            role(&socket);
            // Until the other side goes.
            while hear(&socket).is_some() {}
        });
        Asked::at(&path, patience)?.map(Asked::snapshot).transpose()
    })
}

fn listen(path: &Path, kind: SocketType) -> OwnedFd {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("bound");
    rustix::net::listen(&socket, 1).expect("listening");
    socket
}

fn hear(socket: &OwnedFd) -> Option<Request> {
    loop {
        match receive(socket) {
            Ok(packet) => return Request::decode(&packet?.bytes),
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(socket, PollFlags::IN)], None).expect("polled");
            }
            Err(_) => return None,
        }
    }
}

fn say(socket: &OwnedFd, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
    send(socket, &reply.encode(), descriptors).expect("sent");
}

/// Answers the greeting, and waits for the question.
fn greet(socket: &OwnedFd) {
    assert_eq!(hear(socket), Some(Request::Hello { version: VERSION }));
    say(socket, &Reply::Welcome { version: VERSION, sees_limits: true }, &[]);
    assert_eq!(hear(socket), Some(Request::Ask(Question::Snapshot)));
}

fn document(text: &[u8], seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"answer", flags).expect("a memfd");
    assert_eq!(rustix::io::pwrite(&file, text, 0), Ok(text.len()));
    fcntl_add_seals(&file, seals).expect("sealed");
    file
}

const SEALED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

fn answer(socket: &OwnedFd, text: &[u8]) {
    say(socket, &Reply::Answer(text.len() as u64), &[document(text, SEALED).as_fd()]);
}

/// What an answer was said to be wrong with.
fn garbage(role: Role) -> String {
    match ask(role) {
        Err(Error::Garbage { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer() {
    let said = ask(|socket| {
        greet(socket);
        let said = Snapshot { process: 7, version: "1".to_owned(), ..Snapshot::default() };
        answer(socket, serde_json::to_string(&said).expect("a document").as_bytes());
    });
    let snapshot = said.expect("an answer").expect("a daemon");
    assert_eq!((snapshot.process, snapshot.version.as_str()), (7, "1"));
    // What a newer daemon says besides is passed over.
    let said = ask(|socket| {
        greet(socket);
        answer(socket, br#"{"process": 8, "news": [1]}"#);
    });
    assert_eq!(said.expect("an answer").expect("a daemon").process, 8);
}

#[test]
fn nobody_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (none, left) = (dir.path().join("none"), dir.path().join("left"));
    drop(listen(&left, SocketType::SEQPACKET));
    let found = Asked::find(&[none.clone(), left, dir.path().join("none/driver")]);
    assert!(matches!(found, Ok(None)), "{found:?}");
    assert!(matches!(Asked::find(&[]), Ok(None)));
}

#[test]
fn something_else_listens() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("driver");
    let _listener = listen(&path, SocketType::STREAM);
    let found = Asked::find(std::slice::from_ref(&path));
    assert!(matches!(&found, Err(Error::Connect { path: at, .. }) if *at == path), "{found:?}");
}

#[test]
fn a_later_socket_is_asked_when_the_first_is_no_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = ["wrong", "right"].map(|name| dir.path().join(name));
    let _wrong = listen(&paths[0], SocketType::STREAM);
    let right = listen(&paths[1], SocketType::SEQPACKET);
    thread::scope(|scope| {
        scope.spawn(|| greet(&rustix::net::accept(&right).expect("a connection")));
        let asked = Asked::find(&paths).expect("found").expect("a daemon");
        assert_eq!((asked.path(), asked.sees_limits()), (paths[1].as_path(), true));
        let _ = asked.snapshot();
    });
}

#[test]
fn other_versions() {
    let said = ask(|socket| say(socket, &Reply::Welcome { version: 77, sees_limits: false }, &[]));
    assert!(matches!(said, Err(Error::OtherVersion { version: 77, .. })), "{said:?}");
}

#[test]
fn declined() {
    let said = ask(|socket| {
        greet(socket);
        say(socket, &Reply::Declined(Reason::Exhausted), &[]);
    });
    assert!(matches!(said, Err(Error::Declined { reason: Reason::Exhausted, .. })), "{said:?}");
}

#[test]
fn a_busy_daemon_is_asked_again() {
    let said = ask(|socket| {
        greet(socket);
        for _ in 0..3 {
            say(socket, &Reply::Declined(Reason::Busy), &[]);
            assert_eq!(hear(socket), Some(Request::Ask(Question::Snapshot)));
        }
        answer(socket, b"{}");
    });
    assert!(matches!(said, Ok(Some(_))), "{said:?}");
    let said = ask_in(
        |socket| {
            greet(socket);
            say(socket, &Reply::Declined(Reason::Busy), &[]);
            while hear(socket).is_some() {
                say(socket, &Reply::Declined(Reason::Busy), &[]);
            }
        },
        Duration::from_millis(200),
    );
    assert!(matches!(said, Err(Error::Declined { reason: Reason::Busy, .. })), "{said:?}");
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let silent: [Role; 2] = [|_| {}, greet];
    for role in silent {
        let said = ask_in(role, Duration::from_millis(100));
        assert!(matches!(said, Err(Error::TimedOut { .. })), "{said:?}");
    }
    // Nobody is accepted, and there is room for two to wait.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("driver");
    let _listener = listen(&path, SocketType::SEQPACKET);
    let waiting: Vec<_> = std::iter::from_fn(|| socket::connect(&path).ok()).collect();
    assert!(!waiting.is_empty());
    let said = Asked::at(&path, Duration::from_millis(100));
    assert!(matches!(said, Err(Error::TimedOut { .. })), "{said:?}");
}

#[test]
fn who_goes_away() {
    let leave: [Role; 2] = [
        |socket| rustix::net::shutdown(socket, rustix::net::Shutdown::Both).expect("shut down"),
        |socket| {
            greet(socket);
            rustix::net::shutdown(socket, rustix::net::Shutdown::Both).expect("shut down");
        },
    ];
    for role in leave {
        let said = ask(role);
        assert!(matches!(said, Err(Error::Gone { .. })), "{said:?}");
    }
}

#[test]
fn words_that_are_no_answer() {
    assert!(garbage(|socket| say(socket, &Reply::Pong(1), &[])).contains("greets"));
    assert!(garbage(|socket| send(socket, b"hello", &[]).expect("sent")).contains("no message"));
    assert!(garbage(|socket| send(socket, &[0; 5000], &[]).expect("sent")).contains("no message"));
    let again = garbage(|socket| {
        greet(socket);
        // As many as are taken.
        let more = Reply::Welcome { version: VERSION, sees_limits: true }.encode();
        while send(socket, &more, &[]).is_ok() {}
    });
    assert!(again.contains("answers with"), "{again}");
}

#[test]
fn documents_that_are_no_answer() {
    const TEXT: &[u8] = br#"{"process": 1}"#;
    let none = garbage(|socket| {
        greet(socket);
        say(socket, &Reply::Answer(TEXT.len() as u64), &[]);
    });
    let two = garbage(|socket| {
        greet(socket);
        let document = document(TEXT, SEALED);
        say(socket, &Reply::Answer(TEXT.len() as u64), &[document.as_fd(), document.as_fd()]);
    });
    assert_eq!([none, two], ["an answer is one descriptor"; 2]);
    let loose: [Role; 3] = [
        |socket| {
            greet(socket);
            say(
                socket,
                &Reply::Answer(TEXT.len() as u64),
                &[document(TEXT, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).as_fd()],
            );
        },
        // Reading it would never end.
        |socket| {
            greet(socket);
            let (reader, _writer) = std::io::pipe().expect("a pipe");
            say(socket, &Reply::Answer(TEXT.len() as u64), &[reader.as_fd()]);
        },
        |socket| {
            greet(socket);
            let zero = std::fs::File::open("/dev/zero").expect("zeros");
            say(socket, &Reply::Answer(1 << 20), &[zero.as_fd()]);
        },
    ];
    for role in loose {
        assert_eq!(garbage(role), "the answer is not sealed");
    }
    let long: [Role; 2] = [
        |socket| {
            greet(socket);
            say(socket, &Reply::Answer(TEXT.len() as u64 + 1), &[document(TEXT, SEALED).as_fd()]);
        },
        |socket| {
            greet(socket);
            say(socket, &Reply::Answer(TEXT.len() as u64 - 1), &[document(TEXT, SEALED).as_fd()]);
        },
    ];
    for role in long {
        assert_eq!(garbage(role), "the answer is not as long as it was said to be");
    }
    let huge = garbage(|socket| {
        greet(socket);
        say(socket, &Reply::Answer(u64::MAX), &[document(TEXT, SEALED).as_fd()]);
    });
    assert_eq!(huge, "the answer is too long");
}

#[test]
fn texts_that_are_no_snapshot() {
    assert_eq!(
        garbage(|socket| {
            greet(socket);
            answer(socket, b"\xff\xfe");
        }),
        "the answer is no text"
    );
    let wrong: [Role; 4] = [
        |socket| {
            greet(socket);
            answer(socket, b"");
        },
        |socket| {
            greet(socket);
            answer(socket, br#"{"regions": 7}"#);
        },
        |socket| {
            greet(socket);
            answer(socket, br#"{"process": -1}"#);
        },
        |socket| {
            greet(socket);
            answer(socket, "[".repeat(1 << 20).as_bytes());
        },
    ];
    for role in wrong {
        assert!(garbage(role).starts_with("no document"));
    }
}

#[test]
fn strangers_are_told_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    // Who listens is who did so when it began: so begin as somebody else.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("driver");
    let stranger = rustix::process::Uid::from_raw(65_534);
    let root = rustix::process::Uid::ROOT;
    let heard = thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (path, listening) = (&path, path.clone());
        let server = scope.spawn(move || {
            // Of this thread alone.
            let listener = listen(&listening, SocketType::SEQPACKET);
            rustix::thread::set_thread_res_uid(root, stranger, root).expect("somebody else");
            rustix::net::listen(&listener, 1).expect("listening");
            rustix::thread::set_thread_res_uid(root, root, root).expect("root again");
            ready.send(()).expect("told");
            let socket = rustix::net::accept(&listener).expect("a connection");
            hear(&socket)
        });
        is_ready.recv().expect("ready");
        let found = Asked::at(path, PATIENCE);
        assert!(matches!(found, Err(Error::NotTrusted { .. })), "{found:?}");
        drop(found);
        server.join().expect("ended")
    });
    assert_eq!(heard, None, "not even a greeting");
}
