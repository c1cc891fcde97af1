//! A toy of the kernel's memory: backing files and mappings, a page at a time.

use std::collections::BTreeMap;
use std::ops::Range;

use ashmem_device::model::Whence;
use rustix::io::Errno;

use crate::language::PAGE;

/// A tmpfs file: its length, and the pages that are data.
pub struct Backing {
    pub length: u64,
    /// As `/proc/PID/maps` shows it.
    pub name: Vec<u8>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Backing {
    pub fn new(length: u64, name: Vec<u8>) -> Backing {
        Backing { length, name, pages: BTreeMap::new() }
    }

    /// The page as a fault finds it; `None` is SIGBUS.
    pub fn fault(&mut self, page: u64) -> Option<&mut Vec<u8>> {
        let inside = page.checked_mul(PAGE).is_some_and(|start| start < self.length);
        inside.then(|| self.pages.entry(page).or_insert_with(|| vec![0; PAGE as usize]))
    }

    pub fn punch(&mut self, pages: Range<u64>) {
        let gone: Vec<u64> = self.pages.range(pages).map(|(&page, _)| page).collect();
        for page in gone {
            self.pages.remove(&page);
        }
    }

    pub fn read(&self, offset: u64, count: u64) -> Vec<u8> {
        let end = offset.saturating_add(count).min(self.length);
        (offset..end)
            .map(|at| self.pages.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]))
            .collect()
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(page) = self.fault(at / PAGE) {
                page[(at % PAGE) as usize] = *byte;
            }
        }
    }

    pub fn truncate(&mut self, length: u64) {
        self.length = length;
        self.punch(length.div_ceil(PAGE)..u64::MAX);
        if let Some(page) = self.pages.get_mut(&(length / PAGE)) {
            page[(length % PAGE) as usize..].fill(0);
        }
    }

    /// SEEK_DATA and SEEK_HOLE from an offset inside the file.
    pub fn find(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        let first = offset / PAGE;
        let page = if whence == Whence::Data {
            let Some((&page, _)) = self.pages.range(first..).next() else { return Err(Errno::NXIO) };
            page
        } else {
            (first..)
                .zip(self.pages.range(first..))
                .find(|(want, (page, _))| want != *page)
                .map_or_else(|| first + self.pages.range(first..).count() as u64, |(want, _)| want)
        };
        let found = page.saturating_mul(PAGE).max(offset);
        match whence {
            Whence::Data if found >= self.length => Err(Errno::NXIO),
            _ => Ok(found.min(self.length)),
        }
    }
}

/// Where a mapped page has its bytes.
#[derive(Clone, PartialEq)]
pub enum Source {
    /// A page of a backing file, shared.
    Contents { backing: usize, page: u64 },
    /// Private memory; `None` until it is written.
    Private(Option<Vec<u8>>),
    /// Private memory without a file: what the interpreter puts where something was unmapped.
    Reserved(Option<Vec<u8>>),
}

#[derive(Clone)]
pub struct Page {
    pub protection: u64,
    /// What `mprotect` may give it.
    pub limit: u64,
    pub locked: bool,
    pub source: Source,
}

impl Page {
    pub fn reserved() -> Page {
        Page { protection: 0, limit: 7, locked: false, source: Source::Reserved(None) }
    }
}

/// A mapping of one process.
#[derive(Clone)]
pub struct Mapping {
    /// Bytes, as they were asked.
    pub length: u64,
    pub pages: Vec<Page>,
    /// MAP_SHARED, as `/proc/PID/maps` shows it.
    pub shared: bool,
    /// The file behind it, and the offset of its first page.
    pub backing: usize,
    pub offset: u64,
}

/// Why a page cannot be touched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Segment,
    Bus,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Segment => "SEGV",
            Fault::Bus => "BUS",
        }
    }
}

impl Mapping {
    /// Whether an operation would leave the mapping.
    pub fn is_outside(&self, offset: u64, length: u64) -> bool {
        let whole = self.length.div_ceil(PAGE) * PAGE;
        offset > whole || length > whole - offset
    }

    /// The pages of a range of bytes that lies inside.
    pub fn range(&self, offset: u64, length: u64) -> Range<usize> {
        (offset / PAGE) as usize..(offset + length).div_ceil(PAGE) as usize
    }

    /// A page as a read sees it. It becomes data of the backing file by that.
    pub fn load(&self, index: usize, backings: &mut [Backing]) -> Result<Vec<u8>, Fault> {
        let page = &self.pages[index];
        if page.protection == 0 {
            return Err(Fault::Segment);
        }
        match &page.source {
            Source::Contents { backing, page } => {
                backings[*backing].fault(*page).map(|bytes| bytes.clone()).ok_or(Fault::Bus)
            }
            Source::Private(bytes) | Source::Reserved(bytes) => {
                Ok(bytes.clone().unwrap_or_else(|| vec![0; PAGE as usize]))
            }
        }
    }

    /// Changes a page's bytes.
    pub fn store(
        &mut self,
        index: usize,
        backings: &mut [Backing],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), Fault> {
        let page = &mut self.pages[index];
        if page.protection & 2 == 0 {
            return Err(Fault::Segment);
        }
        match &mut page.source {
            Source::Contents { backing, page } => {
                change(backings[*backing].fault(*page).ok_or(Fault::Bus)?);
            }
            Source::Private(bytes) | Source::Reserved(bytes) => {
                change(bytes.get_or_insert_with(|| vec![0; PAGE as usize]));
            }
        }
        Ok(())
    }

    /// MAP_POPULATE, MAP_LOCKED, `mlock`: pages become data.
    pub fn populate(&self, range: Range<usize>, backings: &mut [Backing]) {
        for index in range {
            let _ = self.load(index, backings);
        }
    }

    /// Whether one mapping of the kernel's covers all its pages.
    pub fn is_whole(&self) -> bool {
        self.pages.windows(2).all(|pair| {
            let same_kind =
                std::mem::discriminant(&pair[0].source) == std::mem::discriminant(&pair[1].source);
            same_kind && pair[0].protection == pair[1].protection && pair[0].locked == pair[1].locked
        })
    }

    /// The page that follows the last one when the mapping grows.
    pub fn next_page(&self) -> Page {
        let last = self.pages.last().cloned().unwrap_or_else(Page::reserved);
        let source = match last.source {
            Source::Contents { backing, page } => Source::Contents { backing, page: page + 1 },
            Source::Private(_) => Source::Private(None),
            Source::Reserved(_) => Source::Reserved(None),
        };
        Page { source, ..last }
    }
}
