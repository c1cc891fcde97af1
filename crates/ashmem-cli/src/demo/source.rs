//! The files, and the pieces of them that become regions.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::digest::{DigestKind, Digester};

/// Up to this share of all bytes, a file is one region.
const LARGEST_WHOLE_FILE: u64 = 4;
/// A larger file is split, into regions of at most this share.
const LARGEST_PIECE: u64 = 8;

/// A file that is shared, open for reading.
#[derive(Debug)]
pub struct Source {
    /// As it was given.
    pub path: PathBuf,
    /// Size in bytes, never 0.
    pub size: u64,
    file: File,
}

/// The files that the command was called with.
#[derive(Debug)]
pub struct Sources {
    /// In their order.
    pub files: Vec<Source>,
    /// Empty files: a region has at least a byte.
    pub skipped: Vec<PathBuf>,
}

/// A part of a file that becomes a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the file.
    pub file: usize,
    /// Which part of the file this is, from 1.
    pub number: u64,
    /// How many parts there are.
    pub of: u64,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Size in bytes, never 0.
    pub size: u64,
}

/// The digests of a piece, as its owner knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// In hexadecimal.
    pub sha256: String,
    /// The sum of all words, in hexadecimal.
    pub word_sum: String,
}

impl Fingerprint {
    /// The digest of that kind.
    pub fn digest(&self, kind: DigestKind) -> &str {
        match kind {
            DigestKind::Sha256 => &self.sha256,
            DigestKind::WordSum => &self.word_sum,
        }
    }
}

impl Sources {
    /// Opens all files; fails at the first that cannot be shared.
    pub fn open(paths: &[PathBuf]) -> Result<Sources, Error> {
        let mut sources = Sources { files: Vec::new(), skipped: Vec::new() };
        for path in paths {
            let trouble = |source| Error::File { path: path.clone(), source };
            // Looked at before it is opened: opening a named pipe would wait for its writer.
            if !path.metadata().map_err(trouble)?.is_file() {
                return Err(trouble(io::Error::other("not a regular file")));
            }
            let file = File::open(path).map_err(trouble)?;
            match file.metadata().map_err(trouble)?.len() {
                0 => sources.skipped.push(path.clone()),
                size => sources.files.push(Source { path: path.clone(), size, file }),
            }
        }
        if sources.files.is_empty() { Err(Error::NothingToShare) } else { Ok(sources) }
    }

    /// The pieces of all files, in order.
    pub fn pieces(&self, page_size: u64) -> Vec<Piece> {
        let sizes: Vec<_> = self.files.iter().map(|file| file.size).collect();
        split(&sizes, page_size)
    }

    /// What to call a piece: its file, and which part of it.
    pub fn name(&self, piece: &Piece) -> String {
        let name = file_name(&self.files[piece.file].path);
        if piece.of == 1 { name } else { format!("{name} {}/{}", piece.number, piece.of) }
    }

    /// Hands a piece to `each`, window by window, with the offset in the piece.
    pub fn read(
        &self,
        piece: &Piece,
        window: &mut [u8],
        mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let source = &self.files[piece.file];
        let mut offset = 0;
        while offset < piece.size {
            let len =
                usize::try_from(piece.size - offset).map_or(window.len(), |left| left.min(window.len()));
            source
                .file
                .read_exact_at(&mut window[..len], piece.offset + offset)
                .map_err(|error| Error::File { path: source.path.clone(), source: explain(error) })?;
            each(offset, &window[..len])?;
            offset += len as u64;
        }
        Ok(())
    }

    /// The digests of a piece.
    pub fn fingerprint(&self, piece: &Piece, window: &mut [u8]) -> Result<Fingerprint, Error> {
        let mut sha256 = Digester::new(DigestKind::Sha256);
        let mut word_sum = Digester::new(DigestKind::WordSum);
        self.read(piece, window, |_, bytes| {
            sha256.update(bytes);
            word_sum.update(bytes);
            Ok(())
        })?;
        Ok(Fingerprint { sha256: sha256.finish(), word_sum: word_sum.finish() })
    }
}

