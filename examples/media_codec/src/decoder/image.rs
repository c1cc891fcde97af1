//! Images, through `image`, whose JPEG decoder is `zune-jpeg`.

use std::io::{Cursor, Read};

use image::{ImageFormat, ImageReader};

use super::decode::{Failure, Limits, Sink};
use crate::Format;
use crate::layout::OUTPUT_SIZE;

/// Decodes an image to red, green, blue and alpha of 8 bits each. The whole file is read first.
pub(super) fn decode(
    image_format: ImageFormat,
    mut source: impl Read,
    sink: &mut dyn Sink,
    limits: Limits,
) -> Result<(), Failure> {
    let mut file = Vec::new();
    source.by_ref().take(limits.image).read_to_end(&mut file)?;
    let mut reader = ImageReader::with_format(Cursor::new(file), image_format);
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.image);
    reader.limits(allowed);
    let image = reader.decode().map_err(|error| Failure::Malformed(error.to_string()))?.into_rgba8();
    let format = Format::Image { width: image.width(), height: image.height() };
    let format = format.checked().ok_or_else(|| Failure::Malformed("it is too large".to_owned()))?;
    let rows = OUTPUT_SIZE / format.unit() * format.unit();
    for rows in image.as_raw().chunks(rows) {
        sink.write(format, 0, rows).map_err(Failure::Sink)?;
    }
    Ok(())
}
