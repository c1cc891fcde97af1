//! The contact sheet: a tile for each image, in rows, with a margin around each.

use ashmem::Mapping;
use image::{GenericImageView, Rgba, RgbaImage, imageops};
use serde::{Deserialize, Serialize};

use super::Result;

const BACKGROUND: Rgba<u8> = Rgba([32, 32, 36, 255]);
const MARGIN: u32 = 4;
const PIXEL: u64 = 4;

/// The most bytes of a sheet.
const LARGEST: u64 = 1 << 30;

/// Where everything is on the sheet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sheet {
    columns: u32,
    rows: u32,
    /// Width and height of a tile in pixels, without its margin.
    tile: u32,
}

impl Sheet {
    /// About as wide as it is high.
    pub fn new(images: usize, tile: u32) -> Result<Sheet> {
        let too_large = || format!("a sheet of {images} images is too large; try a smaller --thumbnail");
        let images = u32::try_from(images).map_err(|_| too_large())?;
        let columns = images.isqrt() + u32::from(images.isqrt().pow(2) < images);
        let columns = columns.max(1);
        let rows = images.div_ceil(columns).max(1);
        let pixels = |tiles: u32| u64::from(tiles) * u64::from(tile + MARGIN) + u64::from(MARGIN);
        match pixels(columns) * pixels(rows) * PIXEL {
            ..=LARGEST => Ok(Sheet { columns, rows, tile }),
            _ => Err(too_large().into()),
        }
    }

    fn width(self) -> u32 {
        self.columns * (self.tile + MARGIN) + MARGIN
    }

    fn height(self) -> u32 {
        self.rows * (self.tile + MARGIN) + MARGIN
    }

    /// Bytes of the sheet.
    pub fn len(self) -> u64 {
        u64::from(self.width()) * u64::from(self.height()) * PIXEL
    }

    /// The upper left corner of a tile.
    fn corner(self, number: usize) -> (u32, u32) {
        let at = |tile: u32| tile * (self.tile + MARGIN) + MARGIN;
        (at(number as u32 % self.columns), at(number as u32 / self.columns))
    }

    /// A sheet without tiles.
    pub fn empty(self) -> RgbaImage {
        RgbaImage::from_pixel(self.width(), self.height(), BACKGROUND)
    }

    /// A tile: the image, made to fit, in the middle.
    pub fn tile(self, image: &impl GenericImageView<Pixel = Rgba<u8>>) -> RgbaImage {
        let mut tile = RgbaImage::from_pixel(self.tile, self.tile, BACKGROUND);
        let (width, height) = image.dimensions();
        let largest = width.max(height).max(self.tile);
        let fit = |side: u32| (u64::from(side) * u64::from(self.tile) / u64::from(largest)).max(1) as u32;
        let thumbnail = imageops::thumbnail(image, fit(width), fit(height));
        let middle = |side: u32| i64::from((self.tile - side) / 2);
        imageops::overlay(&mut tile, &thumbnail, middle(thumbnail.width()), middle(thumbnail.height()));
        tile
    }

    /// Puts a tile into a sheet.
    pub fn put(self, sheet: &mut RgbaImage, number: usize, tile: &RgbaImage) {
        let (x, y) = self.corner(number);
        imageops::replace(sheet, tile, x.into(), y.into());
    }

    /// Puts a tile into a sheet in shared memory, row by row.
    pub fn put_shared(self, sheet: &Mapping, number: usize, tile: &RgbaImage) -> ashmem::Result<()> {
        let (x, y) = self.corner(number);
        let row = self.tile as usize * PIXEL as usize;
        for (y, bytes) in (y..).zip(tile.as_raw().chunks_exact(row)) {
            let pixel = u64::from(y) * u64::from(self.width()) + u64::from(x);
            sheet.write_at(pixel * PIXEL, bytes)?;
        }
        Ok(())
    }

    /// The sheet in shared memory, as an image.
    pub fn read(self, sheet: &Mapping) -> Result<RgbaImage> {
        let pixels = sheet.read_vec(0, self.len())?;
        RgbaImage::from_raw(self.width(), self.height(), pixels)
            .ok_or_else(|| "the sheet has another size".into())
    }
}
