//! The second half of the story: everything is unpinned, a budget makes the reclaimer take the oldest half, and what it took is
//! rebuilt.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ashmem::{Contents, Policy, Reclaimer, page_size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::digest::{DigestKind, Digester};
use super::peer::Peer;
use super::share::Shared;
use super::source::Sources;
use super::viewer::digest_mapping;
use super::{Error, Progress};
use crate::memory::memory_of_system;

/// How long the reclaimer may take. It looks every 50 ms.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long to sleep between two looks at what the kernel reports, when no purge is announced.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What happened to all regions.
#[derive(Debug)]
pub struct Reclaimed {
    /// For each region, in the order of the unpins.
    pub regions: Vec<Outcome>,
    /// Bytes of unpinned data that may stay in memory.
    pub budget: u64,
    /// From the moment at which the budget was set until it held; `None` when it never did.
    pub budget_held_after: Option<Duration>,
    /// How long it took to unpin all regions.
    pub unpinning: Duration,
    /// Shared memory of the whole system (`Shmem` of `/proc/meminfo`) before and after, in bytes.
    pub system_shared_before: Option<u64>,
    /// See `system_shared_before`.
    pub system_shared_after: Option<u64>,
}

/// What happened to one region.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes in memory before, as the kernel reports them.
    pub resident_before: u64,
    /// Bytes in memory when the budget held.
    pub resident_after: u64,
    /// Whether pin said that pages were taken.
    pub purged: bool,
    /// Whether the contents were what pin had said.
    pub pin_told_truth: bool,
    /// Why the piece could not be rebuilt from its file, if that was so.
    pub rebuild_trouble: Option<String>,
    /// Whether the viewer's SHA-256 was right in the end.
    pub sum_right: bool,
}

/// Unpins everything, lets the reclaimer take half, pins and rebuilds.
pub fn reclaim(
    sources: &Sources,
    shared: &[Shared],
    reclaimer: &Reclaimer,
    peer: &mut Peer,
    window: &mut [u8],
    progress: &Progress,
) -> Result<Reclaimed, Error> {
    progress.say("unpinning, and waiting for the reclaimer");
    let purge_events = reclaimer.purge_events()?;
    let system_shared_before = memory_of_system("Shmem");
    let before = resident(shared)?;
    let region_bytes: u64 = shared.iter().map(|one| one.region.size().next_multiple_of(page_size())).sum();
    let budget = region_bytes / 2;

    let start = Instant::now();
    for one in shared {
        one.region.unpin(..)?;
    }
    let unpinning = start.elapsed();
    // Only now, so that the reclaimer has all of them to choose from.
    let start = Instant::now();
    reclaimer.set_policy(Policy::new().budget(budget));
    let held = wait_for_budget(shared, budget, &purge_events)?;
    let budget_held_after = held.then(|| start.elapsed());

    let after = resident(shared)?;
    let system_shared_after = memory_of_system("Shmem");
    let mut purged_pages = Vec::with_capacity(shared.len());
    for one in shared {
        purged_pages.push(one.region.stats()?.purged_pages);
    }

    // The newest first: what is still unpinned is then always the older part, and a reclaimer that goes on meanwhile, because
    // the system is short of memory, still takes the oldest first.
    let mut contents = Vec::with_capacity(shared.len());
    for one in shared.iter().rev() {
        contents.push(one.region.pin(..)?);
    }
    contents.reverse();

    let mut regions = Vec::with_capacity(shared.len());
    for (number, one) in shared.iter().enumerate() {
        let purged = contents[number].is_purged();
        let (pin_told_truth, rebuild_trouble) = match contents[number] {
            Contents::Intact => {
                let sum = digest_mapping(&one.mapping, DigestKind::Sha256, window)?;
                (sum == one.fingerprint.sha256, None)
            }
            Contents::Purged => {
                progress.say(&format!("rebuilding {}", sources.name(&one.piece)));
                match rebuild(sources, one, window) {
                    Ok(rebuilt) => {
                        let truth = rebuilt.strange_pages == 0 && rebuilt.zero_pages >= purged_pages[number];
                        let changed = "the file has other contents than before".to_owned();
                        (truth, (!rebuilt.same).then_some(changed))
                    }
                    // Nobody has looked at the region then.
                    Err(error) => (false, Some(crate::with_causes(&error))),
                }
            }
        };
        regions.push(Outcome {
            resident_before: before[number],
            resident_after: after[number],
            purged,
            pin_told_truth,
            rebuild_trouble,
            sum_right: false,
        });
    }
    for (number, (one, outcome)) in shared.iter().zip(&mut regions).enumerate() {
        progress.say(&format!("checking {}", sources.name(&one.piece)));
        let sum = peer.digest_region(number, DigestKind::Sha256, one.piece.size)?;
        outcome.sum_right = sum == one.fingerprint.sha256;
    }
    Ok(Reclaimed { regions, budget, budget_held_after, unpinning, system_shared_before, system_shared_after })
}

impl Reclaimed {
    /// Bytes in memory before.
    pub fn resident_before(&self) -> u64 {
        self.regions.iter().map(|region| region.resident_before).sum()
    }

    /// Bytes in memory when the budget held.
    pub fn resident_after(&self) -> u64 {
        self.regions.iter().map(|region| region.resident_after).sum()
    }

