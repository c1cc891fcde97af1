//! What has to come out: every image decoded and scaled here, one after the other, without a cache.

use image::RgbaImage;

use super::bitmap;
use super::gallery::Image;
use super::progress::Progress;
use super::sheet::Sheet;

/// The outcome of the plain computation.
pub struct Plain {
    pub sheet: RgbaImage,
    /// Of each image, or why it cannot be decoded.
    pub checksums: Vec<Result<u64, String>>,
}

impl Plain {
    pub fn compute(images: &[Image], sheet: Sheet, progress: &Progress) -> Plain {
        let bar = progress.bar("Plainly", images.len() as u64);
        let mut plain = Plain { sheet: sheet.empty(), checksums: Vec::new() };
        for (number, image) in images.iter().enumerate() {
            plain.checksums.push(match image.decode() {
                Ok(bitmap) => {
                    sheet.put(&mut plain.sheet, number, &sheet.tile(&bitmap));
                    Ok(bitmap::checksum(&bitmap))
                }
                Err(error) => Err(error.to_string()),
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        plain
    }

    pub fn is_broken(&self, number: usize) -> bool {
        self.checksums[number].is_err()
    }
}
