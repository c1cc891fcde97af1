//! Frames as PNG files, and pictures out of them.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, EncodingError, Limits, Transformations};
use serde::Serialize;

use crate::compositor::{Screen, ShownWindow};
use crate::picture::Picture;
use crate::pixel::premultiplied;
use crate::rect::Size;
use crate::{Error, Result};

/// Memory that a picture may take while it is decoded.
const MOST_BYTES: usize = 1 << 30;

/// A directory of frames.
pub(super) struct Frames {
    directory: PathBuf,
    index: BufWriter<File>,
}

/// A line of the index.
#[derive(Serialize)]
struct Line {
    frame: u64,
    /// From the hindmost to the foremost.
    windows: Vec<ShownWindow>,
}

impl Frames {
    pub(super) fn new(directory: &Path) -> Result<Frames> {
        let failed = |source| Error::File { operation: "make", path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let path = index(directory);
        let file = File::create(&path).map_err(|source| Error::File { operation: "make", path, source })?;
        Ok(Frames { directory: directory.to_owned(), index: BufWriter::new(file) })
    }

    pub(super) fn write(
        &mut self,
        screen: &Screen,
        buffer: usize,
        number: u64,
        shown: impl Iterator<Item = ShownWindow>,
    ) -> Result<()> {
        let path = self.directory.join(format!("frame-{number:05}.png"));
        write_rows(&path, screen.size(), |y, row| screen.read(buffer, y, row))?;
        let line = Line { frame: number, windows: shown.collect() };
        let written = serde_json::to_writer(&mut self.index, &line)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(self.index))
            .and_then(|()| self.index.flush());
        written.map_err(|source| Error::File { operation: "write", path: index(&self.directory), source })
    }
}

fn index(directory: &Path) -> PathBuf {
    directory.join("frames.jsonl")
}

/// Writes a picture to a PNG file, whose colours are those over black.
///
/// # Errors
/// [`Error::File`]; there is no file then.
pub fn write_picture(path: &Path, picture: &Picture) -> Result<()> {
    write_rows(path, picture.size(), |y, row| {
        row.copy_from_slice(picture.row(y));
        Ok(())
    })
}

fn write_rows(path: &Path, size: Size, read: impl FnMut(u32, &mut [u32]) -> Result<()>) -> Result<()> {
    let written = encode(path, size, read);
    if written.is_err() {
        // Half a file is worse than none.
        let _ = fs::remove_file(path);
    }
    written
}

fn encode(path: &Path, size: Size, mut read: impl FnMut(u32, &mut [u32]) -> Result<()>) -> Result<()> {
    let failed = |source| Error::File { operation: "write", path: path.to_owned(), source };
    let failed_to_encode = |error: EncodingError| {
        failed(match error {
            EncodingError::IoError(source) => source,
            other => io::Error::other(other),
        })
    };
    let mut output = BufWriter::new(File::create(path).map_err(failed)?);
    let mut encoder = Encoder::new(&mut output, size.width, size.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed_to_encode)?;
    let mut stream = writer.stream_writer().map_err(failed_to_encode)?;
    let mut row = vec![0; size.width as usize];
    let mut bytes = Vec::with_capacity(row.len() * 3);
    for y in 0..size.height {
        read(y, &mut row)?;
        bytes.clear();
        bytes.extend(row.iter().flat_map(|pixel| [(pixel >> 16) as u8, (pixel >> 8) as u8, *pixel as u8]));
        stream.write_all(&bytes).map_err(failed)?;
    }
    stream.finish().map_err(failed_to_encode)?;
    writer.finish().map_err(failed_to_encode)?;
    output.flush().map_err(failed)
}

/// Reads a PNG file.
///
/// # Errors
/// [`Error::File`]; [`Error::Picture`]: it is no PNG, is broken, or is larger than a window can be.
pub fn read_picture(path: &Path) -> Result<Picture> {
    let broken = |reason: String| Error::Picture { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|source| Error::File {
        operation: "open",
        path: path.to_owned(),
        source,
    })?;
    let limits = Limits { bytes: MOST_BYTES };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(|error| broken(error.to_string()))?;
    let too_large = || broken(format!("its sides are from 1 to {} pixels at most", Size::MAX));
    let size = Size::new(reader.info().width, reader.info().height).ok_or_else(too_large)?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    let frame = reader.next_frame(&mut bytes).map_err(|error| broken(error.to_string()))?;
    let bytes = &bytes[..frame.buffer_size()];
    let pixels = match frame.color_type {
        ColorType::Rgba => bytes.chunks_exact(4).map(|p| premultiplied(p[0], p[1], p[2], p[3])).collect(),
        ColorType::GrayscaleAlpha => {
            bytes.chunks_exact(2).map(|p| premultiplied(p[0], p[0], p[0], p[1])).collect()
        }
        other => return Err(broken(format!("decoded to {other:?}"))),
    };
    Picture::from_pixels(size, pixels).ok_or_else(|| broken("it has fewer pixels than it says".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("picture.png");
        let size = Size { width: 5, height: 3 };
        let pixels: Vec<u32> = (0..15).map(|i| 0xff00_0000 | (i * 0x0011_0703)).collect();
        let picture = Picture::from_pixels(size, pixels).unwrap();
        write_picture(&path, &picture).unwrap();
        assert_eq!(read_picture(&path).unwrap(), picture);
    }

    #[test]
    fn whatever_is_no_picture_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("picture.png");
        let picture = Picture::noise(Size { width: 40, height: 30 }, 7);
        write_picture(&path, &picture).unwrap();
        let good = fs::read(&path).unwrap();
        let broken = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let read = read_picture(&path);
            assert!(matches!(read, Err(Error::Picture { .. })), "{read:?}");
        };
        broken(b"");
        broken(b"no picture at all");
        for length in (0..good.len() - 12).step_by(97) {
            broken(&good[..length]);
        }
        let mut wrong = good.clone();
        wrong[good.len() / 2] ^= 0x55;
        broken(&wrong);
        // The header says that it is as large as can be.
        let mut huge = good.clone();
        huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        broken(&huge);
        assert!(matches!(read_picture(Path::new("/no/such/file")), Err(Error::File { .. })));
        assert!(matches!(read_picture(directory.path()), Err(Error::Picture { .. } | Error::File { .. })));
    }
}