    /// Bytes that the kernel has got back.
    pub fn freed(&self) -> u64 {
        self.resident_before().saturating_sub(self.resident_after())
    }

    /// Whether no region was taken while one that was unpinned before it stayed.
    pub fn oldest_went_first(&self) -> bool {
        self.regions.is_sorted_by_key(|region| !region.purged)
    }
}

/// Bytes in memory of each region (`st_blocks` of `fstat(2)`).
fn resident(shared: &[Shared]) -> Result<Vec<u64>, Error> {
    shared.iter().map(|one| Ok(one.region.resident()?)).collect()
}

/// Waits until no more than `budget` bytes are in memory. False when that takes too long.
fn wait_for_budget(shared: &[Shared], budget: u64, purge_events: &OwnedFd) -> Result<bool, Error> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if resident(shared)?.iter().sum::<u64>() <= budget {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let mut waiting = [PollFd::from_borrowed_fd(purge_events.as_fd(), PollFlags::IN)];
        match poll(&mut waiting, Some(&NAP)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(Error::Wait(errno.into())),
        }
        // How many purges there were does not matter, only that the next one is announced anew.
        let _ = rustix::io::read(purge_events, &mut [0; 8]);
    }
}

/// What was found in a region while it was rebuilt.
#[derive(Default)]
struct Rebuilt {
    /// Pages of zeros.
    zero_pages: u64,
    /// Pages that were neither zeros nor as before.
    strange_pages: u64,
    /// Whether the file has the same contents as before.
    same: bool,
}

/// Looks at what a purge has left, and copies the file into the region again.
fn rebuild(sources: &Sources, one: &Shared, window: &mut [u8]) -> Result<Rebuilt, Error> {
    let page = usize::try_from(page_size()).unwrap_or(usize::MAX);
    let mut rebuilt = Rebuilt::default();
    let mut digester = Digester::new(DigestKind::Sha256);
    let mut found = vec![0; window.len()];
    sources.read(&one.piece, window, |offset, bytes| {
        let found = &mut found[..bytes.len()];
        one.mapping.read_at(offset, found)?;
        for (found, expected) in found.chunks(page).zip(bytes.chunks(page)) {
            if found.iter().all(|&byte| byte == 0) {
                rebuilt.zero_pages += 1;
            } else if found != expected {
                rebuilt.strange_pages += 1;
            }
        }
        digester.update(bytes);
        Ok(one.mapping.write_at(offset, bytes)?)
    })?;
    rebuilt.same = digester.finish() == one.fingerprint.sha256;
    Ok(rebuilt)
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use tempfile::NamedTempFile;

    use super::*;
    use crate::demo::digest::WINDOW;
    use crate::demo::share::tests::shared_without_viewer;

    /// What `reclaim` would find if pin had said this of one-page regions, and everything held.
    pub fn reclaimed(purged: &[bool]) -> Reclaimed {
        let outcome = |&purged: &bool| Outcome {
            resident_before: page_size(),
            resident_after: if purged { 0 } else { page_size() },
            purged,
            pin_told_truth: true,
            rebuild_trouble: None,
            sum_right: true,
        };
        Reclaimed {
            regions: purged.iter().map(outcome).collect(),
            budget: page_size() * purged.len() as u64 / 2,
            budget_held_after: Some(Duration::ZERO),
            unpinning: Duration::ZERO,
            system_shared_before: None,
            system_shared_after: None,
        }
    }

    #[test]
    fn only_a_prefix_may_be_gone() {
        assert!(reclaimed(&[true, true, false]).oldest_went_first());
        assert!(reclaimed(&[true]).oldest_went_first());
        assert!(reclaimed(&[false]).oldest_went_first());
        assert!(!reclaimed(&[false, true]).oldest_went_first());
        assert!(!reclaimed(&[true, false, true]).oldest_went_first());
        assert_eq!(reclaimed(&[true, false]).freed(), page_size());
    }

    #[test]
    fn a_rebuild_looks_at_what_it_finds() {
        let mut file = NamedTempFile::new().unwrap();
        let page = page_size();
        file.write_all(&vec![7; 3 * page as usize + 5]).unwrap();
        let sources = Sources::open(&[file.path().to_path_buf()]).unwrap();
        let shared = shared_without_viewer(&sources, sources.pieces(u64::MAX / 4));
        let one = &shared[0];
        let mut window = vec![0; WINDOW];
        let mut rebuild = || {
            let rebuilt = rebuild(&sources, one, &mut window).unwrap();
            (rebuilt.zero_pages, rebuilt.strange_pages, rebuilt.same)
        };
        assert_eq!(rebuild(), (0, 0, true));
        one.mapping.fill(0, page, 0).unwrap();
        one.mapping.fill(3 * page, 5, 0).unwrap();
        one.mapping.write_at(page, b"scribble").unwrap();
        assert_eq!(rebuild(), (2, 1, true));
        assert_eq!(rebuild(), (0, 0, true));
        one.mapping.fill(0, one.mapping.len(), 0).unwrap();
        file.as_file().write_all_at(b"changed", 0).unwrap();
        assert_eq!(rebuild(), (4, 0, false));
    }
}
