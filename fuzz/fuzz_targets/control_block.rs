//! A hostile peer of a region: size, mark, seals and control block as it likes, and again between any two operations.
//!
//! Every operation must return, soon, with an answer or a typed error.
#![no_main]

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ashmem::{Frozen, MapOptions, Mapping, PinStatus, Protection, Reclaimer, Region, page_size};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, SealFlags};

/// How long one operation may take. A pin that has to finish a dead purger's work naps for 10 ms.
const SOON: Duration = Duration::from_secs(5);

/// Operations of one input that are carried out: each may nap.
const MOST_STEPS: usize = 24;

const CONTROL_MARK: Mode = Mode::SVTX;

/// Words of the control block.
const HEADER_WORDS: u64 = 16;

/// Page words in a group, which their stamps follow.
const GROUP: u64 = 4;

fn slot(word: u64) -> u64 {
    word / GROUP * 2 * GROUP + word % GROUP
}
const PLACES: [u64; 4] = [0, 1, 8, 9];
const PAGES_PER_WORD: u64 = 16;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Pages of data, less one.
    pages: u8,
    /// Bytes that the last page of data lacks.
    short: u16,
    size: FileSize,
    marked: bool,
    seals: u8,
    /// Written before the region is opened.
    contents: Vec<Forged>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum FileSize {
    Fitting,
    WithoutControlBlock,
    Beside(i16),
    /// Sparse, but not beyond 4 GiB: work that grows with the size is no hang.
    Any(u32),
}

/// One word of the control block.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Forged {
    place: Place,
    value: Value,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Header(u8),
    Word(u8),
    Stamp(u8),
    Any(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Small(u8),
    /// A generation and what is below it.
    Halves(u8, u32),
    LastGenerations(bool, u32),
    Any(u64),
}

/// A range of pages, or nearly.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Span {
    Whole,
    Pages(u8, u8),
    Odd(u8, u16),
}

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Pin(Span),
    Unpin(Span),
    PinStatus(Span),
    Stats,
    Purge,
    Reclaim(u8),
    SetProtection(u8),
    Map(Span),
    MapReadOnly,
    MapPrivate,
    Touch(u8, u8),
    ShareReadOnly,
    ShareReadWrite,
    Freeze,
    TakeFrozen,
    /// What the peer does.
    Forge(Vec<Forged>),
    Resize(FileSize),
    Seal(u8),
    Mark(bool),
    Punch(Span),
}

/// The peer's view of the region: a raw memfd.
struct Peer {
    fd: OwnedFd,
    pages: u64,
    short: u64,
    /// It has written to the control block, so answers need not agree with each other.
    lied: Cell<bool>,
}

impl Peer {
    fn new(input: &Input) -> Peer {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("hostile", flags).expect("a memfd");
        let pages = u64::from(input.pages) * 4 + 1;
        let peer = Peer { fd, pages, short: u64::from(input.short) % page_size(), lied: Cell::new(false) };
        peer.resize(input.size);
        peer.forge(&input.contents);
        peer.mark(input.marked);
        peer.seal(input.seals);
        peer
    }

    fn size(&self) -> u64 {
        self.pages * page_size() - self.short
    }

    fn words(&self) -> u64 {
        self.pages.div_ceil(PAGES_PER_WORD)
    }

    fn fitting(&self) -> u64 {
        let control = (HEADER_WORDS + self.words().div_ceil(GROUP) * 2 * GROUP + self.pages) * 8;
        let size = self.size();
        size.next_multiple_of(page_size()) + control.next_multiple_of(page_size()) + size % page_size()
    }

    // Whatever the kernel refuses, because of a seal for instance, is none of this test's business.

    fn resize(&self, size: FileSize) {
        let size = match size {
            FileSize::Fitting => self.fitting(),
            FileSize::WithoutControlBlock => self.size(),
            FileSize::Beside(by) => self.fitting().saturating_add_signed(i64::from(by)),
            FileSize::Any(size) => u64::from(size),
        };
        let _ = rustix::fs::ftruncate(&self.fd, size);
    }

