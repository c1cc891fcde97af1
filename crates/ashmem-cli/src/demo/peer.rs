//! The viewer as its owner sees it: a child process that answers requests.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ashmem_binder::rsbinder::{Endpoint, SIBinder, Uri};
use ashmem_binder::{HeapFlags, MemoryHeapBase, ServiceManager};
use tempfile::TempDir;

use super::channel::{Channel, ChannelError};
use super::digest::DigestKind;
use super::viewer::{OWNER, Reply, Request, service_of};
use super::{Error, VIEWER_COMMAND};

/// How long the viewer may think, whatever the size.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes for which it gets another second. The slowest machine digests more.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// The viewer process. It ends with this value, on every path.
pub struct Peer {
    channel: Channel,
    child: Child,
    services: Services,
}

/// Where the viewer finds what is shared with it, and nobody else does.
struct Services {
    manager: ServiceManager,
    _directory: TempDir,
}

impl Services {
    fn new() -> Result<Services, Error> {
        let directory =
            tempfile::Builder::new().prefix("ashmem-demo-").tempdir().map_err(Error::Directory)?;
        // Its path may be any bytes, and an address has `%` for those.
        let path = directory.path().join("services");
        let address = Uri::new(Endpoint::unix(path)).to_string();
        Ok(Services { manager: ServiceManager::at(&address)?, _directory: directory })
    }
}

impl Peer {
    /// Starts a viewer, and waits until it is there and has met this process.
    pub fn spawn() -> Result<Peer, Error> {
        let services = Services::new()?;
        let hello = MemoryHeapBase::create(OWNER, 1, HeapFlags::empty())?;
        services.manager.add_service(OWNER, &hello.binder())?;
        let (ours, theirs) = UnixStream::pair().map_err(ChannelError::from).map_err(Error::Channel)?;
        let channel = Channel::new(ours).map_err(Error::Channel)?;
        let child = Command::new(own_executable())
            .arg(VIEWER_COMMAND)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(Error::Spawn)?;
        let mut peer = Peer { channel, child, services };
        // So that its start, and how it gets to know this process, are in nobody's time.
        match peer.ask(&Request::Meet { address: peer.services.manager.address() }, 0)? {
            Reply::Met => Ok(peer),
            other => Err(unexpected(other)),
        }
    }

    /// The viewer's process number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Serves a heap, and has the viewer find and map it.
    pub fn map(&mut self, region: usize, size: u64, heap: &SIBinder) -> Result<(), Error> {
        self.services.manager.add_service(&service_of(region), heap)?;
        match self.ask(&Request::Map { region, size }, size)? {
            Reply::Mapped => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Has the viewer digest a region in place.
    pub fn digest_region(&mut self, region: usize, kind: DigestKind, size: u64) -> Result<String, Error> {
        digest(self.ask(&Request::DigestRegion { region, kind }, size)?)
    }

    /// Has the viewer digest `size` bytes that `send` sends.
    pub fn digest_stream(
        &mut self,
        kind: DigestKind,
        size: u64,
        send: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<String, Error> {
        let sent = self.channel.send(&Request::DigestStream { size, kind });
        self.check(sent)?;
        send(&mut |bytes| {
            let sent = self.channel.send_bytes(bytes);
            self.check(sent)
        })?;
        digest(self.reply(size)?)
    }

    fn ask(&mut self, request: &Request, size: u64) -> Result<Reply, Error> {
        let sent = self.channel.send(request);
        self.check(sent)?;
        self.reply(size)
    }

    fn reply(&mut self, size: u64) -> Result<Reply, Error> {
        let patience = PATIENCE + Duration::from_secs(size / BYTES_PER_SECOND);
        let received = self
            .channel
            .set_patience(Some(patience))
            .and_then(|()| self.channel.receive::<Reply>()?.ok_or(ChannelError::Closed));
        self.check(received)
    }

    /// Says how the viewer ended when that is why the channel failed.
    fn check<T>(&mut self, result: Result<T, ChannelError>) -> Result<T, Error> {
        result.map_err(|error| match error {
            ChannelError::Closed => match self.end() {
                Some(status) => Error::ViewerEnded(status),
                None => Error::Channel(ChannelError::Closed),
            },
            other => Error::Channel(other),
        })
    }

    /// Ends the viewer, which has nothing to lose, and reaps it. One that has ended before keeps its own exit status.
    fn end(&mut self) -> Option<std::process::ExitStatus> {
        // Fails only for a child that is reaped already.
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// This program. The link in `/proc` leads to it even when its file was replaced or deleted meanwhile.
pub fn own_executable() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    std::env::current_exe().ok().filter(|path| path.is_file()).unwrap_or(link)
}

fn digest(reply: Reply) -> Result<String, Error> {
    match reply {
        Reply::Digest(digest) => Ok(digest),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Failed(reason) => Error::ViewerRefused(reason),
        Reply::Met | Reply::Mapped | Reply::Digest(_) => Error::WrongReply,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A peer whose end of the socket is in this process, and a child that ends at once.
    fn peer_with(child: &str) -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new("sh").args(["-c", child]).spawn().unwrap();
        (Peer { channel: Channel::new(ours).unwrap(), child, services: Services::new().unwrap() }, theirs)
    }

    #[test]
    fn a_dead_viewer_is_told_by_its_status() {
        let (mut peer, theirs) = peer_with("exit 3");
        peer.child.wait().unwrap();
        drop(theirs);
        let error = peer.digest_region(0, DigestKind::Sha256, 1).unwrap_err();
        assert!(matches!(error, Error::ViewerEnded(status) if status.code() == Some(3)), "{error:?}");
    }

    #[test]
    fn a_wrong_answer_is_told() {
        let answer = |reply: &'static str| {
            let (mut peer, theirs) = peer_with("exec sleep 1000");
            let theirs = Channel::new(theirs).unwrap();
            let answering = thread::spawn(move || {
                theirs.receive::<Request>().unwrap();
                theirs.send(&serde_json::from_str::<serde_json::Value>(reply).unwrap()).unwrap();
            });
            let result = peer.digest_region(0, DigestKind::Sha256, 1);
            answering.join().unwrap();
            result
        };
        assert_eq!(answer(r#"{"digest":"abc"}"#).unwrap(), "abc");
        assert!(matches!(answer(r#""mapped""#), Err(Error::WrongReply)));
        assert!(matches!(answer(r#"{"failed":"no"}"#), Err(Error::ViewerRefused(reason)) if reason == "no"));
        assert!(matches!(answer("7"), Err(Error::Channel(ChannelError::Nonsense(_)))));
    }

    #[test]
    fn the_viewer_is_reaped() {
        let (peer, _theirs) = peer_with("exec sleep 1000");
        let directory = PathBuf::from(format!("/proc/{}", peer.process()));
        assert!(directory.exists());
        drop(peer);
        assert!(!directory.exists());
    }
}
