//! The images of a directory: found, and looked at as far as their headers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ashmem::Cache;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbaImage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Result;
use super::bitmap;
use super::output::Output;

/// The most bytes of a bitmap. What a file's header says may be anything.
const LARGEST: u64 = 512 << 20;

/// An image that can be visited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    path: OsString,
    /// How many pixels its header promises.
    pixels: u64,
    /// What its bitmap is called in the cache: another one when the file changes.
    pub key: Vec<u8>,
}

/// A file that is none, or one that cannot be decoded.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    pub path: String,
    pub reason: String,
}

impl Skipped {
    pub fn new(path: &Path, reason: &dyn std::fmt::Display) -> Skipped {
        Skipped { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Gallery {
    pub images: Vec<Image>,
    pub skipped: Vec<Skipped>,
}

impl Gallery {
    /// Looks into a directory and all below it, links to directories excepted. The sheet may be in it: that is no image.
    pub fn find(directory: &Path, sheet: &Output) -> Result<Gallery> {
        let mut gallery = Gallery::default();
        let mut directories = vec![directory.to_owned()];
        while let Some(below) = directories.pop() {
            match files(&below) {
                Ok((files, directories_below)) => {
                    directories.extend(directories_below);
                    files.iter().filter(|file| !sheet.is(file)).for_each(|file| gallery.add(file));
                }
                Err(error) if below == directory => {
                    return Err(format!("{}: {error}", directory.display()).into());
                }
                Err(error) => gallery.skipped.push(Skipped::new(&below, &error)),
            }
        }
        gallery.images.sort_by(|a, b| a.path.cmp(&b.path));
        match (gallery.images.is_empty(), gallery.skipped.as_slice()) {
            (false, _) => Ok(gallery),
            (true, []) => Err(format!("{}: no image in it", directory.display()).into()),
            (true, [Skipped { path, reason }, rest @ ..]) => {
                let others = if rest.is_empty() { "" } else { ", for one" };
                Err(format!("{}: no image in it; {path}: {reason}{others}", directory.display()).into())
            }
        }
    }

    fn add(&mut self, path: &Path) {
        match Image::open(path) {
            Ok(image) => self.images.push(image),
            Err(error) => self.skipped.push(Skipped::new(path, &error)),
        }
    }
}

/// The files and the directories in a directory.
fn files(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => directories.push(entry.path()),
            _ => files.push(entry.path()),
        }
    }
    Ok((files, directories))
}

impl Image {
    /// Reads the header of a file.
    fn open(path: &Path) -> Result<Image> {
        let status = fs::metadata(path)?;
        if !status.is_file() {
            return Err("not a regular file".into());
        }
        let (width, height) = decoder(path)?.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || bitmap::len(pixels) > LARGEST {
            return Err(format!("{width} x {height} pixels").into());
        }
        Ok(Image { path: path.as_os_str().to_owned(), pixels, key: key(path, &status) })
    }

    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Length of its bitmap in the cache, in bytes.
    pub fn len(&self) -> u64 {
        bitmap::len(self.pixels)
    }

    /// Its pixels, the right side up.
    pub fn decode(&self) -> Result<RgbaImage> {
        let mut decoder = decoder(self.path())?;
        let orientation = decoder.orientation()?;
        let mut decoded = DynamicImage::from_decoder(decoder)?;
        decoded.apply_orientation(orientation);
        let bitmap = decoded.into_rgba8();
        if u64::from(bitmap.width()) * u64::from(bitmap.height()) != self.pixels {
            return Err("the file has changed meanwhile".into());
        }
        Ok(bitmap)
    }
}

fn decoder(path: &Path) -> Result<impl ImageDecoder> {
    let reader = ImageReader::new(BufReader::new(File::open(path)?)).with_guessed_format()?;
    Ok(reader.into_decoder()?)
}

/// Path, size and time of change, or a digest of them where they are too long for a key.
fn key(path: &Path, status: &fs::Metadata) -> Vec<u8> {
    let mut key = path.as_os_str().as_bytes().to_vec();
    let state = format!("\0{} {}.{:09}", status.size(), status.mtime(), status.mtime_nsec());
    key.extend_from_slice(state.as_bytes());
    if key.len() > Cache::KEY_MAX { Sha256::digest(&key).to_vec() } else { key }
}
