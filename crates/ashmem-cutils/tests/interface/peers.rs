//! Processes in C, C++ and Rust that share one region over Unix sockets, and see each other's pins.
//!
//! The producer is `examples/c/producer.c`; the test is the consumer.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ashmem::{Contents, Mapping, PinStatus, Protection, Region, page_size};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::harness::{self, Link, compile, has, succeed};

const COUNT: u64 = 1 << 16;
const SIZE: u64 = COUNT * 8;

/// Another process, which does what it is asked in single letters: those that `producer.c` lists.
struct Peer {
    process: Child,
    socket: UnixStream,
}

impl Peer {
    fn start(program: &Path) -> Peer {
        let (socket, theirs) = UnixStream::pair().expect("sockets");
        // It ends when the socket is closed, also if this process is killed.
        let process = Command::new(program)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("it can be started");
        Peer { process, socket }
    }

    /// `producer.c`, and the region that it made.
    fn producer() -> Option<(Peer, Region)> {
        let mut peer = Peer::start(&compile_producer()?);
        let region = peer.receive();
        Some((peer, region))
    }

    fn receive(&mut self) -> Region {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let message =
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .expect("a message");
        assert_eq!(message.bytes, 1);
        let mut descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        Region::from_fd(descriptors.next().expect("a descriptor")).expect("a region")
    }

