//! The viewer: the process that receives descriptors, maps what they name, and says what it sees.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ashmem::{Mapping, Region};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, ChannelError};
use super::digest::{DigestKind, Digester, WINDOW};

/// What the owner asks. Regions are numbered in the order in which they are passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Map the region whose descriptor comes with this message.
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
    let mut view = View { mappings: Vec::new(), window: vec![0; WINDOW] };
    while let Some((request, descriptor)) = channel.receive::<Request>()? {
        let answer = match request {
            Request::Map { region, size } => view.map(region, size, descriptor),
            Request::DigestRegion { region, kind } => view.digest_region(region, kind),
            Request::DigestStream { size, kind } => Ok(view.digest_stream(channel, size, kind)?),
        };
        let reply = answer.unwrap_or_else(|refusal| Reply::Failed(refusal.to_string()));
        channel.send(&reply, None)?;
    }
    Ok(())
}

/// What the viewer has: mappings, and a window through which the bytes pass.
struct View {
    mappings: Vec<Mapping>,
    window: Vec<u8>,
}

impl View {
    fn map(&mut self, number: usize, size: u64, descriptor: Option<OwnedFd>) -> Result<Reply, Refusal> {
        let descriptor = descriptor.ok_or(Refusal::Request("no descriptor came with the region"))?;
        let region = Region::from_fd(descriptor)?;
        if region.size() != size || number != self.mappings.len() {
            return Err(Refusal::Request("the descriptor is not of the region that was announced"));
        }
        // The mapping keeps the memory; the descriptor can go.
        self.mappings.push(region.map_read_only()?);
        Ok(Reply::Mapped)
    }

    /// The owner may write at any moment, so there is no slice of the mapping: its bytes pass through the window, which stays
    /// in the processor's cache.
    fn digest_region(&mut self, number: usize, kind: DigestKind) -> Result<Reply, Refusal> {
        let mapping = self.mappings.get(number).ok_or(Refusal::Request("no such region"))?;
        Ok(Reply::Digest(digest_mapping(mapping, kind, &mut self.window)?))
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

    fn ask(channel: &Channel, request: &Request, descriptor: Option<&OwnedFd>) -> Reply {
        channel.send(request, descriptor.map(AsFd::as_fd)).unwrap();
        channel.receive().unwrap().unwrap().0
    }

    #[test]
    fn both_ways_give_the_same_digest() {
        let bytes: Vec<u8> = (0..2 * WINDOW + 77).map(|n| (n % 251) as u8).collect();
        let size = bytes.len() as u64;
        let region = Region::create("viewed", size).unwrap();
        region.map().unwrap().write_at(0, &bytes).unwrap();
        with_viewer(|channel| {
            let descriptor = region.share_read_only().unwrap();
            let mapped = ask(channel, &Request::Map { region: 0, size }, Some(&descriptor));
            assert_eq!(mapped, Reply::Mapped);
            for kind in [DigestKind::Sha256, DigestKind::WordSum] {
                let mut digester = Digester::new(kind);
                bytes.chunks(WINDOW).for_each(|window| digester.update(window));
                let expected = Reply::Digest(digester.finish());
                assert_eq!(ask(channel, &Request::DigestRegion { region: 0, kind }, None), expected);
                channel.send(&Request::DigestStream { size, kind }, None).unwrap();
                channel.send_bytes(&bytes).unwrap();
                assert_eq!(channel.receive::<Reply>().unwrap().unwrap().0, expected);
            }
        })
        .unwrap();
    }

    #[test]
    fn wrong_requests_are_answered_and_survived() {
        let region = Region::create("viewed", 10).unwrap();
        let descriptor = region.share_read_only().unwrap();
        let kind = DigestKind::Sha256;
        with_viewer(|channel| {
            for (request, descriptor) in [
                (Request::Map { region: 0, size: 10 }, None),
                (Request::Map { region: 0, size: 11 }, Some(&descriptor)),
                (Request::Map { region: 1, size: 10 }, Some(&descriptor)),
                (Request::DigestRegion { region: 0, kind }, None),
            ] {
                assert!(matches!(ask(channel, &request, descriptor), Reply::Failed(_)), "{request:?}");
            }
            let map = Request::Map { region: 0, size: 10 };
            assert_eq!(ask(channel, &map, Some(&descriptor)), Reply::Mapped);
        })
        .unwrap();
    }

    #[test]
    fn nonsense_ends_it() {
        let end = with_viewer(|channel| channel.send(&"please", None).unwrap());
        assert!(matches!(end, Err(ChannelError::Nonsense(_))));
    }
}
