//! Memory files as streams.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::MemoryFile;

/// A position in a memory file that reading advances: what `MemoryFile.getInputStream` gives.
///
/// It ends where the file ends. The position may lie behind the end.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io::{Read, Write};
///
/// let file = ashmem::MemoryFile::create("bytes", 1024)?;
/// file.output_stream().write_all(&[1, 2, 3, 255])?;
///
/// let mut input = file.input_stream();
/// assert_eq!(input.skip(2), 2);
/// input.mark();
/// let mut bytes = [0; 2];
/// input.read_exact(&mut bytes)?;
/// assert_eq!(bytes, [3, 255]);
/// input.reset();
/// assert_eq!(input.available(), 1022);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryInputStream<'a> {
    file: &'a MemoryFile,
    position: u64,
    mark: u64,
}

/// A position in a memory file that writing advances: what `MemoryFile.getOutputStream` gives.
///
/// What does not fit is refused whole, with [`Error::AccessOutOfBounds`](crate::Error::AccessOutOfBounds) inside; nothing is
/// written then, and the position stays.
#[derive(Clone, Debug)]
pub struct MemoryOutputStream<'a> {
    file: &'a MemoryFile,
    position: u64,
}

impl<'a> MemoryInputStream<'a> {
    pub(super) fn new(file: &'a MemoryFile) -> MemoryInputStream<'a> {
        MemoryInputStream { file, position: 0, mark: 0 }
    }

    /// Where the next byte is read, in bytes from the start of the file.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes between the position and the end.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.file.len().saturating_sub(self.position)
    }

    /// Keeps the position for [`reset`](MemoryInputStream::reset).
    pub fn mark(&mut self) {
        self.mark = self.position;
    }

    /// Goes back to where [`mark`](MemoryInputStream::mark) was called last, or to the start of the file.
    pub fn reset(&mut self) {
        self.position = self.mark;
    }

    /// Goes `count` bytes forward, or to the end, and returns how far that was. Reads nothing.
    pub fn skip(&mut self, count: u64) -> u64 {
        let count = count.min(self.available());
        self.position += count;
        count
    }
}

impl<'a> MemoryOutputStream<'a> {
    pub(super) fn new(file: &'a MemoryFile) -> MemoryOutputStream<'a> {
        MemoryOutputStream { file, position: 0 }
    }

    /// Where the next byte is written, in bytes from the start of the file.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// Fails as [`MemoryFile::read_at`] does, with its error inside. At the end it answers 0, whatever state the file is in.
impl Read for MemoryInputStream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = usize::try_from(self.available()).unwrap_or(usize::MAX);
        let len = available.min(into.len());
        if len > 0 {
            self.file.read_at(self.position, &mut into[..len])?;
            self.position += len as u64;
        }
        Ok(len)
    }
}

/// Fails as [`MemoryFile::write_at`] does, with its error inside.
impl Write for MemoryOutputStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails with [`io::ErrorKind::InvalidInput`] for a position before byte 0; the position stays then.
impl Seek for MemoryInputStream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = place(to, self.position, self.file.len())?;
        Ok(self.position)
    }
}

/// Fails with [`io::ErrorKind::InvalidInput`] for a position before byte 0; the position stays then.
impl Seek for MemoryOutputStream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = place(to, self.position, self.file.len())?;
        Ok(self.position)
    }
}

fn place(to: SeekFrom, position: u64, len: u64) -> io::Result<u64> {
    let place = match to {
        SeekFrom::Start(place) => Some(place),
        SeekFrom::End(delta) => len.checked_add_signed(delta),
        SeekFrom::Current(delta) => position.checked_add_signed(delta),
    };
    place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek memory file: no such position"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn inner(error: &io::Error) -> &Error {
        error.get_ref().unwrap().downcast_ref().unwrap()
    }

    #[test]
    fn positions_advance() {
        let file = MemoryFile::create("Test File", 1024).unwrap();
        let mut output = file.output_stream();
        output.write_all(&[1, 2]).unwrap();
        output.write_all(&[3, 255]).unwrap();
        output.flush().unwrap();
        assert_eq!(output.position(), 4);
        let mut input = file.input_stream();
        for expected in [1, 2, 3, 255, 0] {
            let mut byte = [9];
            assert_eq!(input.read(&mut byte).unwrap(), 1);
            assert_eq!(byte, [expected]);
        }
        let mut input = file.input_stream();
        let mut all = Vec::new();
        assert_eq!(input.read_to_end(&mut all).unwrap(), 1024);
        assert_eq!((input.position(), input.available()), (1024, 0));
    }

    #[test]
    fn mark_reset_skip_available() {
        let file = MemoryFile::create(None, 100).unwrap();
        let mut input = file.input_stream();
        assert_eq!((input.available(), input.skip(30)), (100, 30));
        input.mark();
        assert_eq!((input.skip(100), input.available(), input.skip(1)), (70, 0, 0));
        input.reset();
        assert_eq!((input.position(), input.available()), (30, 70));
        input.seek(SeekFrom::Start(200)).unwrap();
        assert_eq!((input.available(), input.skip(1), input.position()), (0, 0, 200));
        assert_eq!(input.read(&mut [0]).unwrap(), 0);
        let mut other = file.input_stream();
        other.skip(5);
        other.reset();
        assert_eq!(other.position(), 0, "never marked");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let file = MemoryFile::create(None, 10).unwrap();
        let mut output = file.output_stream();
        output.seek(SeekFrom::End(-2)).unwrap();
        let refused = output.write(b"abc").unwrap_err();
        assert!(matches!(inner(&refused), Error::AccessOutOfBounds { offset: 8, len: 3, size: 10 }));
        assert_eq!(output.position(), 8);
        output.write_all(b"ab").unwrap();
        assert!(output.write(b"c").is_err());
        assert_eq!(output.write(b"").unwrap(), 0);
        let mut all = [0; 10];
        file.read_at(0, &mut all).unwrap();
        assert_eq!(&all, b"\0\0\0\0\0\0\0\0ab");
    }

    #[test]
    fn seeks_from_everywhere() {
        let file = MemoryFile::create(None, 100).unwrap();
        let mut streams = (file.input_stream(), file.output_stream());
        let both: [&mut dyn Seek; 2] = [&mut streams.0, &mut streams.1];
        for stream in both {
            assert_eq!(stream.seek(SeekFrom::End(-10)).unwrap(), 90);
            assert_eq!(stream.seek(SeekFrom::Current(-80)).unwrap(), 10);
            for before_the_start in [SeekFrom::Current(-11), SeekFrom::End(-101), SeekFrom::End(i64::MIN)] {
                assert_eq!(stream.seek(before_the_start).unwrap_err().kind(), io::ErrorKind::InvalidInput);
                assert_eq!(stream.stream_position().unwrap(), 10);
            }
            assert_eq!(stream.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
            assert_eq!(stream.seek(SeekFrom::Current(1)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(streams.0.read(&mut [0]).unwrap(), 0);
        assert!(streams.1.write(&[0]).is_err());
    }

    #[test]
    fn failures_keep_the_position() {
        let file = MemoryFile::create(None, 10).unwrap();
        let (mut input, mut output) = (file.input_stream(), file.output_stream());
        input.skip(3);
        file.close();
        assert!(matches!(inner(&input.read(&mut [0]).unwrap_err()), Error::Deactivated { .. }));
        assert!(matches!(inner(&output.write(&[0]).unwrap_err()), Error::Deactivated { .. }));
        assert_eq!((input.position(), output.position()), (3, 0));
        input.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(input.read(&mut [0]).unwrap(), 0, "the end is the end");
    }
}