    fn send(&mut self, region: &Region) {
        let descriptors = [region.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let sent = sendmsg(&self.socket, &[IoSlice::new(b"d")], &mut control, SendFlags::empty());
        assert_eq!(sent.expect("sent"), 1);
    }

    fn ask(&mut self, request: char) -> i64 {
        self.socket.write_all(&[request as u8]).expect("sent");
        let mut answer = [0; 8];
        self.socket.read_exact(&mut answer).expect("an answer");
        i64::from_ne_bytes(answer)
    }

    /// It ends by itself, and with success.
    fn end(mut self) {
        self.socket.shutdown(std::net::Shutdown::Both).expect("shut down");
        assert!(self.process.wait().expect("a child").success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Also when the test fails. Fails only for a child that is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `producer.c` as its documentation says, once.
fn compile_producer() -> Option<PathBuf> {
    static PROGRAM: std::sync::OnceLock<Option<PathBuf>> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| compile_example("producer")).clone()
}

/// `examples/c/NAME.c`, with the options that pkg-config gives and no others but warnings.
fn compile_example(name: &str) -> Option<PathBuf> {
    let options = harness::package(&["--cflags", "--libs"])?;
    let program = harness::prefix()?.join("bin").join(name);
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c").join(name).with_extension("c");
    let mut command = Command::new("cc");
    command.arg(source).arg("-o").arg(&program).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    succeed(command.args(options));
    Some(program)
}

fn are_squares(mapping: &Mapping) -> bool {
    let bytes = mapping.read_vec(0, SIZE).expect("read");
    let mut numbers =
        bytes.chunks_exact(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("8 bytes")));
    (0..COUNT).all(|i| numbers.next() == Some(i * i))
}

fn are_zeros(mapping: &Mapping) -> bool {
    mapping.read_vec(0, SIZE).expect("read").iter().all(|byte| *byte == 0)
}

fn build(mapping: &Mapping) {
    let bytes: Vec<u8> = (0..COUNT).flat_map(|i| (i * i).to_ne_bytes()).collect();
    mapping.write_at(0, &bytes).expect("written");
}

#[test]
fn the_demo_says_what_it_sees() {
    let Some(program) = compile_example("demo") else { return };
    let output = succeed(Command::new(program).env_remove("LD_LIBRARY_PATH"));
    let said = "built: 1000000\n\
        unpinned: 1048576 bytes are in memory\n\
        purged: 1048576 bytes\n\
        pinned: they are gone (0)\n\
        built again: 1000000\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), said);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_producer_in_c_and_a_consumer_in_rust() {
    let Some((mut producer, region)) = Peer::producer() else { return };
    assert_eq!((region.size(), region.name().expect("named").to_str()), (SIZE, Some("shared squares")));
    let mapping = region.map().expect("mapped");
    assert!(are_squares(&mapping));

    // It unpins and purges; that is seen here.
    assert_eq!(region.pin_status(..).expect("asked"), PinStatus::Pinned);
    assert_eq!(producer.ask('u'), 0);
    assert_eq!(region.pin_status(..).expect("asked"), PinStatus::Unpinned);
    assert_eq!(producer.ask('p'), SIZE as i64);
    let stats = region.stats().expect("counted");
    assert_eq!((stats.purged_pages, stats.resident_bytes), (SIZE / page_size(), 0));
    assert!(are_zeros(&mapping));
    // Whoever pins learns of it, once.
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    assert_eq!(producer.ask('b'), 0);
    assert!(are_zeros(&mapping));

    // It builds what went.
    region.unpin(..).expect("unpinned");
    assert_eq!(producer.ask('p'), SIZE as i64);
    assert_eq!(producer.ask('b'), 1);
    assert!(are_squares(&mapping));
    assert_eq!(region.pin(..).expect("pinned"), Contents::Intact);

    // And the other way round: purged here, noticed there.
    assert_eq!(producer.ask('p'), 0);
    region.unpin(..).expect("unpinned");
    assert_eq!(region.purge().expect("purged"), SIZE);
    assert_eq!(producer.ask('b'), 1);
    assert!(are_squares(&mapping));
    assert_eq!(producer.ask('u'), 0);
    assert_eq!(region.purge().expect("purged"), SIZE);
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    build(&mapping);
    assert_eq!(producer.ask('b'), 0);

    // Holds count in both directions.
    assert_eq!(producer.ask('u'), 0);
    assert_eq!(producer.ask('h'), 0);
    assert_eq!(region.purge().expect("tried"), 0);
    assert_eq!(producer.ask('e'), 0);
    let lease = region.lease(..).expect("leased");
    assert_eq!((lease.contents(), producer.ask('p')), (Contents::Intact, 0));
    drop(lease);
    assert_eq!(producer.ask('p'), SIZE as i64);
    assert_eq!(producer.ask('h'), 1);
    assert_eq!(producer.ask('?'), -i64::from(rustix::io::Errno::INVAL.raw_os_error()));

    // The region stays when its maker is gone.
    producer.end();
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    build(&mapping);
    assert!(are_squares(&mapping));
}

#[test]
fn a_hold_ends_with_its_killed_process() {
    let Some((mut producer, region)) = Peer::producer() else { return };
    assert_eq!(producer.ask('u'), 0);
    assert_eq!(producer.ask('h'), 0);
    assert_eq!(region.purge().expect("tried"), 0);
    assert_eq!(region.pin_status(..).expect("asked"), PinStatus::Pinned);
    producer.process.kill().expect("killed");
    producer.process.wait().expect("a child");
    assert_eq!(region.pin_status(..).expect("asked"), PinStatus::Unpinned);
    assert_eq!(region.purge().expect("purged"), SIZE);
}

#[test]
fn three_processes_in_three_languages() {
    if !has("c++") {
        return;
    }
    let Some((mut in_c, region)) = Peer::producer() else { return };
    let Some(program) = compile("cpp_peer.cc", Link::Shared, &[]) else { return };
    let mut in_cpp = Peer::start(&program);
    in_cpp.send(&region);
    let mapping = region.map().expect("mapped");

    assert_eq!(in_cpp.ask('b'), 0);
    // Unpinned by one, purged by another, noticed and built by the third; each in each part.
    assert_eq!((in_c.ask('u'), in_cpp.ask('p')), (0, SIZE as i64));
    assert_eq!(region.pin(..).expect("pinned"), Contents::Purged);
    build(&mapping);
    assert_eq!((in_cpp.ask('u'), region.purge().expect("purged")), (0, SIZE));
    assert_eq!((in_c.ask('b'), in_cpp.ask('b')), (1, 0));
    assert!(are_squares(&mapping));
    region.unpin(..).expect("unpinned");
    assert_eq!((in_c.ask('p'), in_cpp.ask('b'), in_c.ask('b')), (SIZE as i64, 1, 0));
    assert!(are_squares(&mapping));

    // Each one's hold stops the others.
    assert_eq!((in_c.ask('u'), in_cpp.ask('h')), (0, 0));
    assert_eq!((in_c.ask('p'), region.purge().expect("tried")), (0, 0));
    assert_eq!((in_c.ask('h'), in_cpp.ask('e')), (0, 0));
    assert_eq!((in_cpp.ask('p'), in_c.ask('e')), (0, 0));

    // Protection that one takes away is gone for all, and what is read-only is not purged.
    assert_eq!(in_cpp.ask('r'), 0);
    assert_eq!(region.protection().expect("asked"), Protection::READ);
    assert!(region.map().is_err() && region.map_read_only().is_ok());
    let not_permitted = -i64::from(rustix::io::Errno::PERM.raw_os_error());
    assert_eq!((in_c.ask('p'), in_cpp.ask('p')), (not_permitted, not_permitted));
    assert!(are_squares(&mapping));
    // To take the same away again adds nothing.
    assert_eq!(in_c.ask('r'), 0);
    in_cpp.end();
    in_c.end();
}
