//! The viewer: the process that finds the owner's heaps, maps them, and says what it sees.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ashmem::Mapping;
use ashmem_binder::{BpMemoryHeap, ServiceManager};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, ChannelError};
use super::digest::{DigestKind, Digester, WINDOW};

/// The service by which the viewer meets the owner.
pub const OWNER: &str = "owner";

/// The service that is a region.
pub fn service_of(region: usize) -> String {
    format!("region-{region}")
}

/// What the owner asks. Regions are numbered in the order in which they are shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Meet the owner, among the services at this address.
    Meet {
        /// Where.
        address: String,
    },
    /// Find a region, and map it.
    Map {
        /// Its number.
        region: usize,
        /// Its size in bytes.
        size: u64,
    },
    /// Digest a region, in place.
    DigestRegion {
        /// Its number.
        region: usize,
        /// How.
        kind: DigestKind,
    },
    /// Digest the raw bytes that follow this message.
    DigestStream {
        /// How many.
        size: u64,
        /// How.
        kind: DigestKind,
    },
}

/// What the viewer answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The owner is met.
    Met,
    /// The region is mapped.
    Mapped,
    /// The digest in hexadecimal.
    Digest(String),
    /// It did not work, and why.
    Failed(String),
}

/// Why a request could not be met. The connection is still in order.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Region(#[from] ashmem::Error),
    #[error(transparent)]
    Binder(#[from] ashmem_binder::Error),
    #[error("{0}")]
    Request(&'static str),
}

/// Answers over standard input, which is a socket, until the owner closes it or dies.
pub fn run() -> Result<(), ChannelError> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    match serve(&Channel::new(UnixStream::from(descriptor))?) {
        // In the middle of a request: the owner has died, and nobody is left to be told.
        Err(ChannelError::Closed) => Ok(()),
        end => end,
    }
}

fn serve(channel: &Channel) -> Result<(), ChannelError> {
    let mut view = View { services: None, heaps: Vec::new(), window: vec![0; WINDOW] };
    while let Some(request) = channel.receive::<Request>()? {
        let answer = match request {
            Request::Meet { address } => view.meet(&address),
            Request::Map { region, size } => view.map(region, size),
            Request::DigestRegion { region, kind } => view.digest_region(region, kind),
            Request::DigestStream { size, kind } => Ok(view.digest_stream(channel, size, kind)?),
        };
        let reply = answer.unwrap_or_else(|refusal| Reply::Failed(refusal.to_string()));
        channel.send(&reply)?;
    }
    Ok(())
}

/// What the viewer has: heaps, each of which it has mapped, and a window through which the bytes pass.
struct View {
    services: Option<ServiceManager>,
    heaps: Vec<BpMemoryHeap>,
    window: Vec<u8>,
}

impl View {
    fn meet(&mut self, address: &str) -> Result<Reply, Refusal> {
        self.services = Some(ServiceManager::at(address)?);
        self.find(OWNER)?;
        Ok(Reply::Met)
    }

    fn find(&self, name: &str) -> Result<BpMemoryHeap, Refusal> {
        let services = self.services.as_ref().ok_or(Refusal::Request("the owner was not met"))?;
        let binder = services.check_service(name)?.ok_or(Refusal::Request("no such region is served"))?;
        let heap = BpMemoryHeap::from_binder(&binder)?;
        // Asks, and maps it.
        heap.heap()?;
        Ok(heap)
    }

    fn map(&mut self, number: usize, size: u64) -> Result<Reply, Refusal> {
        let heap = self.find(&service_of(number))?;
        if heap.heap()?.size() != size || number != self.heaps.len() {
            return Err(Refusal::Request("the heap is not the region that was announced"));
        }
        self.heaps.push(heap);
        Ok(Reply::Mapped)
    }

    /// The owner may write at any moment, so there is no slice of the mapping: its bytes pass through the window, which stays
    /// in the processor's cache.
    fn digest_region(&mut self, number: usize, kind: DigestKind) -> Result<Reply, Refusal> {
        let heap = self.heaps.get(number).ok_or(Refusal::Request("no such region"))?;
        Ok(Reply::Digest(digest_mapping(heap.heap()?.mapping()?, kind, &mut self.window)?))
    }

    fn digest_stream(
        &mut self,
        channel: &Channel,
        size: u64,
        kind: DigestKind,
    ) -> Result<Reply, ChannelError> {
        let mut digester = Digester::new(kind);
        let mut left = size;
        while left > 0 {
            let len = usize::try_from(left).map_or(WINDOW, |left| left.min(WINDOW));
            channel.receive_bytes(&mut self.window[..len])?;
            digester.update(&self.window[..len]);
            left -= len as u64;
        }
        Ok(Reply::Digest(digester.finish()))
    }
}

