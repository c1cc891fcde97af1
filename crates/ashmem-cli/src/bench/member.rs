//! What a process in the cgroup does: it is a cache, or the neighbour.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashmem::{Mapping, Reclaimer, Region, page_size};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Error;

/// What a cache keeps its data in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Regions, unpinned.
    Regions,
    /// The same, never unpinned: plain memfds.
    Plain,
    /// Files in this directory.
    Files(PathBuf),
}

/// What the parent wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Enter the cgroup of this directory.
    Join(PathBuf),
    /// Fill one more region.
    Fill { kind: Kind, size: u64 },
    /// Allocate so many bytes and touch each page, as fast as it goes.
    Touch(u64),
    /// Give them back.
    Release,
    /// Pin all regions.
    Pin,
    /// Compare the contents of all regions with what they were filled with.
    Check,
}

/// What it gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    Touched(Duration),
    Checked(Checked),
    Failed(String),
}

/// What a cache found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// In the order in which they were filled.
    pub regions: Vec<Piece>,
    /// Bytes that the reclaimer in the process itself has freed.
    pub freed_here: u64,
}

/// What became of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// `CLOCK_MONOTONIC` after it was unpinned.
    pub unpinned: Duration,
    pub size: u64,
    /// Bytes that are gone.
    pub purged: u64,
    /// Bytes that are neither what was written nor zeros, or are something else than the pin said.
    pub wrong: u64,
}

/// Obeys the parent, which is at the other end of standard input, and ends with it.
pub fn run() -> Result<(), Error> {
    // Where it cannot be set, the end of the connection ends this process as well.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // A region takes two.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let stream = rustix::io::dup(io::stdin()).map_err(|errno| Error::Talk(errno.into()))?;
    obey(UnixStream::from(stream)).map_err(Error::Talk)
}

fn obey(stream: UnixStream) -> io::Result<()> {
    let mut orders = BufReader::new(stream.try_clone()?).lines();
    let mut member = Member::default();
    while let Some(line) = orders.next().transpose()? {
        let order: Order = serde_json::from_str(&line)?;
        let answer = member.follow(order).unwrap_or_else(|error| Answer::Failed(crate::with_causes(&*error)));
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
    }
    Ok(())
}

#[derive(Default)]
struct Member {
    filled: Vec<Filled>,
    hoard: Vec<u8>,
}

/// A region with its mapping, as a cache keeps it.
struct Filled {
    contents: Contents,
    size: u64,
    unpinned: Duration,
    said_purged: bool,
}

enum Contents {
    Region { region: Region, mapping: Mapping, is_unpinned: bool },
    File(File),
}

impl Member {
    fn follow(&mut self, order: Order) -> Result<Answer, Box<dyn std::error::Error>> {
        match order {
            Order::Join(directory) => {
                fs::write(directory.join("cgroup.procs"), std::process::id().to_string())
                    .map_err(|error| format!("enter {}: {error}", directory.display()))?;
            }
            Order::Fill { kind, size } => {
                let filled = Filled::new(&kind, size, self.filled.len())?;
                self.filled.push(filled);
            }
            Order::Touch(size) => return self.touch(size),
            Order::Release => self.hoard = Vec::new(),
            Order::Pin => self.filled.iter_mut().try_for_each(Filled::pin)?,
            Order::Check => return self.check(),
        }
        Ok(Answer::Done)
    }

    fn touch(&mut self, size: u64) -> Result<Answer, Box<dyn std::error::Error>> {
        // A huge page at a time would be another measurement. Old kernels have none to switch off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        let started = Instant::now();
        // Zeros come from the kernel, page by page, when they are touched.
        self.hoard = vec![0; usize::try_from(size)?];
        for page in self.hoard.chunks_mut(page_size() as usize) {
            page[0] = 1;
        }
        std::hint::black_box(&self.hoard);
        Ok(Answer::Touched(started.elapsed()))
    }

    fn check(&self) -> Result<Answer, Box<dyn std::error::Error>> {
        let regions = self.filled.iter().enumerate().map(|(index, filled)| filled.check(index));
        Ok(Answer::Checked(Checked {
            regions: regions.collect::<Result<_, _>>()?,
            freed_here: Reclaimer::global().metrics().freed_bytes,
        }))
    }
}

impl Filled {
    fn new(kind: &Kind, size: u64, index: usize) -> Result<Filled, Box<dyn std::error::Error>> {
        let contents = match kind {
            Kind::Files(directory) => Contents::File(fill_file(directory, size, index)?),
            Kind::Regions | Kind::Plain => {
                let region = Region::create("ashmem-pressure", size)?;
                let mapping = region.map()?;
                for (number, (at, length)) in pages(size).enumerate() {
                    mapping.fill(at, length, pattern(index, number))?;
                }
                let is_unpinned = *kind == Kind::Regions;
                if is_unpinned {
                    region.unpin(..)?;
                }
                Contents::Region { region, mapping, is_unpinned }
            }
        };
        Ok(Filled { contents, size, unpinned: now(), said_purged: false })
    }

