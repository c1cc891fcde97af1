//! Pixels of a picture's file, which may be anything.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, RgbaImage};

use super::Refused;
use super::roots::{Found, Identity};
use crate::{Refusal, Size};

/// The most bytes that a decoder may use for each pixel of the largest picture.
const PIXEL: u64 = 8;
/// The largest file in bytes: decoders may read all of it at once.
const LARGEST_FILE: u64 = 256 << 20;
/// Room for what decoders need besides the pixels.
const OVERHEAD: u64 = 16 << 20;

/// How large a picture may be.
pub(super) struct Limits {
    pub(super) pixels: u64,
}

/// A picture whose header was read.
pub(super) struct Picture {
    file: File,
    identity: Identity,
    decoder: Box<dyn ImageDecoder>,
    orientation: Orientation,
    /// Before it is turned.
    scaled: Size,
}

impl Picture {
    /// Reads the header of a picture that is to fit into `size`.
    pub(super) fn open(found: Found, size: Size, limits: &Limits) -> Result<Picture, Refused> {
        let identity = found.identity();
        if identity.size() > LARGEST_FILE {
            let message = format!("a file of {} bytes: at most {LARGEST_FILE} are read", identity.size());
            return Err(Refused::new(Refusal::TooLarge, message));
        }
        let file = found.read()?;
        let copy = file.try_clone().map_err(|error| {
            Refused::new(Refusal::File, format!("duplicate the descriptor of a picture: {error}"))
        })?;
        let header = guarded(|| {
            let mut reader =
                ImageReader::new(BufReader::new(copy)).with_guessed_format().map_err(unreadable)?;
            reader.limits(image_limits(limits));
            let mut decoder = reader.into_decoder().map_err(broken)?;
            let (width, height) = decoder.dimensions();
            let pixels = u64::from(width) * u64::from(height);
            if pixels > limits.pixels {
                let message = format!("{width} x {height} pixels: at most {} are decoded", limits.pixels);
                return Err(Refused::new(Refusal::TooLarge, message));
            }
            if pixels == 0 {
                return Err(Refused::new(Refusal::Picture, "a picture without pixels"));
            }
            // What cannot be read of it turns nothing.
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            let size = if turns(orientation) { swapped(size)? } else { size };
            Ok((Box::new(decoder) as Box<dyn ImageDecoder>, orientation, size.fit(width, height)))
        });
        let (decoder, orientation, scaled) = header.map_err(|refused| said(&file, identity, refused))?;
        Ok(Picture { file, identity, decoder, orientation, scaled })
    }

    /// The size that its bitmap will have.
    pub(super) fn size(&self) -> Size {
        // Both sides were valid before.
        if turns(self.orientation) { swapped(self.scaled).unwrap_or(self.scaled) } else { self.scaled }
    }

    /// The pixels, scaled and the right side up.
    pub(super) fn decode(self) -> Result<RgbaImage, Refused> {
        let Picture { file, identity, decoder, orientation, scaled } = self;
        let image = guarded(|| {
            let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
            let mut scaled = if (image.width(), image.height()) == (scaled.width(), scaled.height()) {
                image
            } else {
                image.thumbnail_exact(scaled.width(), scaled.height())
            };
            scaled.apply_orientation(orientation);
            Ok(scaled.into_rgba8())
        });
        if !identity.is_still(file.as_fd()) {
            return Err(changed());
        }
        image
    }
}

fn image_limits(limits: &Limits) -> image::Limits {
    let mut image_limits = image::Limits::default();
    image_limits.max_alloc = Some(limits.pixels.saturating_mul(PIXEL).saturating_add(OVERHEAD));
    image_limits
}

/// A decoder that panics has found a broken picture.
fn guarded<T>(decode: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    // Nothing is left behind: what the closure had is dropped.
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(Refused::new(Refusal::Picture, "the decoder gave up on the picture")))
}

fn broken(error: ImageError) -> Refused {
    match error {
        ImageError::Limits(error) => Refused::new(Refusal::TooLarge, format!("decode picture: {error}")),
        ImageError::IoError(error) => unreadable(error),
        error => Refused::new(Refusal::Picture, format!("decode picture: {error}")),
    }
}

fn unreadable(error: std::io::Error) -> Refused {
    // A file that ends too early is broken; one that the kernel does not read is not a picture's fault.
    let refusal = if error.raw_os_error().is_some() { Refusal::File } else { Refusal::Picture };
    Refused::new(refusal, format!("read picture: {error}"))
}

fn changed() -> Refused {
    Refused::new(Refusal::Changed, "the picture changed while it was read")
}

/// What a file that was written to meanwhile says of itself is no matter.
fn said(file: &File, identity: Identity, refused: Refused) -> Refused {
    if identity.is_still(file.as_fd()) { refused } else { changed() }
}

fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

fn swapped(size: Size) -> Result<Size, Refused> {
    Size::new(size.height(), size.width()).map_err(|error| Refused::new(Refusal::Request, error.to_string()))
}
