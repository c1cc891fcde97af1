//! Pixels as a PNG file.

use std::io::{self, Write};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use media_codec::Format;

/// An image in the making. It grows with what comes, not with what the format promises.
pub struct Picture {
    /// Bytes that it may have: a decoder that has gone wrong could send more than any memory has.
    most: u64,
    size: Option<(u32, u32)>,
    pixels: Vec<u8>,
}

impl Picture {
    pub fn new(most: u64) -> Picture {
        Picture { most, size: None, pixels: Vec::new() }
    }

    /// Appends rows, which must all be of one image.
    pub fn write(&mut self, format: Format, rows: &[u8]) -> io::Result<()> {
        let Format::Image { width, height } = format else {
            return Err(io::Error::other("it has no pixels"));
        };
        if *self.size.get_or_insert((width, height)) != (width, height) {
            return Err(io::Error::other("the format changes, and an image has one"));
        }
        if bytes(width, height) > self.most {
            return Err(io::Error::other("the image is larger than --memory allows"));
        }
        if (self.pixels.len() + rows.len()) as u64 > bytes(width, height) {
            return Err(io::Error::other("more rows came than it has"));
        }
        self.pixels.extend_from_slice(rows);
        Ok(())
    }

    pub fn finish(self, file: impl Write) -> io::Result<()> {
        let (width, height) = self.size.ok_or_else(|| io::Error::other("it has no pixels"))?;
        if self.pixels.len() as u64 != bytes(width, height) {
            return Err(io::Error::other("rows are missing"));
        }
        PngEncoder::new(file)
            .write_image(&self.pixels, width, height, ExtendedColorType::Rgba8)
            .map_err(io::Error::other)
    }
}

fn bytes(width: u32, height: u32) -> u64 {
    4 * u64::from(width) * u64::from(height)
}