    fn pin(&mut self) -> ashmem::Result<()> {
        if let Contents::Region { region, is_unpinned: true, .. } = &self.contents {
            self.said_purged = region.pin(..)?.is_purged();
        }
        Ok(())
    }

    fn check(&self, index: usize) -> Result<Piece, Box<dyn std::error::Error>> {
        let mut piece = Piece { unpinned: self.unpinned, size: self.size, purged: 0, wrong: 0 };
        for (number, (at, length)) in pages(self.size).enumerate() {
            let page = match &self.contents {
                Contents::Region { mapping, .. } => mapping.read_vec(at, length)?,
                Contents::File(file) => {
                    let mut page = vec![0; length as usize];
                    file.read_exact_at(&mut page, at)?;
                    page
                }
            };
            match judge(&page, pattern(index, number)) {
                Found::Intact => {}
                Found::Zeros => piece.purged += length,
                Found::Wrong => piece.wrong += length,
            }
        }
        if self.said_purged != (piece.purged > 0) {
            piece.wrong = self.size;
        }
        Ok(piece)
    }
}

/// What is in a page.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Intact,
    Zeros,
    Wrong,
}

fn judge(page: &[u8], expected: u8) -> Found {
    match page {
        // All bytes are the same if each is what the one before it is.
        [first, rest @ ..] if *rest == page[..rest.len()] => match *first {
            0 => Found::Zeros,
            byte if byte == expected => Found::Intact,
            _ => Found::Wrong,
        },
        _ => Found::Wrong,
    }
}

fn fill_file(directory: &Path, size: u64, index: usize) -> io::Result<File> {
    let path = directory.join(format!("{}-{index}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut page = vec![0; page_size() as usize];
    for (number, (at, length)) in pages(size).enumerate() {
        page.fill(pattern(index, number));
        file.write_all_at(&page[..length as usize], at)?;
    }
    Ok(file)
}

/// Offset and length of each page.
fn pages(size: u64) -> impl Iterator<Item = (u64, u64)> {
    let page = page_size();
    (0..size.div_ceil(page)).map(move |number| (number * page, page.min(size - number * page)))
}

/// What a page is filled with: never zero, and not what its neighbours have.
fn pattern(region: usize, page: usize) -> u8 {
    1 + ((region * 31 + page * 7) % 255) as u8
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 << 10;

    fn checked(member: &Member) -> Vec<Piece> {
        match member.check().unwrap() {
            Answer::Checked(checked) => checked.regions,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_told_apart() {
        assert_eq!(judge(&[7; 64], 7), Found::Intact);
        assert_eq!(judge(&[0; 64], 7), Found::Zeros);
        assert_eq!(judge(&[8; 64], 7), Found::Wrong);
        assert_eq!(judge(&[7, 7, 0, 7], 7), Found::Wrong);
        for region in 0..1000 {
            assert!((0..1000).all(|page| pattern(region, page) != 0));
            assert_ne!(pattern(region, 3), pattern(region, 4));
        }
    }

    #[test]
    fn what_was_purged_is_found_and_lies_are_too() {
        let mut member = Member::default();
        for _ in 0..3 {
            member.filled.push(Filled::new(&Kind::Regions, SIZE, member.filled.len()).unwrap());
        }
        let region = |member: &Member, index: usize| match &member.filled[index].contents {
            Contents::Region { region, .. } => region.clone(),
            Contents::File(_) => panic!("a region"),
        };
        region(&member, 0).purge().unwrap();
        member.filled.iter_mut().for_each(|filled| filled.pin().unwrap());
        // What was purged without a word, and what is something else.
        region(&member, 1).map().unwrap().fill(0, page_size(), 0).unwrap();
        region(&member, 2).map().unwrap().fill(0, 1, 1).unwrap();
        let found: Vec<_> = checked(&member).iter().map(|piece| (piece.purged, piece.wrong)).collect();
        assert_eq!(found, [(SIZE, 0), (page_size(), SIZE), (0, page_size())]);
        assert!(checked(&member).windows(2).all(|pair| pair[0].unpinned <= pair[1].unpinned));
    }

    #[test]
    fn files_and_plain_memfds_keep_what_they_have() {
        let directory = tempfile::tempdir().unwrap();
        let mut member = Member::default();
        for kind in [Kind::Plain, Kind::Files(directory.path().to_owned())] {
            member.follow(Order::Fill { kind, size: SIZE + 1 }).unwrap();
        }
        member.follow(Order::Pin).unwrap();
        assert!(checked(&member).iter().all(|piece| (piece.purged, piece.wrong) == (0, 0)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
