//! The pictures of a folder, by their names alone: what they are the service finds out.

use std::path::{Path, PathBuf};

use crate::{Impossible, Result};

/// So many are listed at the most.
const MOST: usize = 1_000_000;

/// Files that are called like pictures, in the folder and all below, links to folders excepted. In order, and with absolute paths.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: &dyn std::fmt::Display| Impossible(format!("{}: {error}", folder.display()));
    let top = folder.canonicalize().map_err(|error| failed(&error))?;
    let (mut pictures, mut folders) = (Vec::new(), vec![top.clone()]);
    while let Some(below) = folders.pop() {
        let entries = match std::fs::read_dir(&below) {
            Ok(entries) => entries,
            Err(error) if below == top => return Err(failed(&error).into()),
            // One that may not be looked into has no pictures for us.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) if is_called_picture(&entry.path()) && pictures.len() < MOST => {
                    pictures.push(entry.path())
                }
                _ => {}
            }
        }
    }
    if pictures.is_empty() {
        return Err(failed(&"no PNG or JPEG file in it").into());
    }
    pictures.sort();
    Ok(pictures)
}

fn is_called_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_below_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("b/c");
        std::fs::create_dir_all(&below).unwrap();
        assert!(list(folder.path()).unwrap_err().is::<Impossible>());
        for name in ["b/c/2.JPEG", "z.png", "a.jpg", "notes.txt", "png", "b/1.Png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let top = folder.path().canonicalize().unwrap();
        let names: Vec<_> = list(folder.path()).unwrap();
        assert_eq!(names, ["a.jpg", "b/1.Png", "b/c/2.JPEG", "z.png"].map(|name| top.join(name)));
        assert!(list(&folder.path().join("missing")).unwrap_err().is::<Impossible>());
    }
}
