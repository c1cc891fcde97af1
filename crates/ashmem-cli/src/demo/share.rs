//! The first half of the story: every file becomes a region, the viewer maps it and digests it, and the same bytes go through a
//! socket for comparison.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use ashmem::{Mapping, Reclaimer, Region};
use ashmem_binder::{HeapFlags, MemoryHeapBase};

use super::digest::DigestKind;
use super::peer::Peer;
use super::source::{Fingerprint, Piece, Sources};
use super::{Error, Progress};
use crate::text::label;

/// A region with a piece of a file, which the viewer has mapped, too.
pub struct Shared {
    /// What is in it.
    pub piece: Piece,
    /// The region, as its owner has it.
    pub region: Region,
    /// The owner's mapping.
    pub mapping: Mapping,
    /// The digests of the file's bytes, worked out by the owner.
    pub fingerprint: Fingerprint,
    /// Whether every digest that the viewer made in shared memory was right.
    pub memory_sums_right: bool,
    /// Whether every digest that the viewer made of the stream was right.
    pub socket_sums_right: bool,
    /// Whether the viewer can only read it.
    pub read_only: bool,
    /// How long it took.
    pub times: Times,
}

/// How long everything took for one region, from the start to the viewer's answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Making the region and copying the file's bytes into it.
    pub fill: Duration,
    /// Serving the heap, until the viewer has mapped it.
    pub pass: Duration,
    /// All of `fill` and `pass`, and the viewer's SHA-256.
    pub memory_first: Duration,
    /// The viewer's SHA-256 of the region that it has already.
    pub memory_again: Duration,
    /// Sending the file's bytes through the socket, and the viewer's SHA-256 of them.
    pub socket: Duration,
    /// The viewer's word sum of the region that it has already.
    pub memory_again_word_sum: Duration,
    /// Sending the file's bytes through the socket, and the viewer's word sum of them.
    pub socket_word_sum: Duration,
}

/// Shares every piece. The files have been read by then (for their fingerprints), so that neither way of
/// transport waits for a disk.
pub fn share(
    sources: &Sources,
    pieces: Vec<Piece>,
    reclaimer: &Reclaimer,
    peer: &mut Peer,
    window: &mut [u8],
    progress: &Progress,
) -> Result<Vec<Shared>, Error> {
    let mut fingerprints = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        progress.say(&format!("reading {}", sources.name(piece)));
        fingerprints.push(sources.fingerprint(piece, window)?);
    }
    let mut all = Vec::with_capacity(pieces.len());
    for (number, (piece, fingerprint)) in pieces.into_iter().zip(fingerprints).enumerate() {
        progress.say(&format!("sharing {}", sources.name(&piece)));
        all.push(share_one(sources, piece, fingerprint, number, reclaimer, peer, window)?);
    }
    Ok(all)
}

fn share_one(
    sources: &Sources,
    piece: Piece,
    fingerprint: Fingerprint,
    number: usize,
    reclaimer: &Reclaimer,
    peer: &mut Peer,
    window: &mut [u8],
) -> Result<Shared, Error> {
    let size = piece.size;
    let mut times = Times::default();

    let start = Instant::now();
    let region =
        Region::options().purgeable().reclaimer(reclaimer).create(label(&sources.name(&piece)), size)?;
    let mapping = region.map()?;
    // Through the descriptor: a page that is written whole is neither faulted in nor zeroed before.
    let contents = File::from(region.as_fd().try_clone_to_owned().map_err(Error::Fill)?);
    sources
        .read(&piece, window, |offset, bytes| contents.write_all_at(bytes, offset).map_err(Error::Fill))?;
    drop(contents);
    times.fill = start.elapsed();
    let read_only = pass(&region, number, peer)?;
    times.pass = start.elapsed() - times.fill;
    let first = peer.digest_region(number, DigestKind::Sha256, size)?;
    times.memory_first = start.elapsed();

    let mut through_socket = |kind| {
        let start = Instant::now();
        let digest =
            peer.digest_stream(kind, size, |send| sources.read(&piece, window, |_, bytes| send(bytes)))?;
        Ok::<_, Error>((digest == fingerprint.digest(kind), start.elapsed()))
    };
    let (sha256_right, socket) = through_socket(DigestKind::Sha256)?;
    let (word_sum_right, socket_word_sum) = through_socket(DigestKind::WordSum)?;
    let socket_sums_right = sha256_right && word_sum_right;

    let mut in_place = |kind| {
        let start = Instant::now();
        let digest = peer.digest_region(number, kind, size)?;
        Ok::<_, Error>((digest == fingerprint.digest(kind), start.elapsed()))
    };
    let (sha256_right, memory_again) = in_place(DigestKind::Sha256)?;
    let (word_sum_right, memory_again_word_sum) = in_place(DigestKind::WordSum)?;
    let memory_sums_right = first == fingerprint.sha256 && sha256_right && word_sum_right;

    let times = Times { memory_again, socket, memory_again_word_sum, socket_word_sum, ..times };
    Ok(Shared { piece, region, mapping, fingerprint, memory_sums_right, socket_sums_right, read_only, times })
}

/// Shares a region as a heap, one that receivers can only read where there is `/proc`. Says whether it was one.
fn pass(region: &Region, number: usize, peer: &mut Peer) -> Result<bool, Error> {
    // This process has a mapping of its own.
    let heap = |flags| MemoryHeapBase::from_region(region.clone(), HeapFlags::DONT_MAP_LOCALLY | flags);
    let (heap, read_only) = match heap(HeapFlags::READ_ONLY) {
        Ok(heap) => (heap, true),
        Err(_) => (heap(HeapFlags::empty())?, false),
    };
    peer.map(number, region.size(), &heap.binder())?;
    Ok(read_only)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::demo::digest::WINDOW;

    /// Every piece in a region, as `share` would leave it, without a viewer.
    pub fn shared_without_viewer(sources: &Sources, pieces: Vec<Piece>) -> Vec<Shared> {
        let mut window = vec![0; WINDOW];
        let share = |piece: Piece| {
            let region = Region::create("shared", piece.size).unwrap();
            let mapping = region.map().unwrap();
            let fingerprint = sources.fingerprint(&piece, &mut window).unwrap();
            sources.read(&piece, &mut window, |at, bytes| Ok(mapping.write_at(at, bytes)?)).unwrap();
            Shared {
                piece,
                region,
                mapping,
                fingerprint,
                memory_sums_right: true,
                socket_sums_right: true,
                read_only: true,
                times: Times::default(),
            }
        };
        pieces.into_iter().map(share).collect()
    }
}