    fn forge(&self, contents: &[Forged]) {
        let limit = (self.fitting() - self.pages * page_size()) / 8;
        for forged in contents {
            self.lied.set(true);
            let place = match forged.place {
                Place::Header(index) => PLACES[usize::from(index) % PLACES.len()],
                Place::Word(index) => HEADER_WORDS + slot(u64::from(index) % self.words()),
                Place::Stamp(index) => HEADER_WORDS + slot(u64::from(index) % self.words()) + GROUP,
                Place::Any(place) => u64::from(place),
            };
            let value = match forged.value {
                Value::Small(value) => u64::from(value),
                Value::Halves(generation, low) => u64::from(generation % 4) << 32 | u64::from(low),
                Value::LastGenerations(last, low) => {
                    u64::from(u32::MAX - u32::from(!last)) << 32 | u64::from(low)
                }
                Value::Any(value) => value,
            };
            let offset = self.pages * page_size() + place % limit * 8;
            let _ = rustix::io::pwrite(&self.fd, &value.to_le_bytes(), offset);
        }
    }

    fn seal(&self, seals: u8) {
        let all =
            [SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL, SealFlags::FUTURE_WRITE, SealFlags::WRITE];
        for (bit, seal) in all.into_iter().enumerate() {
            // SEAL last, or the others would have no effect.
            if seals >> bit & 1 != 0 && seal != SealFlags::SEAL {
                let _ = rustix::fs::fcntl_add_seals(&self.fd, seal);
            }
        }
        if seals >> 2 & 1 != 0 {
            let _ = rustix::fs::fcntl_add_seals(&self.fd, SealFlags::SEAL);
        }
    }

    fn mark(&self, marked: bool) {
        let mode = Mode::RWXU;
        let _ = rustix::fs::fchmod(&self.fd, if marked { mode | CONTROL_MARK } else { mode });
    }

    fn punch(&self, range: Range<u64>) {
        self.lied.set(true);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.fd, flags, range.start, range.end.saturating_sub(range.start));
    }
}

/// The process that the peer attacks.
struct Victim {
    region: Region,
    reclaimer: Reclaimer,
    mappings: Vec<Mapping>,
}

impl Victim {
    fn open(fd: OwnedFd, reclaimer: &Reclaimer) -> Option<Victim> {
        let options = Region::options().reclaimer(reclaimer);
        let region = Region::from_fd_with(fd, options).ok()?;
        Some(Victim { region, reclaimer: reclaimer.clone(), mappings: Vec::new() })
    }

    fn bytes(&self, span: Span) -> Range<u64> {
        let (page, size) = (page_size(), self.region.size());
        let pages = size.div_ceil(page).min(256);
        match span {
            Span::Whole => 0..size,
            Span::Pages(a, b) => {
                let (a, b) = (u64::from(a) % pages, u64::from(b) % pages);
                let end = (a.max(b) + 1) * page;
                a.min(b) * page..end
            }
            Span::Odd(start, len) => {
                let start = u64::from(start) * page / 2;
                start..start + u64::from(len)
            }
        }
    }

