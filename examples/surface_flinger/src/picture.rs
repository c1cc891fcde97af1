//! Pixels in memory of this process.

use crate::compositor::{Source, Target};
use crate::rect::{Rect, Size};
use crate::{Error, Result};

/// A picture in this process's own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    size: Size,
    pixels: Vec<u32>,
}

impl Picture {
    /// One that nothing is in.
    #[must_use]
    pub fn new(size: Size) -> Picture {
        Picture { size, pixels: vec![0; size.width as usize * size.height as usize] }
    }

    /// Of pixels row by row; none if there are not as many as the size says.
    #[must_use]
    pub fn from_pixels(size: Size, pixels: Vec<u32>) -> Option<Picture> {
        (pixels.len() as u64 * 4 == size.bytes()).then_some(Picture { size, pixels })
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// A row, which must be one of its rows.
    #[must_use]
    pub fn row(&self, y: u32) -> &[u32] {
        let width = self.size.width as usize;
        &self.pixels[y as usize * width..][..width]
    }

    /// A row to draw in, which must be one of its rows.
    pub fn row_mut(&mut self, y: u32) -> &mut [u32] {
        let width = self.size.width as usize;
        &mut self.pixels[y as usize * width..][..width]
    }

    fn range(&self, x: u32, y: u32, length: usize) -> Result<std::ops::Range<usize>> {
        let inside = y < self.size.height && u64::from(x) + length as u64 <= u64::from(self.size.width);
        if !inside {
            return Err(Error::OutsideWindow { size: self.size });
        }
        let start = y as usize * self.size.width as usize + x as usize;
        Ok(start..start + length)
    }

    /// Of pixels without any sense, always the same ones.
    #[cfg(test)]
    pub(crate) fn noise(size: Size, seed: u32) -> Picture {
        let mut picture = Picture::new(size);
        let mut state = u64::from(seed) << 32 | 1;
        for pixel in &mut picture.pixels {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *pixel = (state >> 32) as u32;
        }
        picture
    }

    /// All of it.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        Rect::of_size(self.size)
    }
}

impl Source for Picture {
    fn read_row(&self, x: u32, y: u32, into: &mut [u32]) -> Result<()> {
        into.copy_from_slice(&self.pixels[self.range(x, y, into.len())?]);
        Ok(())
    }
}

impl Target for Picture {
    fn write_row(&mut self, x: u32, y: u32, pixels: &[u32]) -> Result<()> {
        let range = self.range(x, y, pixels.len())?;
        self.pixels[range].copy_from_slice(pixels);
        Ok(())
    }
}
