//! A mapping as a stream.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::Mapping;

/// A position in a mapping, to read and write it as a stream ([`std::io`]).
///
/// It ends where the mapping ends, as `Cursor<&mut [u8]>` does: what does not fit is not written, and at the end
/// `write` answers 0. The position may lie behind the end. Each cursor has a position of its own.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io::{Read, Seek, Write};
///
/// let region = ashmem::Region::create("log", 8192)?;
/// let mapping = region.map()?;
/// let mut cursor = mapping.cursor();
/// write!(cursor, "{} lines", 3)?;
///
/// cursor.rewind()?;
/// let mut text = [0; 7];
/// cursor.read_exact(&mut text)?;
/// assert_eq!(&text, b"3 lines");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MappingCursor<'a> {
    mapping: &'a Mapping,
    position: u64,
}

impl Mapping {
    /// A stream over the mapping's bytes that starts at byte 0.
    #[must_use]
    pub fn cursor(&self) -> MappingCursor<'_> {
        MappingCursor { mapping: self, position: 0 }
    }
}

impl MappingCursor<'_> {
    /// Where the next byte is read or written, in bytes from the start of the mapping.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to `position`, in bytes from the start of the mapping. It may lie behind the end.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// How many of `wanted` bytes there are between the position and the end.
    fn available(&self, wanted: usize) -> usize {
        let left = self.mapping.len().saturating_sub(self.position);
        usize::try_from(left).map_or(wanted, |left| left.min(wanted))
    }
}

/// Fails with [`Error::ProtectionDenied`](crate::Error::ProtectionDenied) inside when the mapping is not readable.
impl Read for MappingCursor<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.available(into.len());
        if len > 0 {
            self.mapping.read_at(self.position, &mut into[..len])?;
            self.position += len as u64;
        }
        Ok(len)
    }
}

/// Fails with [`Error::ReadOnly`](crate::Error::ReadOnly) inside when the mapping is not writable.
impl Write for MappingCursor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.mapping.require_write("write mapping")?;
        let len = self.available(bytes.len());
        if len > 0 {
            self.mapping.write_at(self.position, &bytes[..len])?;
            self.position += len as u64;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails with [`io::ErrorKind::InvalidInput`] for a position before byte 0; the position stays then.
impl Seek for MappingCursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.mapping.len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek mapping: no such position"))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MapOptions, Protection, Region};

    #[test]
    fn reads_what_it_wrote() {
        let region = Region::create("stream", 8192).unwrap();
        let mapping = region.map().unwrap();
        let mut cursor = mapping.cursor();
        cursor.write_all(b"one ").unwrap();
        cursor.write_all(b"two").unwrap();
        assert_eq!(cursor.position(), 7);
        assert_eq!(mapping.read_vec(0, 8).unwrap(), b"one two\0");
        cursor.seek(SeekFrom::Start(4)).unwrap();
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 8188);
        assert!(rest.starts_with(b"two"));
    }

    #[test]
    fn stops_at_the_end() {
        let region = Region::create("stream end", 8192).unwrap();
        let mapping = region.map().unwrap();
        let mut cursor = mapping.cursor();
        cursor.set_position(8190);
        assert_eq!(cursor.write(b"abc").unwrap(), 2);
        assert_eq!(cursor.write(b"c").unwrap(), 0);
        assert_eq!(cursor.write_all(b"c").unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert_eq!(cursor.read(&mut [0; 4]).unwrap(), 0);
        cursor.set_position(8190);
        let mut tail = [0; 4];
        assert_eq!(cursor.read(&mut tail).unwrap(), 2);
        assert_eq!(&tail, b"ab\0\0");
        assert_eq!(cursor.read_exact(&mut tail).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn seeks_from_everywhere() {
        let region = Region::create("seek", 8192).unwrap();
        let mapping = region.map().unwrap();
        let mut cursor = mapping.cursor();
        assert_eq!(cursor.seek(SeekFrom::End(-92)).unwrap(), 8100);
        assert_eq!(cursor.seek(SeekFrom::Current(-100)).unwrap(), 8000);
        for before_the_start in [SeekFrom::Current(-8001), SeekFrom::End(-8193), SeekFrom::End(i64::MIN)] {
            let refused = cursor.seek(before_the_start).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(cursor.stream_position().unwrap(), 8000);
        }
        for (to, position) in [(SeekFrom::End(5), 8197), (SeekFrom::Start(u64::MAX), u64::MAX)] {
            assert_eq!(cursor.seek(to).unwrap(), position);
            assert_eq!(cursor.read(&mut [0; 4]).unwrap(), 0);
            assert_eq!(cursor.write(&[0; 4]).unwrap(), 0);
        }
        assert_eq!(cursor.seek(SeekFrom::Current(1)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_the_mapping_refuses_is_refused() {
        fn inner(error: &io::Error) -> &Error {
            error.get_ref().unwrap().downcast_ref().unwrap()
        }

        let region = Region::create("refusing", 8192).unwrap();
        let reader = region.map_read_only().unwrap();
        let refused = reader.cursor().write(b"x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(matches!(inner(&refused), Error::ReadOnly { .. }));
        let nothing = MapOptions::new().protection(Protection::empty()).map(&region).unwrap();
        let refused = nothing.cursor().read(&mut [0]).unwrap_err();
        assert!(matches!(inner(&refused), Error::ProtectionDenied { .. }));
    }
}