    /// Carries one step out. The region is gone afterwards when it was frozen.
    fn step(mut self, step: &Step, peer: &Peer) -> Option<Victim> {
        let region = &self.region;
        match *step {
            Step::Pin(span) => {
                let range = self.bytes(span);
                let can_write = region.protection().is_ok_and(|mask| mask.contains(Protection::WRITE));
                if region.pin(range.clone()).is_ok() && can_write && !peer.lied.get() {
                    assert!(matches!(region.pin_status(range), Ok(PinStatus::Pinned)));
                }
            }
            Step::Unpin(span) => {
                let _ = region.unpin(self.bytes(span));
            }
            Step::PinStatus(span) => {
                let _ = region.pin_status(self.bytes(span));
            }
            Step::Stats => {
                if let Ok(stats) = region.stats() {
                    let pages = stats.pinned_pages + stats.unpinned_pages + stats.purged_pages;
                    assert_eq!(pages, region.size().div_ceil(page_size()));
                }
            }
            Step::Purge => {
                if let Ok(bytes) = region.purge() {
                    assert!(bytes <= region.size().next_multiple_of(page_size()));
                }
            }
            Step::Reclaim(pages) => {
                let _ = self.reclaimer.reclaim(u64::from(pages) * page_size());
            }
            Step::SetProtection(bits) => {
                let mask = Protection::from_bits_truncate(u32::from(bits));
                if region.set_protection(mask).is_ok() {
                    assert!(region.protection().is_ok_and(|now| mask.contains(now)));
                }
            }
            Step::Map(span) => {
                self.mappings.extend(MapOptions::new().range(self.bytes(span)).map(region).ok());
            }
            Step::MapReadOnly => self.mappings.extend(region.map_read_only().ok()),
            Step::MapPrivate => self.mappings.extend(MapOptions::new().private().map(region).ok()),
            Step::Touch(place, value) => {
                for mapping in &self.mappings {
                    // Sparse files may be huge.
                    let offset = u64::from(place) * page_size() % mapping.len();
                    let _ = mapping.write_at(offset, &[value]);
                    let _ = mapping.read_vec(offset, 1);
                    let _ = mapping.read_vec(mapping.len() - 1, 1);
                }
            }
            Step::ShareReadOnly => {
                let fd = region.share_read_only().ok()?;
                return Victim::open(fd, &self.reclaimer);
            }
            Step::ShareReadWrite => {
                let fd = region.share_read_write().ok()?;
                let other = Victim::open(fd, &self.reclaimer)?;
                self.mappings.truncate(8);
                return Some(Victim { mappings: self.mappings, ..other });
            }
            Step::Freeze => {
                self.mappings.clear();
                match self.region.freeze() {
                    Ok(frozen) => check_frozen(&frozen, peer),
                    Err(error) => self.region = error.region,
                }
                return Victim::open(peer.fd.try_clone().ok()?, &self.reclaimer);
            }
            Step::TakeFrozen => {
                if let Ok(frozen) = Frozen::from_fd(peer.fd.try_clone().ok()?) {
                    check_frozen(&frozen, peer);
                }
            }
            Step::Forge(ref contents) => peer.forge(contents),
            Step::Resize(size) => peer.resize(size),
            Step::Seal(seals) => peer.seal(seals),
            Step::Mark(marked) => peer.mark(marked),
            Step::Punch(span) => peer.punch(self.bytes(span)),
        }
        Some(self)
    }
}

/// Frozen bytes stay what they are, whatever the peer does.
fn check_frozen(frozen: &Frozen, peer: &Peer) {
    let shown = frozen.len().min(1 << 16);
    let before = frozen[..shown].to_vec();
    let _ = rustix::io::pwrite(&peer.fd, &[0xa5; 64], 0);
    peer.punch(0..page_size());
    peer.resize(FileSize::Any(0));
    assert_eq!(before, frozen[..shown]);
    let _ = frozen.last();
}

fuzz_target!(|input: Input| {
    let peer = Peer::new(&input);
    let reclaimer = Reclaimer::builder().without_thread().build();
    let soon = |start: Instant, what: &dyn std::fmt::Debug| {
        let taken = start.elapsed();
        assert!(taken < SOON, "{what:?} took {taken:?}");
    };
    let start = Instant::now();
    let duplicate = peer.fd.as_fd().try_clone_to_owned().expect("a duplicate");
    let mut victim = Victim::open(duplicate, &reclaimer);
    soon(start, &"opening");
    for step in input.steps.iter().take(MOST_STEPS) {
        let start = Instant::now();
        let Some(now) = victim.take() else { return };
        victim = now.step(step, &peer);
        soon(start, step);
    }
});