/// The last component of a path, for people.
fn file_name(path: &Path) -> String {
    crate::text::printable(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the file got shorter while it was used"),
        _ => error,
    }
}

/// Splits files so that half of all bytes is a choice of regions: none has more than a quarter of the bytes.
fn split(sizes: &[u64], page_size: u64) -> Vec<Piece> {
    let total: u64 = sizes.iter().sum();
    let largest_whole = total.div_ceil(LARGEST_WHOLE_FILE).max(page_size);
    let largest_piece = total.div_ceil(LARGEST_PIECE).next_multiple_of(page_size);
    let mut pieces = Vec::new();
    for (file, &size) in sizes.iter().enumerate() {
        let wanted = if size <= largest_whole { 1 } else { size.div_ceil(largest_piece) };
        let step = size.div_ceil(wanted).next_multiple_of(page_size);
        // Whole pages may make do with fewer.
        let of = size.div_ceil(step);
        for number in 0..of {
            let offset = number * step;
            pieces.push(Piece { file, number: number + 1, of, offset, size: step.min(size - offset) });
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::digest::WINDOW;
    use super::*;

    const PAGE: u64 = 4096;

    #[test]
    fn pieces_cover_every_file_in_order() {
        for sizes in [
            &[1][..],
            &[PAGE],
            &[PAGE + 1],
            &[9 * PAGE + 5],
            &[1 << 40],
            &[1, PAGE - 1, (4 << 20) + 1],
            &[300 << 20; 3],
            &[7; 100],
            &[1, u64::from(u32::MAX)],
        ] {
            let pieces = split(sizes, PAGE);
            let total: u64 = sizes.iter().sum();
            for (file, &size) in sizes.iter().enumerate() {
                let parts: Vec<_> = pieces.iter().filter(|piece| piece.file == file).collect();
                let mut end = 0;
                for (index, part) in parts.iter().enumerate() {
                    assert_eq!((part.offset, part.number), (end, index as u64 + 1));
                    assert!(part.size > 0 && part.offset % PAGE == 0 && part.of == parts.len() as u64);
                    assert!(part.size <= total.div_ceil(4).max(PAGE), "{sizes:?}");
                    end += part.size;
                }
                assert_eq!(end, size);
            }
            assert!(pieces.iter().is_sorted_by_key(|piece| piece.file));
        }
    }

    #[test]
    fn files_stay_whole_where_they_can() {
        let count = |sizes: &[u64]| split(sizes, PAGE).len();
        assert_eq!(count(&[1]), 1);
        assert_eq!(count(&[100 * PAGE]), 8);
        assert_eq!(count(&[100 * PAGE; 3]), 9);
        assert_eq!(count(&[100 * PAGE; 4]), 4);
        assert_eq!(count(&[100 * PAGE; 20]), 20);
    }

    #[test]
    fn what_cannot_be_shared_is_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let (empty, full) = (directory.path().join("empty"), directory.path().join("full"));
        File::create(&empty).unwrap();
        File::create(&full).unwrap().write_all(b"full").unwrap();

        for path in [&missing, &directory.path().to_path_buf(), &PathBuf::from("/dev/null")] {
            let refused = Sources::open(&[full.clone(), path.clone()]);
            assert!(matches!(refused, Err(Error::File { path: named, .. }) if named == *path));
        }
        assert!(matches!(Sources::open(std::slice::from_ref(&empty)), Err(Error::NothingToShare)));
        let sources = Sources::open(&[empty.clone(), full]).unwrap();
        assert_eq!((sources.files.len(), sources.skipped), (1, vec![empty]));
    }

    #[test]
    fn a_file_that_gets_shorter_is_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![1; 2 * WINDOW]).unwrap();
        let sources = Sources::open(&[file.path().to_path_buf()]).unwrap();
        let whole = Piece { file: 0, number: 1, of: 1, offset: 0, size: 2 * WINDOW as u64 };
        let mut window = vec![0; WINDOW];
        sources.fingerprint(&whole, &mut window).unwrap();
        file.as_file().set_len(10).unwrap();
        let error = sources.fingerprint(&whole, &mut window).unwrap_err();
        assert!(matches!(error, Error::File { source, .. } if source.to_string().contains("shorter")));
    }
}
