//! Clients that say nothing, half of what they should, or nonsense: those who behave are answered, and no
//! descriptor is lost.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod service_common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::service_common::{LONG, Place, Worker, eventually};

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn worker() {
    service_common::work();
}

/// A server with its threads and descriptors as they are when nobody is connected.
struct Server {
    worker: Worker,
    socket: PathBuf,
    descriptors: usize,
    threads: usize,
}

impl Server {
    fn start(place: &Place, role: &str) -> Server {
        let mut worker = Worker::start(&place.address, &format!("{role} a"));
        assert_eq!(worker.says(), "ready");
        let socket = place.path().join(fs::read_link(place.path().join("a")).expect("a link"));
        let mut server = Server { worker, socket, descriptors: 0, threads: 0 };
        (server.descriptors, server.threads) = server.now();
        server
    }

    fn now(&self) -> (usize, usize) {
        let threads = fs::read_dir(format!("/proc/{}/task", self.worker.id())).expect("alive").count();
        (self.worker.descriptors(), threads)
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).expect("accepted, or waiting for it")
    }

    /// Another process is answered.
    fn answers(&self, place: &Place) {
        assert_eq!(Worker::start(&place.address, "call a").says(), self.worker.id().to_string());
    }

    fn is_back(&self) {
        eventually("all connections are forgotten", || self.now() == (self.descriptors, self.threads));
    }
}

fn connections(wanted: usize) -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raised");
    let most = maximum.map_or(wanted, |most| usize::try_from(most).unwrap_or(wanted).saturating_sub(200));
    wanted.min(most)
}

/// What a client sends first: version 2, descriptors may be passed, a new session.
const HEADER: [u8; 16] = [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// And when that was answered.
const INIT: &[u8; 8] = b"cci\0\0\0\0\0";

#[test]
fn a_flood_that_says_nothing_stops_nobody() {
    let place = Place::new();
    let server = Server::start(&place, "serve");
    let (mut early, count) = (Worker::start(&place.address, "call a"), connections(2000));
    assert_eq!(early.says(), server.worker.id().to_string());
    let flood: Vec<_> = (0..count).map(|_| server.connect()).collect();
    server.answers(&place);
    assert!(server.now().0 < server.descriptors + 200, "one process has only so many connections");
    early.tell("again");
    assert_eq!(early.says(), server.worker.id().to_string());
    drop(flood);
    early.kill();
    server.is_back();
    server.answers(&place);
}

#[test]
fn a_server_without_descriptors_recovers() {
    let place = Place::new();
    let server = Server::start(&place, "few");
    let flood: Vec<_> = (0..100).map(|_| server.connect()).collect();
    eventually("it is full", || server.now().0 >= 30);
    drop(flood);
    server.is_back();
    server.answers(&place);
}

#[test]
fn half_a_conversation_harms_nobody() {
    let place = Place::new();
    let server = Server::start(&place, "serve");
    let transaction = |size: u32, sent: usize| {
        let mut message = vec![0; 16];
        message[4..8].copy_from_slice(&size.to_le_bytes());
        message.resize(16 + sent, 0xee);
        message
    };
    let garbage: Vec<u8> =
        (0..4096u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut first: Vec<Vec<u8>> = (1..HEADER.len()).map(|length| HEADER[..length].to_vec()).collect();
    first.extend([garbage.clone(), vec![0; 64], vec![0xff; 64]]);
    let mut wrong_id = HEADER.to_vec();
    wrong_id[14] = 32;
    first.push([wrong_id.clone(), vec![7; 32]].concat());
    first.push(wrong_id);
    let mut later: Vec<Vec<u8>> = vec![
        transaction(0, 0),
        transaction(1000, 10),
        transaction(u32::MAX, 100),
        transaction(64 << 20, 100),
        transaction(40, 40),
        garbage,
        vec![0xff; 64],
        INIT.to_vec(),
    ];
    later.extend((1..16).map(|length| transaction(40, 40)[..length].to_vec()));
    for round in 0..3 {
        for bytes in &first {
            // It may have closed already.
            let _ = server.connect().write_all(bytes);
        }
        for bytes in &later {
            let mut stream = server.connect();
            stream.set_read_timeout(Some(LONG)).expect("valid");
            stream.write_all(&HEADER).expect("sent");
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).expect("answered");
            let _ = stream.write_all(INIT).and_then(|()| stream.write_all(bytes));
            if round == 1 {
                // Not a word more, and no end either, until it is closed or all is well.
                stream.set_read_timeout(Some(Duration::from_millis(20))).expect("valid");
                let _ = stream.read(&mut answer);
            }
        }
        server.answers(&place);
    }
    server.is_back();
}
