//! A driver daemon that says what a test wants.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ashmem::driver::protocol::{Question, Reply, Request, VERSION};
use ashmem::driver::socket::{receive, send};
use ashmem_driver::Snapshot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// What the daemon says of itself; changed while it runs.
pub type Said = Arc<Mutex<Snapshot>>;

/// Ends, and leaves its socket behind as a killed daemon does, on drop.
pub struct Daemon {
    pub said: Said,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(path: &Path, snapshot: Snapshot) -> Daemon {
        let said = Arc::new(Mutex::new(snapshot));
        let is_over = Arc::new(AtomicBool::new(false));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let new: PathBuf = path.with_extension("new");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&new).unwrap()).unwrap();
        rustix::net::listen(&listener, 10).unwrap();
        std::fs::rename(new, path).unwrap();
        let (words, over) = (Arc::clone(&said), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                is_readable(&listener);
                if let Ok(socket) = rustix::net::accept_with(&listener, flags) {
                    let (words, over) = (Arc::clone(&words), Arc::clone(&over));
                    thread::spawn(move || serve(&socket, &words, &over));
                }
            }
        });
        Daemon { said, is_over, thread: Some(thread) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for something to read, for a moment.
fn is_readable(socket: &OwnedFd) {
    let moment = Timespec::try_from(Duration::from_millis(20)).unwrap();
    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&moment));
}

fn serve(socket: &OwnedFd, said: &Said, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let packet = match receive(socket) {
            Ok(Some(packet)) => packet,
            Err(Errno::AGAIN) => {
                is_readable(socket);
                continue;
            }
            _ => return,
        };
        let (reply, document) = match Request::decode(&packet.bytes).unwrap() {
            Request::Hello { .. } => (Reply::Welcome { version: VERSION, sees_limits: true }, None),
            Request::Ask(question) => {
                let snapshot = said.lock().unwrap().clone();
                let text = match question {
                    Question::Snapshot => serde_json::to_string(&snapshot).unwrap(),
                    Question::Metrics => format!("ashmem_purges_total {}\n", snapshot.counters.purges),
                };
                (Reply::Answer(text.len() as u64), Some(document(&text)))
            }
            other => panic!("{other:?}"),
        };
        let descriptors: Vec<_> = document.iter().map(AsFd::as_fd).collect();
        let _ = send(socket, &reply.encode(), &descriptors);
    }
}

fn document(text: &str) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"answer", flags).unwrap();
    assert_eq!(rustix::io::pwrite(&file, text.as_bytes(), 0), Ok(text.len()));
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).unwrap();
    file
}
