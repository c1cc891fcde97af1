//! The file that the sheet is written to: made before the work, in its place only when it is whole.

use std::fmt::Display;
use std::fs::Permissions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbaImage};
use tempfile::NamedTempFile;

use super::Result;

/// A file beside the one that it will replace. It goes when this is dropped.
#[derive(Debug)]
pub struct Output {
    file: NamedTempFile,
    target: PathBuf,
}

impl Output {
    /// Fails where no file can be made, or `target` is none.
    pub fn prepare(target: &Path) -> Result<Output> {
        if target.is_dir() || target.file_name().is_none() {
            return Err(trouble(target, &"not the name of a file"));
        }
        // The name of a file alone has an empty parent.
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix(".thumbnail_cache")
            .suffix(".part")
            // Less what the umask forbids, as for every new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            .map_err(|error| trouble(target, &error))?;
        Ok(Output { file, target: target.to_owned() })
    }

    /// Whether this is the file that will be replaced, or the one that will be in its place.
    pub fn is(&self, path: &Path) -> bool {
        let same = |mine: &Path| {
            let (mine, other) = (mine.canonicalize(), path.canonicalize());
            mine.is_ok_and(|mine| other.is_ok_and(|other| mine == other))
        };
        same(&self.target) || same(self.file.path())
    }

    /// Writes the sheet, as PNG whatever the name says.
    pub fn save(self, sheet: &RgbaImage) -> Result<()> {
        let mut writer = BufWriter::new(self.file.as_file());
        sheet.write_to(&mut writer, ImageFormat::Png).map_err(|error| trouble(&self.target, &error))?;
        writer.flush().map_err(|error| trouble(&self.target, &error))?;
        drop(writer);
        self.file.persist(&self.target).map_err(|error| trouble(&self.target, &error.error))?;
        Ok(())
    }
}

fn trouble(target: &Path, error: &dyn Display) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{}: {error}", target.display()).into()
}