/// Digests a mapping through `window`.
pub fn digest_mapping(mapping: &Mapping, kind: DigestKind, window: &mut [u8]) -> ashmem::Result<String> {
    let mut digester = Digester::new(kind);
    let mut offset = 0;
    while offset < mapping.len() {
        let len = usize::try_from(mapping.len() - offset).map_or(window.len(), |left| left.min(window.len()));
        mapping.read_at(offset, &mut window[..len])?;
        digester.update(&window[..len]);
        offset += len as u64;
    }
    Ok(digester.finish())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use ashmem_binder::{HeapFlags, MemoryHeapBase};
    use tempfile::TempDir;

    use super::*;

    /// Lets a viewer answer in a thread, and ends it.
    fn with_viewer(talk: impl FnOnce(&Channel)) -> Result<(), ChannelError> {
        let (owner, viewer) = UnixStream::pair().unwrap();
        let viewer = Channel::new(viewer).unwrap();
        let answering = thread::spawn(move || serve(&viewer));
        let owner = Channel::new(owner).unwrap();
        talk(&owner);
        drop(owner);
        answering.join().unwrap()
    }

    /// A heap that is region 0, and its owner.
    fn shared(bytes: &[u8]) -> (TempDir, ServiceManager) {
        let directory = tempfile::tempdir().unwrap();
        let services = ServiceManager::at(&format!("unix://{}/s", directory.path().display())).unwrap();
        let region = ashmem::Region::create("viewed", bytes.len() as u64).unwrap();
        region.map().unwrap().write_at(0, bytes).unwrap();
        let heap = MemoryHeapBase::from_region(region, HeapFlags::empty()).unwrap();
        services.add_service(&service_of(0), &heap.binder()).unwrap();
        services.add_service(OWNER, &heap.binder()).unwrap();
        (directory, services)
    }

    fn ask(channel: &Channel, request: &Request) -> Reply {
        channel.send(request).unwrap();
        channel.receive().unwrap().unwrap()
    }

    #[test]
    fn both_ways_give_the_same_digest() {
        let bytes: Vec<u8> = (0..2 * WINDOW + 77).map(|n| (n % 251) as u8).collect();
        let size = bytes.len() as u64;
        let (_directory, services) = shared(&bytes);
        with_viewer(|channel| {
            assert_eq!(ask(channel, &Request::Meet { address: services.address() }), Reply::Met);
            assert_eq!(ask(channel, &Request::Map { region: 0, size }), Reply::Mapped);
            for kind in [DigestKind::Sha256, DigestKind::WordSum] {
                let mut digester = Digester::new(kind);
                bytes.chunks(WINDOW).for_each(|window| digester.update(window));
                let expected = Reply::Digest(digester.finish());
                assert_eq!(ask(channel, &Request::DigestRegion { region: 0, kind }), expected);
                channel.send(&Request::DigestStream { size, kind }).unwrap();
                channel.send_bytes(&bytes).unwrap();
                assert_eq!(channel.receive::<Reply>().unwrap().unwrap(), expected);
            }
        })
        .unwrap();
    }

    #[test]
    fn wrong_requests_are_answered_and_survived() {
        let (directory, services) = shared(&[7; 10]);
        let nowhere = format!("unix://{}/nowhere", directory.path().display());
        let kind = DigestKind::Sha256;
        with_viewer(|channel| {
            for request in [
                Request::Map { region: 0, size: 10 },
                Request::Meet { address: "owner".to_owned() },
                Request::Meet { address: nowhere },
                Request::Map { region: 0, size: 10 },
            ] {
                assert!(matches!(ask(channel, &request), Reply::Failed(_)), "{request:?}");
            }
            assert_eq!(ask(channel, &Request::Meet { address: services.address() }), Reply::Met);
            for request in [
                Request::Map { region: 0, size: 11 },
                Request::Map { region: 1, size: 10 },
                Request::DigestRegion { region: 0, kind },
            ] {
                assert!(matches!(ask(channel, &request), Reply::Failed(_)), "{request:?}");
            }
            let map = Request::Map { region: 0, size: 10 };
            assert_eq!(ask(channel, &map), Reply::Mapped);
            assert!(matches!(ask(channel, &map), Reply::Failed(_)), "it has that one");
        })
        .unwrap();
    }

    #[test]
    fn nonsense_ends_it() {
        let end = with_viewer(|channel| channel.send(&"please").unwrap());
        assert!(matches!(end, Err(ChannelError::Nonsense(_))));
    }
}
