//! `get`: one bitmap, as a file.

use std::io::{BufWriter, Write};
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbaImage};

use super::arguments::Get;
use super::start::Way;
use super::{Impossible, Result, printable, say};

pub fn run(arguments: &Get) -> Result<()> {
    let path = arguments.path.canonicalize();
    let path = path.map_err(|error| Impossible(format!("{}: {error}", arguments.path.display())))?;
    let folder = path.parent().ok_or_else(|| Impossible(format!("{}: no file", path.display())))?;
    let client = Way::new(folder, &arguments.limits).and_then(|mut way| Ok((way.connect()?, way)))?;
    let (client, _way) = client;
    let bitmap =
        client.bitmap(&path, arguments.size).map_err(|error| format!("{}: {error}", path.display()))?;
    let image = bitmap.pixels()?.to_image()?;
    write(&arguments.output, &image)?;
    let how = if bitmap.is_decoded() { "decoded" } else { "shared" };
    say(&format!(
        "{} x {}, {how}: {}",
        image.width(),
        image.height(),
        printable(&arguments.output.to_string_lossy())
    ));
    Ok(())
}

/// Writes a PNG under another name first: what is there stays until the new one is whole.
fn write(path: &Path, image: &RgbaImage) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| format!("write {}: {error}", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&name);
    let written = || -> Result<()> {
        let mut file = BufWriter::new(std::fs::File::create_new(part).map_err(|error| failed(&error))?);
        let encoder = PngEncoder::new(&mut file);
        encoder
            .write_image(image, image.width(), image.height(), ExtendedColorType::Rgba8)
            .map_err(|error| failed(&error))?;
        file.flush().map_err(|error| failed(&error))?;
        Ok(std::fs::rename(part, path).map_err(|error| failed(&error))?)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(part)))
}
