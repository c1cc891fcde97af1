//! An entry of the cache: width and height as two `u32`, and the pixels, row by row, of four bytes each (red, green, blue,
//! alpha).
//!
//! Other processes can write into the cache at any moment, so there is no slice of bytes of it. The pixels are atomic words,
//! of which [`Bitmap`] makes an image that the `image` crate reads where it is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ashmem::{BuildError, Cache, CacheEntry, Error, Mapping, View};
use image::{GenericImageView, Rgba, RgbaImage};

use super::Result;
use super::gallery::Image;

const HEADER: u64 = 8;
const PIXEL: u64 = 4;

/// How long to wait for room that others use. Each has one bitmap at a time, and works on it for a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Length of an entry in bytes.
pub fn len(pixels: u64) -> u64 {
    HEADER.saturating_add(pixels.saturating_mul(PIXEL))
}

/// Writes an entry, and calls `half_way` when half of the pixels are there.
pub fn write(entry: &Mapping, image: &RgbaImage, half_way: impl FnOnce()) -> ashmem::Result<()> {
    entry.write_at(0, &image.width().to_ne_bytes())?;
    entry.write_at(4, &image.height().to_ne_bytes())?;
    let (first, second) = image.as_raw().split_at(image.as_raw().len() / 2);
    entry.write_at(HEADER, first)?;
    half_way();
    entry.write_at(HEADER + first.len() as u64, second)
}

/// The bitmap of an image, decoded if it is not in the cache. When everything in the cache is in use, it waits, and counts that.
pub fn get<'a>(
    cache: &'a Cache,
    image: &Image,
    waits: &mut u64,
    half_way: impl Fn(),
) -> Result<CacheEntry<'a>, BuildError<Box<dyn std::error::Error + Send + Sync>>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let decode = |entry: &View<'_>| -> Result<()> { Ok(write(entry, &image.decode()?, &half_way)?) };
        match cache.get_or_build(&image.key, image.len(), decode) {
            Err(BuildError::Region(Error::CacheFull { .. })) if Instant::now() < until => *waits += 1,
            result => return result,
        }
    }
}

/// The image in an entry.
pub struct Bitmap<'a> {
    width: u32,
    height: u32,
    pixels: &'a [AtomicU32],
}

impl<'a> Bitmap<'a> {
    pub fn new(entry: &'a Mapping) -> Result<Bitmap<'a>> {
        let (width, height) = (entry.load_u32(0)?, entry.load_u32(4)?);
        let pixels = u64::from(width) * u64::from(height);
        if len(pixels) != entry.len() {
            return Err(format!("an entry of {} bytes is no image of {width} x {height}", entry.len()).into());
        }
        Ok(Bitmap { width, height, pixels: entry.atomic_u32s(HEADER, pixels)? })
    }
}

impl GenericImageView for Bitmap<'_> {
    type Pixel = Rgba<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgba<u8> {
        let pixel = &self.pixels[y as usize * self.width as usize + x as usize];
        Rgba(pixel.load(Ordering::Relaxed).to_ne_bytes())
    }
}

/// A number that hardly any other image has.
pub fn checksum(image: &impl GenericImageView<Pixel = Rgba<u8>>) -> u64 {
    let (width, height) = image.dimensions();
    let mut sum = u64::from(width) << 32 | u64::from(height);
    for y in 0..height {
        for x in 0..width {
            let pixel = u32::from_le_bytes(image.get_pixel(x, y).0);
            sum = (sum ^ u64::from(pixel)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    sum
}
