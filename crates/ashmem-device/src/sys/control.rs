//! Control data of messages (`cmsg(3)`), as 64-bit and 32-bit programs have it.

/// The messages in control data: level, type and data of each. Ends at the first that does not fit.
pub(crate) struct Messages<'a> {
    bytes: &'a [u8],
    word: usize,
}

impl<'a> Messages<'a> {
    /// Of a program whose sizes have `word` bytes.
    pub(crate) fn new(bytes: &'a [u8], word: usize) -> Messages<'a> {
        Messages { bytes, word }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.word + 8;
        let mut length = [0; 8];
        length[..self.word].copy_from_slice(self.bytes.get(..self.word)?);
        let length = usize::try_from(u64::from_le_bytes(length)).ok()?;
        let number = |place: usize| {
            let bytes = self.bytes.get(place..place + 4)?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (level, kind) = (number(self.word)?, number(self.word + 4)?);
        let data = self.bytes.get(header..length)?;
        let next = length.next_multiple_of(self.word).min(self.bytes.len());
        self.bytes = &self.bytes[next..];
        Some((level, kind, data))
    }
}

/// The numbers in `SCM_RIGHTS`.
pub(crate) fn descriptors(data: &[u8]) -> impl Iterator<Item = i32> + '_ {
    data.chunks_exact(4).filter_map(|number| Some(i32::from_ne_bytes(number.try_into().ok()?)))
}

/// Control data for who receives a message, in as much room as it has: what the kernel does not find room for it leaves out, and
/// says so.
#[derive(Debug)]
pub(crate) struct Writer {
    word: usize,
    room: usize,
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Writer {
    /// For a program whose sizes have `word` bytes.
    pub(crate) fn new(word: usize, room: usize) -> Writer {
        Writer { word, room, bytes: Vec::new(), is_cut: false }
    }

    /// A message; its end is left out if need be (`put_cmsg`).
    pub(crate) fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let header = self.word + 8;
        if self.room < header {
            self.is_cut = true;
            return;
        }
        let whole = header + data.len();
        let length = whole.min(self.room);
        self.is_cut |= length < whole;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&(length as u64).to_le_bytes()[..self.word]);
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&data[..length - header]);
        let taken = whole.next_multiple_of(self.word).min(self.room);
        self.bytes.resize(start + taken, 0);
        self.room -= taken;
    }

    /// So many descriptors find room (`scm_max_fds`).
    pub(crate) fn room_for_descriptors(&self) -> usize {
        self.room.saturating_sub(self.word + 8) / 4
    }

    /// Descriptors, for which there is room, of as many as were sent.
    pub(crate) fn put_descriptors(&mut self, numbers: &[i32], sent: usize) {
        self.is_cut |= numbers.len() < sent;
        if !numbers.is_empty() {
            let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
            self.put(libc::SOL_SOCKET, libc::SCM_RIGHTS, &data);
        }
    }

    /// The data, and whether anything was left out.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        (self.bytes, self.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for word in [4, 8] {
            let mut writer = Writer::new(word, 200);
            writer.put(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1; 12]);
            writer.put_descriptors(&[7, 8, 9], 3);
            let (bytes, is_cut) = writer.finish();
            assert!(!is_cut);
            assert_eq!(bytes.len(), if word == 8 { 32 + 32 } else { 24 + 24 });
            let found: Vec<_> = Messages::new(&bytes, word).collect();
            assert_eq!(found.len(), 2);
            assert_eq!(found[0], (libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1; 12][..]));
            assert_eq!(descriptors(found[1].2).collect::<Vec<_>>(), [7, 8, 9]);
        }
    }

    #[test]
    fn what_finds_no_room_is_left_out() {
        for (room, fits, length) in
            [(0, 0, 0), (15, 0, 0), (16, 0, 0), (19, 0, 0), (20, 1, 20), (24, 2, 24), (40, 6, 24)]
        {
            let mut writer = Writer::new(8, room);
            assert_eq!(writer.room_for_descriptors(), fits, "{room}");
            writer.put_descriptors(&[5, 6][..fits.min(2)], 2);
            let (bytes, is_cut) = writer.finish();
            assert_eq!((bytes.len(), is_cut), (length, fits < 2), "{room}");
        }
        let mut writer = Writer::new(8, 20);
        writer.put(1, 2, &[9; 12]);
        let (bytes, is_cut) = writer.finish();
        assert!(is_cut);
        assert_eq!(Messages::new(&bytes, 8).collect::<Vec<_>>(), [(1, 2, &[9; 4][..])]);
    }

    #[test]
    fn nonsense_is_no_message() {
        for bytes in
            [&[][..], &[0; 15], &[0; 64], &[255; 64], &[17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]]
        {
            assert_eq!(Messages::new(bytes, 8).count(), 0, "{bytes:?}");
        }
    }
}
