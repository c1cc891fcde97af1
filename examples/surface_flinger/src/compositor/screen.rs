//! What is composed into: the buffers of the screen, in a region.

use std::os::fd::{AsFd, BorrowedFd};

use ashmem::{Mapping, Region};

use super::compose::{Lines, Plane, Source, Target, Traffic, compose};
use crate::rect::{Damage, Rect, Size};
use crate::{Error, Result};

/// One buffer behind the other, all in one region, which can be the pool of a `wl_shm`.
pub(crate) struct Screen {
    region: Region,
    mapping: Mapping,
    size: Size,
    /// For each buffer, what has changed since it was composed.
    stale: Vec<Damage>,
    lines: Lines,
}

impl Screen {
    pub(crate) fn new(size: Size, buffers: usize) -> Result<Screen> {
        let region = Region::options()
            .never_purgeable()
            .create("screen", size.bytes() * buffers as u64)
            .map_err(Error::memory("make the screen"))?;
        let mapping = region.map().map_err(Error::memory("map the screen"))?;
        let stale = vec![Damage::from_iter([Rect::of_size(size)]); buffers];
        Ok(Screen { region, mapping, size, stale, lines: Lines::default() })
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Whoever gets that descriptor can read all buffers.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.region.as_fd()
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.region.size()
    }

    /// Something has changed, in all buffers.
    pub(crate) fn damage(&mut self, damage: &Damage) {
        let bounds = Rect::of_size(self.size);
        for stale in &mut self.stale {
            damage.rects().iter().for_each(|rect| stale.add(rect.intersection(bounds)));
        }
    }

    /// Composes what has changed since `buffer` was composed last.
    pub(crate) fn compose<S: Source>(&mut self, buffer: usize, planes: &[Plane<'_, S>]) -> Result<Traffic> {
        let mut target =
            Rows { mapping: &self.mapping, size: self.size, start: self.size.bytes() * buffer as u64 };
        let mut traffic = Traffic::default();
        for rect in self.stale[buffer].rects() {
            traffic += compose(planes, *rect, &mut target, &mut self.lines)?;
        }
        self.stale[buffer].clear();
        Ok(traffic)
    }

    /// Copies rows of a buffer.
    pub(crate) fn read(&self, buffer: usize, y: u32, into: &mut [u32]) -> Result<()> {
        let offset = self.size.bytes() * buffer as u64 + self.size.stride() * u64::from(y);
        self.mapping.read_slice(offset, into).map_err(Error::memory("read the screen"))
    }
}

struct Rows<'a> {
    mapping: &'a Mapping,
    size: Size,
    start: u64,
}

impl Target for Rows<'_> {
    fn write_row(&mut self, x: u32, y: u32, pixels: &[u32]) -> Result<()> {
        let offset = self.start + self.size.stride() * u64::from(y) + 4 * u64::from(x);
        self.mapping.write_slice(offset, pixels).map_err(Error::memory("write the screen"))
    }
}
